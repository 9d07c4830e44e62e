"""Events of API calls and credentials, for the exporter's own metrics."""

from typing import Protocol

from exporter.domain.outcome import Outcome, Repair


class Observer(Protocol):
    """Called by the transport, the client and the credentials. Must not raise and must not block."""

    def call_finished(self, *, project: str, operation: str, outcome: Outcome, duration_s: float) -> None:
        """One HTTP request ended; Each retry is a request of its own."""
        ...

    def call_withheld(self, *, project: str, operation: str, outcome: Outcome) -> None:
        """A call was not sent: a circuit is open, the cloud asked for a pause, or a secret cannot be read."""
        ...

    def call_retried(self, *, project: str, operation: str) -> None:
        """A further attempt of the same call is about to start."""
        ...

    def throttled(self, *, project: str) -> None:
        """The cloud responded with 429 or an equivalent code."""
        ...

    def circuit_changed(self, *, project: str, is_open: bool) -> None:
        """The first circuit of a target opened, or the last one closed."""
        ...

    def credentials_changed(self, *, project: str, expires_at: float | None) -> None:
        """A credential was obtained. `expires_at` is in seconds since the epoch; None: it does not expire."""
        ...

    def unknown_value(self, *, project: str, field: str) -> None:
        """A field that is read held a value that is unknown or impossible."""
        ...

    def response_repaired(self, *, project: str, operation: str, kind: Repair) -> None:
        """The text of a response had a flaw of this kind, and was decoded without it."""
        ...
