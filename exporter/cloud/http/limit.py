"""Limits on the calls of one target: rate, concurrency, and one call at a time while the credential is unproven."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter

_MIN_WINDOW_S = 60.0


class Limits:
    """Rate and concurrency of one target. The rate runs on the time of the event loop."""

    def __init__(self, *, requests_per_second: float, burst: int, concurrency: int) -> None:
        self._rate = AsyncLimiter(burst, burst / requests_per_second)
        self._all = asyncio.Semaphore(concurrency)
        per_operation = max(1, concurrency - 1)  # one operation with many calls must not block all the others
        self._operations: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(per_operation))

    async def pace(self) -> None:
        """Wait until one more request may be sent."""
        await self._rate.acquire()

    @asynccontextmanager
    async def slot(self, operation: str) -> AsyncIterator[None]:
        """Wait for one of the slots for concurrent calls, and hold it."""
        async with self._operations[operation], self._all:
            yield


class OptionalShare:
    """The part of a stated budget that optional calls may use, so that they do not use up what listings need.

    Until the cloud has stated a budget ("limit:200, time:5 minute") there is no limit. From then on optional calls
    get half of it for an hour. Budgets of less than a minute are left to the rate limit of the settings.
    """

    def __init__(self, *, now: Callable[[], float], share: float = 0.5, valid_s: float = 3600.0) -> None:
        self._now = now
        self._share = share
        self._valid_s = valid_s
        self._rate = 0.0
        self._capacity = 0.0
        self._left = 0.0
        self._updated_at = 0.0
        self._valid_until: float | None = None

    def learn(self, calls: int, window_s: float) -> None:
        """Take over a budget that has just been used up."""
        if window_s < _MIN_WINDOW_S:
            return
        now = self._now()
        self._capacity = max(1.0, calls * self._share)
        self._rate = self._capacity / window_s
        self._left, self._updated_at = 0.0, now
        self._valid_until = now + self._valid_s

    def take(self) -> bool:
        """Whether one more optional call may be sent; counts it."""
        now = self._now()
        if self._valid_until is None or now >= self._valid_until:
            return True
        self._left = min(self._capacity, self._left + (now - self._updated_at) * self._rate)
        self._updated_at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class CredentialProbe:
    """While the credential is unproven, one call is sent and the others wait for its result.

    Otherwise a wrong key would be refused once for each concurrent call, and locked (trap 34).
    """

    def __init__(self, *, now: Callable[[], float], valid_s: float = 10.0, max_wait_s: float = 2.0) -> None:
        """`valid_s`: how long one acceptance counts. `max_wait_s`: longest wait for a probe that hangs."""
        self._now = now
        self._valid_s = valid_s
        self._max_wait_s = max_wait_s
        self._accepted_at: float | None = None
        self._probing = asyncio.Lock()

    @property
    def is_proven(self) -> bool:
        """Whether the API accepted the credential within `valid_s`, and has not refused it since."""
        return self._accepted_at is not None and self._now() - self._accepted_at < self._valid_s

    def accepted(self) -> None:
        """Record that the API accepted the credential."""
        self._accepted_at = self._now()

    def refused(self) -> None:
        """Record that the API refused the credential."""
        self._accepted_at = None

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[bool]:
        """Wait until the credential is proven. Yields True if this call has to prove it."""
        is_probe = False
        if not self.is_proven:
            try:
                async with asyncio.timeout(self._max_wait_s):
                    is_probe = await self._probing.acquire()
            except TimeoutError:
                pass  # the probe hangs: longer waiting would delay every call because of one
        if is_probe and self.is_proven:
            self._probing.release()
            is_probe = False
        try:
            yield is_probe
        finally:
            if is_probe:
                self._probing.release()
