"""How hard a target may be asked: calls a second, calls at once, and who goes first with an unproven credential."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter


class Limits:
    """Rate and concurrency of one target. The rate runs on the event loop's own time."""

    def __init__(self, *, requests_per_second: float, burst: int, concurrency: int) -> None:
        self._rate = AsyncLimiter(burst, burst / requests_per_second)
        self._all = asyncio.Semaphore(concurrency)
        of_one_kind = max(1, concurrency - 1)  # so that no operation, however many its calls, keeps others waiting
        self._kinds: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(of_one_kind))

    async def pace(self) -> None:
        """Wait until one more request may go out."""
        await self._rate.acquire()

    @asynccontextmanager
    async def slot(self, operation: str) -> AsyncIterator[None]:
        """Be one of the calls that are under way."""
        async with self._kinds[operation], self._all:
            yield


class CredentialProbe:
    """While nobody knows whether the cloud accepts the credential, one call goes ahead and the others wait for it.

    Else a wrong key would be refused as often as there are calls under way, and locked (trap 34).
    """

    def __init__(self, *, now: Callable[[], float], proof_s: float = 10.0, patience_s: float = 2.0) -> None:
        """`proof_s`: how long one acceptance counts. `patience_s`: the longest wait for a vanguard that hangs."""
        self._now = now
        self._proof_s = proof_s
        self._patience_s = patience_s
        self._accepted_at: float | None = None
        self._ahead = asyncio.Lock()

    @property
    def is_proven(self) -> bool:
        """Whether the credential was accepted a moment ago, and not refused since."""
        return self._accepted_at is not None and self._now() - self._accepted_at < self._proof_s

    def accepted(self) -> None:
        """The cloud answered as it does to somebody it knows."""
        self._accepted_at = self._now()

    def refused(self) -> None:
        """The cloud did not accept the credential."""
        self._accepted_at = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """Wait for whoever went ahead, if somebody did; true: nothing is proven, and it is us who go ahead."""
        leads = False
        if not self.is_proven:
            try:
                async with asyncio.timeout(self._patience_s):
                    leads = await self._ahead.acquire()
            except TimeoutError:
                pass  # it hangs: waiting longer would make everybody's fault of one call's
        if leads and self.is_proven:
            self._ahead.release()
            leads = False
        try:
            yield leads
        finally:
            if leads:
                self._ahead.release()
