"""Reads from the cloud: one HTTP transport, credentials, and an adapter for each generation of the API."""
