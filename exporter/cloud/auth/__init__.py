"""Credentials: sources of keys and tokens, and signatures of requests."""
