"""A simulated week in minutes: whether the exporter stays what it was on its first day.

Run it with `make soak`, or `python -m tests.soak --help`.
"""
