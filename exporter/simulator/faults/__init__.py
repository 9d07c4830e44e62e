"""Faults and quirks of the simulation."""
