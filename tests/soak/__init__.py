"""A simulated week in minutes: the exporter must not grow, lose a count or leave anything behind.

Run it with `make soak`, or `python -m tests.soak --help`.
"""
