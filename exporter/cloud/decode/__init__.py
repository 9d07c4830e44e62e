"""Turning the values of API responses, in all the shapes seen, into numbers, times and text."""
