"""A clock that tests turn by hand."""

START_S = 5_417.25
"""What `monotonic` starts at: far from 0, so that a missing initialisation fails a test."""


class ManualClock:
    """Stands still until it is turned; both times move together."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic_offset = START_S - now

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Seconds that only `turn` moves; they start at `START_S`."""
        return self._now + self._monotonic_offset

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def step(self, seconds: float) -> None:
        """Correct the time of day, as an administrator or NTP does; no time passes."""
        self._now += seconds
        self._monotonic_offset -= seconds
