"""A clock that tests turn by hand."""


class ManualClock:
    """Stands still until it is turned; both times move together."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._begun = now

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._now - self._begun

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def step(self, seconds: float) -> None:
        """Correct the time of day, as an administrator or NTP does; no time passes."""
        self._now += seconds
        self._begun += seconds
