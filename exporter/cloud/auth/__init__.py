"""Credentials: where keys and tokens come from, and how a request is signed with them."""
