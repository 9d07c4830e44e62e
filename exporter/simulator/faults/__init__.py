"""Faults and quirks that a simulation can be asked for."""
