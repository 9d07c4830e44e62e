"""Dashboards as Python: one module a board, the rest is the frame they share. See `docs/dashboards.md`."""
