"""Limits on what clients can use: bytes, connections and time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits per connection, and `connections` for all together."""

    line_bytes: int = 8190
    """Longest request line, and longest single header. Beyond it: 400. Prometheus' headers take some 300 bytes."""
    headers: int = 64
    head_bytes: int = 32 * 1024
    """Size of the request line and all headers together. Beyond it: 431."""
    connections: int = 512
    """Open connections. At the cap, accepting one closes the longest idle connection of the host with the most.
    Prometheus needs one or two."""
    handshake_s: float = 10.0
    """Deadline of a TLS handshake."""
    request_s: float = 10.0
    """Deadline of a complete request, counted from the connection or from the first byte of the request."""
    idle_s: float = 75.0
    """An idle connection is closed after this time. Longer than Prometheus' usual scrape interval."""
    response_s: float = 60.0
    """A client that takes longer to read one response is disconnected. Prometheus stops at its scrape_timeout."""
    shutdown_s: float = 5.0
    """Time for responses in progress to finish when the server stops."""
