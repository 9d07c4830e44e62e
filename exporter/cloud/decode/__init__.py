"""Turns the values of API responses, in all known shapes, into numbers, times and text."""
