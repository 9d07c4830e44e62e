"""The HTTP API of the simulated cloud."""
