"""A credential that runs out, and is replaced before it does: one refresh at a time, for all who need it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from exporter.cloud.http.errors import CloudError, Denied
from exporter.domain.source import Clock

Value = TypeVar("Value")

_DUE_RATIO = 0.8  # of the lifetime: 12 minutes before the end of an hour, five hours before that of a day
_LEAST_S = 60.0  # between two refreshes, however short or skewed the lifetime looks
_PAUSE_S = 30.0  # after a refresh that failed while the old credential is still valid
_DENIED_PAUSE_S = 330.0  # the same when it was refused: wrong logins lock an account (trap 34)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lease(Generic[Value]):
    """A credential with its lifetime, both ends in seconds since the epoch."""

    value: Value = field(repr=False)
    obtained_at: float
    expires_at: float


class Renewing(Generic[Value]):
    """Keeps a lease fresh. A refresh goes on when the caller who started it is cancelled, for others wait too."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Lease[Value]]],
        *,
        clock: Clock,
        changed: Callable[[float | None], None],
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._changed = changed
        self._lease: Lease[Value] | None = None
        self._due_at = 0.0
        self._forced_at: float | None = None
        self._fetching: asyncio.Task[Lease[Value]] | None = None

    async def current(self) -> Lease[Value]:
        """Give a lease to use now; a failed refresh keeps the old one while it is valid. Raises CloudError."""
        lease = self._lease
        now = self._clock.time()
        if lease is None:
            return await self._fetched()
        if now < self._due_at or (self._fetching is not None and now < lease.expires_at):
            return lease
        try:
            return await self._fetched()
        except CloudError as error:
            now = self._clock.time()
            if now >= lease.expires_at:
                raise
            pause_s = _DENIED_PAUSE_S if isinstance(error, Denied) else _PAUSE_S
            self._due_at = min(now + pause_s, lease.expires_at)
            _log.warning("credentials.refresh_failed", outcome=error.outcome, error=str(error))
            return lease

    async def renew(self, refused: Lease[Value]) -> bool:
        """After the cloud refused this lease: whether another one is there now. Tries at most once a minute."""
        if self._lease is not refused:
            return True
        now = self._clock.monotonic()
        if self._fetching is None:
            if self._forced_at is not None and now - self._forced_at < _LEAST_S:
                return False
            self._forced_at = now
        try:
            lease = await self._fetched()
        except CloudError as error:
            _log.warning("credentials.refresh_failed", outcome=error.outcome, error=str(error))
            return False
        return lease.value != refused.value

    async def close(self) -> None:
        """Stop a refresh that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            with suppress(asyncio.CancelledError, CloudError):
                await self._fetching

    async def _fetched(self) -> Lease[Value]:
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._refresh(), name="credentials refresh")
            self._fetching.add_done_callback(_look_at)
        return await asyncio.shield(self._fetching)

    async def _refresh(self) -> Lease[Value]:
        try:
            lease = await self._fetch()
            life_s = lease.expires_at - lease.obtained_at
            self._due_at = lease.obtained_at + max(_DUE_RATIO * life_s, _LEAST_S)
            self._lease = lease
            self._changed(lease.expires_at)
            return lease
        finally:
            self._fetching = None


def _look_at(task: asyncio.Task[Lease[Value]]) -> None:
    """Take note of the error when everybody who waited was cancelled; else asyncio complains on stderr."""
    if not task.cancelled():
        task.exception()
