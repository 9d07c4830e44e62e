"""A clock that is turned by hand; both processes have one, and they are turned together."""


class Hand:
    """Stands still until it is turned. `now`: seconds since the epoch at the start."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._begun = now

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._now - self._begun

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
