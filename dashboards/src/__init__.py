"""Dashboards as Python: one module for each board, and the modules they share. See `docs/dashboards.md`."""
