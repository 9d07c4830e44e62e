"""The HTTP server: the exposition, health endpoints and a status page."""
