"""A project's pools: shown while recent, withdrawn when stale, off where the API refuses them."""

from collections.abc import Mapping

from exporter.domain.pool import Pool, PoolPollResult, PoolSource, Quota
from exporter.domain.source import Clock, SourceError
from exporter.polling.switch import Switch


class PoolTracker:
    """The pools of one project. Without a source there are none to poll. A refused listing switches them off."""

    def __init__(self, source: PoolSource | None, *, stale_after_s: float, clock: Clock) -> None:
        self._source = source
        self._stale_after_s = stale_after_s
        self._clock = clock
        self._pools: Mapping[str, Pool] | None = None
        self._quotas: Mapping[str, Quota] = {}
        self._listed_at: float | None = None
        self._quotas_at: float | None = None
        self._switch = Switch(clock)

    @property
    def is_due(self) -> bool:
        """Whether to poll now."""
        return self._source is not None and self._switch.is_due

    @property
    def is_off(self) -> bool:
        """Whether the API refuses to list pools."""
        return self._switch.is_off

    async def poll(self, *, answer_by: float) -> tuple[SourceError, ...]:
        """Poll and record the result; return the parts that failed, or the refusal."""
        if self._source is None:
            return ()
        result = await self._source.poll(answer_by=answer_by)
        now = self._clock.monotonic()
        if result.refused is not None:
            if self._switch.refused():
                self._pools, self._quotas, self._listed_at = None, {}, None
            return (result.refused,)
        if result.pools is not None or not result.failures:
            self._switch.answered()
        else:
            self._switch.failed()
        self._record(result, now)
        return result.failures

    def pools(self) -> Mapping[str, Pool] | None:
        """Return the pools by id; None while they are unknown or stale."""
        return self._pools if self._is_fresh(self._listed_at) else None

    def quotas(self) -> Mapping[str, Quota]:
        """Return the quotas by resource; empty while they are unknown or stale."""
        return self._quotas if self._is_fresh(self._quotas_at) else {}

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
