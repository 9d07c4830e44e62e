"""The pools of one project."""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from exporter.cloud.cached import Cached, NegativeCache, is_refusal
from exporter.cloud.concurrency import OutOfTime, for_each
from exporter.cloud.http.endpoint import Answer, Caller, Endpoint, NoteUnknown
from exporter.cloud.http.errors import Denied, Gone, InvalidResponse
from exporter.cloud.pools import adapter, wire
from exporter.cloud.pools.adapter import NodeFlavor, PoolUsage, Workloads
from exporter.cloud.pools.endpoints import (
    FLAVORS,
    POOLS,
    QUOTAS,
    STATISTICS,
    TRAINING_QUOTAS,
    USAGE,
    WORKLOADS,
    WORKLOADS_PAGE,
)
from exporter.domain.pool import Pool, PoolPollResult, Quota, WorkloadKind, WorkloadStatus
from exporter.domain.source import Clock, SourceError

Value = TypeVar("Value")

FLAVORS_REFRESH_S = 3600.0
"""The flavor catalogue changes with releases of the cloud."""
QUOTAS_REFRESH_S = 300.0
"""Limits change by hand, their use within hours."""
MAX_POOLS_PER_POLL = 20
"""Pools whose workloads are requested in one poll; with more pools, they take turns. At the default rate limit of
five calls a second this takes four seconds, so that a jobs poll is not delayed for long."""

_WIDTH = 4
_MAX_PAGES = 10
_MAX_FLAVOR_PAGES = 20


@dataclass(slots=True)
class _Poll:
    """The state of one poll."""

    answer_by: float
    failures: list[SourceError] = field(default_factory=list)
    stopped: bool = False
    """Whether to send no further request, because it would fail too."""

    def add_failure(self, error: SourceError) -> None:
        self.failures.append(error)
        self.stopped = self.stopped or error.is_final


class CloudPools:
    """Reads the dedicated pools of one project; implements `domain.pool.PoolSource`.

    A poll sends one request per workspace, one for the usage, and one for the workloads of each of at most twenty
    pools. Flavors are requested once an hour, quotas (two calls) every five minutes. A part that fails keeps its last
    value for `keep_s`. A refused call (no such API, no permission) is left out for an hour, which is no failure; if
    the listing itself is refused, there is no other result.

    `workspaces` returns the workspaces to list (trap 4); it may raise SourceError. `shows` selects pools by id.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        project: str,
        workspaces: Callable[[], Awaitable[tuple[str, ...]]],
        clock: Clock,
        note: NoteUnknown,
        keep_s: float,
        shows: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._caller = caller
        self._project = project
        self._workspaces = workspaces
        self._clock = clock
        self._note = note
        self._keep_s = keep_s
        self._shows = shows
        self._refused = NegativeCache(clock)
        self._listed: Cached[Mapping[str, Pool]] = Cached(clock, ttl_s=keep_s)
        self._used: Cached[Mapping[str, PoolUsage]] = Cached(clock, ttl_s=keep_s)
        self._flavors: Cached[Mapping[str, NodeFlavor]] = Cached(clock, ttl_s=math.inf, refresh_s=FLAVORS_REFRESH_S)
        self._quotas: Mapping[Endpoint[wire.Quotas], Cached[Mapping[str, Quota]]] = {
            endpoint: Cached(clock, ttl_s=keep_s + QUOTAS_REFRESH_S, refresh_s=QUOTAS_REFRESH_S)
            for endpoint in (QUOTAS, TRAINING_QUOTAS)
        }
        self._workloads: dict[str, Cached[Workloads]] = {}

    def __repr__(self) -> str:
        return f"CloudPools({self._project!r})"

    async def poll(self, *, answer_by: float) -> PoolPollResult:
        """Read the pools. See `domain.pool.PoolSource.poll`."""
        poll = _Poll(answer_by)
        refused = await self._list(poll)
        if refused is not None:
            return PoolPollResult(refused=refused)
        requests = [
            partial(self._refresh, self._used, USAGE, self._fetch_usage, poll),
            partial(self._refresh, self._flavors, FLAVORS, self._fetch_flavors, poll),
            *(
                partial(self._refresh, part, endpoint, partial(self._fetch_quotas, endpoint), poll)
                for endpoint, part in self._quotas.items()
            ),
        ]
        await for_each(requests, lambda request: request(), width=_WIDTH, stop=lambda: poll.stopped)
        await for_each(
            self._next_pools(),
            lambda pool_id: self._refresh_workloads(pool_id, poll),
            width=_WIDTH,
            stop=lambda: poll.stopped,
        )
        return self._result(poll)

    def _result(self, poll: _Poll) -> PoolPollResult:
        listed = self._listed.get()
        used, flavors = self._used.get() or {}, self._flavors.get() or {}
        return PoolPollResult(
            pools=None
            if listed is None
            else {
                pool_id: adapter.compose(
                    pool, used=used.get(pool_id), flavors=flavors, workloads=self._workloads[pool_id].get()
                )
                for pool_id, pool in listed.items()
            },
            listed_at=self._listed.stored_at,
            quotas={name: quota for part in self._quotas.values() for name, quota in (part.get() or {}).items()},
            failures=tuple(poll.failures),
        )

    async def _list(self, poll: _Poll) -> SourceError | None:
        """List the pools of every workspace; returns the refusal if every workspace is refused.

        If one workspace fails, the last listing is kept. A workspace that is refused has no pools here.
        """
        pools: dict[str, Pool] = {}
        refusals: list[SourceError] = []
        try:
            workspaces = await self._workspaces()
            for workspace_id in workspaces:  # one at a time: a rejected credential must fail once
                try:
                    answer = await self._call(POOLS, poll, query={"workspaceId": workspace_id})
                except SourceError as error:
                    if not is_refusal(error, operation=POOLS.name):
                        raise
                    refusals.append(error)
                    continue
                for raw in answer.items or ():
                    pool = adapter.pool(raw, project=self._project, note=self._note)
                    if pool is not None and self._shows(pool.pool_id):
                        pools.setdefault(pool.pool_id, pool)
        except SourceError as error:
            poll.add_failure(error)
            return None
        if refusals and len(refusals) == len(workspaces):
            return refusals[0]
        self._listed.set(pools)
        # With more pools than one poll requests, a value is kept for as many polls longer as a turn takes.
        keep_s = self._keep_s * max(1, -(-len(pools) // MAX_POOLS_PER_POLL))
        self._workloads = {
            pool_id: self._workloads.get(pool_id) or Cached(self._clock, ttl_s=keep_s) for pool_id in pools
        }
        for part in self._workloads.values():
            part.ttl_s = keep_s
        return None

    def _next_pools(self) -> list[str]:
        """Pools whose workloads to request, the longest unanswered first."""
        listed = self._listed.get() or {}
        at = {pool_id: self._workloads[pool_id].stored_at for pool_id in listed}
        return sorted(listed, key=lambda pool_id: float("-inf") if (last := at[pool_id]) is None else last)[
            :MAX_POOLS_PER_POLL
        ]

    async def _refresh(
        self,
        part: Cached[Value],
        endpoint: Endpoint[Any],
        request: Callable[[_Poll], Awaitable[Value]],
        poll: _Poll,
    ) -> None:
        """Request one part if it is due. A refusal clears it, any other failure keeps its last value."""
        if not part.is_due or endpoint.name in self._refused:
            return
        try:
            value = await request(poll)
        except SourceError as error:
            if is_refusal(error, operation=endpoint.name):
                self._refused.add([endpoint.name])
                part.clear()
            else:
                poll.add_failure(error)
        else:
            part.set(value)

    async def _refresh_workloads(self, pool_id: str, poll: _Poll) -> None:
        """Count one pool's workloads by the statistics call or, where it is refused, by listing them."""
        part = self._workloads[pool_id]
        for endpoint, request in ((STATISTICS, self._count_by_statistics), (WORKLOADS, self._count_by_listing)):
            if poll.stopped:
                return
            if endpoint.name in self._refused or (endpoint.name, pool_id) in self._refused:
                continue
            try:
                counts = await request(pool_id, poll)
            except Gone:
                return  # deleted after it was listed; the next listing does not contain it
            except SourceError as error:
                if not is_refusal(error, operation=endpoint.name):
                    poll.add_failure(error)
                    return
                # a 403 may concern only this pool
                self._refused.add([(endpoint.name, pool_id) if isinstance(error, Denied) else endpoint.name])
            else:
                part.set(counts)
                return
        part.clear()

    async def _fetch_usage(self, poll: _Poll) -> Mapping[str, PoolUsage]:
        answer = await self._call(USAGE, poll)
        return dict(filter(None, (adapter.used(raw, note=self._note) for raw in answer.items or ())))

    async def _fetch_flavors(self, poll: _Poll) -> Mapping[str, NodeFlavor]:
        flavors: dict[str, NodeFlavor] = {}
        token = ""
        for _ in range(_MAX_FLAVOR_PAGES):
            page = await self._call(FLAVORS, poll, query={"continue": token} if token else {})
            flavors.update(filter(None, (adapter.flavor(raw, note=self._note) for raw in page.items or ())))
            following = page.metadata.token if page.metadata else None
            if not isinstance(following, str) or following in ("", token):
                break
            token = following
        return flavors

    async def _fetch_quotas(self, endpoint: Endpoint[wire.Quotas], poll: _Poll) -> Mapping[str, Quota]:
        answer = await self._call(endpoint, poll)
        return adapter.quotas(answer, operation=endpoint.name, note=self._note)

    async def _count_by_statistics(self, pool_id: str, poll: _Poll) -> Workloads:
        return adapter.statistics(await self._call(STATISTICS, poll, path={"pool": pool_id}), note=self._note)

    async def _count_by_listing(self, pool_id: str, poll: _Poll) -> Workloads:
        """Count workloads by listing them; raises InvalidResponse when the list is too long."""
        counts: dict[tuple[WorkloadKind, WorkloadStatus], int] = {}
        seen: set[str] = set()
        for _ in range(_MAX_PAGES):
            query = {"limit": str(WORKLOADS_PAGE), "offset": str(len(seen))}
            page = await self._call(WORKLOADS, poll, path={"pool": pool_id}, query=query)
            rows = page.items or ()
            known = len(seen)
            for raw in rows:
                workload = adapter.workload(raw, note=self._note)
                if workload is None or workload[0] in seen:
                    continue
                seen.add(workload[0])
                if workload[1] is not None:
                    counts[workload[1]] = counts.get(workload[1], 0) + 1
            if len(rows) < WORKLOADS_PAGE or len(seen) == known:
                return counts
        raise InvalidResponse(WORKLOADS.name, f"more than {_MAX_PAGES * WORKLOADS_PAGE} workloads: not counted")

    async def _call(
        self,
        endpoint: Endpoint[Answer],
        poll: _Poll,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request, if there is time left. Raises SourceError."""
        if self._clock.monotonic() >= poll.answer_by:
            raise OutOfTime(endpoint.name)
        answer = await self._caller.call(endpoint, path=path, query=query)
        if answer is None:
            raise InvalidResponse(endpoint.name, "the body is empty")
        return answer
