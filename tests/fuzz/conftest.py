from hypothesis import HealthCheck, settings

# `pytest tests/fuzz --hypothesis-profile=long` looks for what the hundred examples of a normal run do not find.
settings.register_profile("long", max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
