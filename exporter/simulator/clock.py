"""Clocks, among them one that runs faster."""

import time
from typing import Protocol


class Clock(Protocol):
    """Source of time of the simulator; tests pass one that they advance manually."""

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary point, never going back."""
        ...


class RealClock:
    """The system clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds from an arbitrary point, never going back."""
        return time.monotonic()


class ScaledClock:
    """A clock that runs `speed` times as fast as another, from its creation on.

    Pass the same one to the simulator and to its client to run both faster; `Options.speed` accelerates the simulated
    time only, not that of tokens and signatures.
    """

    def __init__(self, *, base: Clock | None = None, speed: float = 1.0, start_at: float | None = None) -> None:
        self._base: Clock = base or RealClock()
        self._speed = speed
        self._base_time = self._base.time()
        self._base_monotonic = self._base.monotonic()
        self._start_at = self._base_time if start_at is None else start_at

    def time(self) -> float:
        """Seconds since the epoch: the start plus the elapsed time multiplied by the speed."""
        return self._start_at + (self._base.time() - self._base_time) * self._speed

    def monotonic(self) -> float:
        """Seconds since the creation of this clock, multiplied by the speed."""
        return (self._base.monotonic() - self._base_monotonic) * self._speed
