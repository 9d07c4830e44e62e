"""Whether a collector is off because the cloud refuses its calls."""

from exporter.domain.source import Clock

REFUSED_TTL_S = 3600.0
"""How long a collector stays off after a refusal: permissions and releases of the cloud change by hand."""


class Switch:
    """On until the cloud refuses; then off, and tried again every hour.

    A collector that never had a response is off after one refused poll. One that had is off after two in a row: a
    gateway under maintenance refuses too, and that would hide the data for an hour.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._has_answered = False
        self._refused_once = False
        self._off_until: float | None = None

    @property
    def is_due(self) -> bool:
        """Whether to poll: always, except for `REFUSED_TTL_S` after a refusal."""
        return self._off_until is None or self._clock.monotonic() >= self._off_until

    @property
    def is_off(self) -> bool:
        """Whether the cloud refuses the calls."""
        return self._off_until is not None

    def answered(self) -> None:
        """Record a poll with a response."""
        self._has_answered, self._refused_once, self._off_until = True, False, None

    def failed(self) -> None:
        """Record a poll that neither was answered nor refused: refusals are no longer in a row."""
        self._refused_once = False

    def refused(self) -> bool:
        """Record a refused poll; returns whether the collector is off now."""
        if self._has_answered and not self._refused_once and not self.is_off:
            self._refused_once = True
            return False
        self._has_answered = self._refused_once = False
        self._off_until = self._clock.monotonic() + REFUSED_TTL_S
        return True
