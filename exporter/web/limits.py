"""How much of us a client can hold."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one connection, and of all together."""

    line_bytes: int = 8190
    """Longest request line, and longest single header; beyond: 400. Prometheus' own headers take some 300."""
    headers: int = 64
    head_bytes: int = 32 * 1024
    """Largest request line and headers together; beyond: 431."""
    connections: int = 512
    """Open at once; one more, and the host that has most loses its oldest idle one. Prometheus needs one or two."""
    handshake_s: float = 10.0
    """A TLS handshake that takes longer is given up."""
    head_s: float = 10.0
    """A request must be here whole this long after the connection was made, or after its own first byte."""
    idle_s: float = 75.0
    """A connection without a request is closed after this long; longer than Prometheus' usual interval."""
    answer_s: float = 60.0
    """A client that takes longer for one answer is cut off; Prometheus gives up after its scrape_timeout."""
    shutdown_s: float = 5.0
    """How long answers under way may take to finish when the server stops."""
