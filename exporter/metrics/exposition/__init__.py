"""Families and a snapshot, rendered as the exposition."""
