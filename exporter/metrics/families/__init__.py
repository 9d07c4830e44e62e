"""The metric families, one module a subject."""
