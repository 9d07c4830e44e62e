"""What the cloud side reports about its own work; whoever keeps the self-metrics implements it."""

from typing import Protocol

from exporter.domain.outcome import Outcome


class Observer(Protocol):
    """Told by the transport and the credentials. Must not raise and must not block."""

    def call_finished(self, *, project: str, operation: str, outcome: Outcome, duration_s: float) -> None:
        """One HTTP exchange is over; Retries are exchanges of their own."""
        ...

    def call_withheld(self, *, project: str, operation: str, outcome: Outcome) -> None:
        """A call was not sent: the circuit is open, the cloud asked to wait, or a secret cannot be read."""
        ...

    def call_retried(self, *, project: str, operation: str) -> None:
        """A further attempt of the same call is about to be made."""
        ...

    def throttled(self, *, project: str) -> None:
        """The cloud said 429 or an equivalent code."""
        ...

    def circuit_changed(self, *, project: str, is_open: bool) -> None:
        """The circuit of a target opened (calls are held back) or closed again."""
        ...

    def credentials_changed(self, *, project: str, expires_at: float | None) -> None:
        """A credential was obtained; None: it does not expire."""
        ...

    def unknown_value(self, *, project: str, field: str) -> None:
        """The cloud used a value we do not know, in a field we read."""
        ...
