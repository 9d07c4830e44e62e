"""Limits on the calls of one target: rate, concurrency, and one call at a time while the credential is unproven."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter


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
