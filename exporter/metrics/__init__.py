"""Metric families, their catalogue and documentation, and the exposition."""
