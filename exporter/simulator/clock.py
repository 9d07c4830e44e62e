"""Time, and time that runs faster."""

import time
from typing import Protocol


class Clock(Protocol):
    """What the simulator asks for the time; tests pass one that they turn by hand."""

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary point, never going back."""
        ...


class RealClock:
    """The machine's clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds from an arbitrary point, never going back."""
        return time.monotonic()


class ScaledClock:
    """Another clock, run `speed` times as fast from the moment this one is made.

    Pass one to the simulator and to its client when both shall live in fast time; `Options.speed` by contrast speeds
    up the world alone, and leaves tokens and signatures in the client's time.
    """

    def __init__(self, *, base: Clock | None = None, speed: float = 1.0, start_at: float | None = None) -> None:
        self._base: Clock = base or RealClock()
        self._speed = speed
        self._base_time = self._base.time()
        self._base_monotonic = self._base.monotonic()
        self._start_at = self._base_time if start_at is None else start_at

    def time(self) -> float:
        """Seconds since the epoch: where it started, plus what has passed, times the speed."""
        return self._start_at + (self._base.time() - self._base_time) * self._speed

    def monotonic(self) -> float:
        """Seconds since this clock was made, times the speed."""
        return (self._base.monotonic() - self._base_monotonic) * self._speed
