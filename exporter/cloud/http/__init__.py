"""Sending one API call: signing aside, everything between an endpoint and its decoded response."""
