"""What polling knows of a project's pools: shown while it is recent, withdrawn when it is not, off where refused."""

from collections.abc import Mapping

from exporter.domain.pool import Pool, PoolPollResult, PoolSource, Quota
from exporter.domain.source import Clock, SourceError

ASK_AGAIN_S = 3600.0
"""How long a refusal is taken at its word: permissions and releases of the cloud change by hand."""


class PoolWatch:
    """The pools of one project. Without a source there are none to ask for.

    A refusal turns the collector off at once where pools were never listed; where they were, it must come twice in a
    row, because a gateway that is being changed says so too, and an hour of pools would be missed for it.
    """

    def __init__(self, source: PoolSource | None, *, stale_after_s: float, clock: Clock) -> None:
        self._source = source
        self._stale_after_s = stale_after_s
        self._clock = clock
        self._pools: Mapping[str, Pool] | None = None
        self._quotas: Mapping[str, Quota] = {}
        self._listed_at: float | None = None
        self._heard_at: float | None = None
        self._doubted = False
        self._off_until: float | None = None

    @property
    def is_due(self) -> bool:
        """Whether to ask: always, but for the hour after a refusal."""
        off_until = self._off_until
        return self._source is not None and (off_until is None or self._clock.monotonic() >= off_until)

    @property
    def is_off(self) -> bool:
        """Whether the API refuses to tell of pools."""
        return self._off_until is not None

    async def poll(self, *, answer_by: float) -> tuple[SourceError, ...]:
        """Ask, and take in what came: what did not answer, or what refuses."""
        if self._source is None:
            return ()
        sighting = await self._source.poll(answer_by=answer_by)
        now = self._clock.monotonic()
        if sighting.refused is not None:
            self._refused(now)
            return (sighting.refused,)
        self._doubted = False
        if sighting.pools is not None or not sighting.failures:
            self._off_until = None
        self._take(sighting, now)
        return sighting.failures

    def pools(self) -> Mapping[str, Pool] | None:
        """Pools by id; None while nobody knows them."""
        return self._pools if self._is_fresh(self._listed_at) else None

    def quotas(self) -> Mapping[str, Quota]:
        """Quotas by resource; none while nobody knows them."""
        return self._quotas if self._is_fresh(self._heard_at) else {}

    def _refused(self, now: float) -> None:
        if self._pools is None or self._doubted or self.is_off:
            self._pools, self._quotas, self._listed_at, self._doubted = None, {}, None, False
            self._off_until = now + ASK_AGAIN_S
        else:
            self._doubted = True

    def _take(self, sighting: PoolPollResult, now: float) -> None:
        self._quotas, self._heard_at = sighting.quotas, now
        if sighting.pools is None:
            return
        before = self._pools or {}
        # The same object while nothing changed: then nothing is rendered anew.
        self._pools = {
            pool_id: last if (last := before.get(pool_id)) == pool else pool
            for pool_id, pool in sighting.pools.items()
        }
        self._listed_at = sighting.listed_at

    def _is_fresh(self, at: float | None) -> bool:
        return at is not None and self._clock.monotonic() - at < self._stale_after_s
