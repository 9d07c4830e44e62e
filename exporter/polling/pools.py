"""A project's pools: shown while recent, withdrawn when stale, off where the API refuses them."""

from collections.abc import Mapping

from exporter.domain.pool import Pool, PoolPollResult, PoolSource, Quota
from exporter.domain.source import Clock, SourceError

REFUSED_TTL_S = 3600.0
"""How long the collector stays off after a refusal: permissions and releases of the cloud change by hand."""


class PoolTracker:
    """The pools of one project. Without a source there are none to poll.

    Where pools were never listed, a refusal turns the collector off at once. Where they were, two consecutive
    refusals do: a gateway under maintenance refuses too, and that would hide the pools for an hour.
    """

    def __init__(self, source: PoolSource | None, *, stale_after_s: float, clock: Clock) -> None:
        self._source = source
        self._stale_after_s = stale_after_s
        self._clock = clock
        self._pools: Mapping[str, Pool] | None = None
        self._quotas: Mapping[str, Quota] = {}
        self._listed_at: float | None = None
        self._quotas_at: float | None = None
        self._refused_once = False
        self._off_until: float | None = None

    @property
    def is_due(self) -> bool:
        """Whether to poll: always, except for `REFUSED_TTL_S` after a refusal."""
        off_until = self._off_until
        return self._source is not None and (off_until is None or self._clock.monotonic() >= off_until)

    @property
    def is_off(self) -> bool:
        """Whether the API refuses to list pools."""
        return self._off_until is not None

    async def poll(self, *, answer_by: float) -> tuple[SourceError, ...]:
        """Poll and record the result; return the parts that failed, or the refusal."""
        if self._source is None:
            return ()
        result = await self._source.poll(answer_by=answer_by)
        now = self._clock.monotonic()
        if result.refused is not None:
            self._refuse(now)
            return (result.refused,)
        self._refused_once = False
        if result.pools is not None or not result.failures:
            self._off_until = None
        self._record(result, now)
        return result.failures

    def pools(self) -> Mapping[str, Pool] | None:
        """Return the pools by id; None while they are unknown or stale."""
        return self._pools if self._is_fresh(self._listed_at) else None

    def quotas(self) -> Mapping[str, Quota]:
        """Return the quotas by resource; empty while they are unknown or stale."""
        return self._quotas if self._is_fresh(self._quotas_at) else {}

    def _refuse(self, now: float) -> None:
        if self._pools is None or self._refused_once or self.is_off:
            self._pools, self._quotas, self._listed_at, self._refused_once = None, {}, None, False
            self._off_until = now + REFUSED_TTL_S
        else:
            self._refused_once = True

    def _record(self, result: PoolPollResult, now: float) -> None:
        self._quotas, self._quotas_at = result.quotas, now
        if result.pools is None:
            return
        before = self._pools or {}
        # An unchanged pool stays the same object, so that it is not rendered again.
        self._pools = {
            pool_id: last if (last := before.get(pool_id)) == pool else pool for pool_id, pool in result.pools.items()
        }
        self._listed_at = result.listed_at

    def _is_fresh(self, at: float | None) -> bool:
        return at is not None and self._clock.monotonic() - at < self._stale_after_s
