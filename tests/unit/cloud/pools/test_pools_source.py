"""Looking at pools through a fake caller: what is asked and when, what is kept, what a refusal means."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
import pytest

from exporter.cloud.http.endpoint import Endpoint
from exporter.cloud.http.errors import CloudError, Denied, Gone, ServerError, Unsupported
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
from exporter.cloud.pools.source import CloudPools
from exporter.domain.pool import PoolPollResult, WorkloadKind, WorkloadStatus
from exporter.domain.source import SourceError
from tests.clock import ManualClock
from tests.unit.cloud.recorded_unknowns import Notes

Answer = TypeVar("Answer")

RUNNING = (WorkloadKind.TRAIN, WorkloadStatus.RUNNING)
KEEP_S = 300.0


class Cloud:
    """Pools by workspace, all alike; `fail` says which calls fail, by operation and pool (or workspace)."""

    def __init__(self, **pools: int) -> None:
        self.workspaces = pools or {"w0": 2}
        self.asked: Counter[str] = Counter()
        self.queries: list[tuple[str, Mapping[str, str]]] = []
        self.errors: dict[str, Callable[[str], CloudError | None]] = {}
        self.workloads = 3

    def fail(self, endpoint: Endpoint[Any], error: CloudError | None, *, only: str = "") -> None:
        """Let a call fail, for one pool or workspace alone or for all; None mends it."""
        self.errors[endpoint.name] = lambda of: error if not only or of == only else None

    async def call(
        self,
        endpoint: Endpoint[Answer],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer | None:
        assert body is None
        of = (path or {}).get("pool") or (query or {}).get("workspaceId", "")
        self.asked[endpoint.name] += 1
        self.queries.append((endpoint.name, dict(query or {})))
        if endpoint.name in self.errors and (error := self.errors[endpoint.name](of)) is not None:
            raise error
        found = msgspec.json.encode(self._told(endpoint, of, query or {}))
        return msgspec.json.decode(found, type=endpoint.answer)

    def _told(  # noqa: PLR0911 - a table of answers
        self, endpoint: Endpoint[Any], of: str, query: Mapping[str, str]
    ) -> dict[str, Any]:
        everything = [f"{workspace}-{n}" for workspace, number in self.workspaces.items() for n in range(number)]
        if endpoint is POOLS:
            mine = [name for name in everything if name.startswith(of)]
            return {"items": [{"metadata": {"name": name}, "status": {"phase": "Running"}} for name in mine]}
        if endpoint is USAGE:
            table = {"allocated": {"value": {"cpu": 1}}, "capacity": {"value": {"cpu": 8}}}
            return {"items": [{"metadata": {"name": name}, "table": table} for name in everything]}
        if endpoint is STATISTICS:
            return {"statistics": {"items": [{"type": "train", "status": {"Running": 1}}]}}
        if endpoint is WORKLOADS:
            offset, limit = int(query["offset"]), int(query["limit"])
            names = [f"{of}-{n}" for n in range(self.workloads)][offset : offset + limit]
            return {"items": [{"name": name, "type": "train", "status": "Running"} for name in names]}
        if endpoint is FLAVORS:
            if "continue" in query:
                return {"items": []}
            return {"items": [], "metadata": {"continue": "next"}}
        return {"quotas": [{"resource": endpoint.name, "quota": 5, "used": 1}]}


def denied(endpoint: Endpoint[Any]) -> Denied:
    return Denied(endpoint.name, "no permission", status=403, code="ModelArts.0108")


def unsupported(endpoint: Endpoint[Any]) -> Unsupported:
    return Unsupported(endpoint.name, "no such API", status=404, code="APIG.0101")


def broken(endpoint: Endpoint[Any]) -> ServerError:
    return ServerError(endpoint.name, "busy", status=500)


class Harness:
    """A source before a cloud."""

    def __init__(
        self,
        clock: ManualClock,
        cloud: Cloud,
        *,
        workspaces: Callable[[], Awaitable[tuple[str, ...]]] | None = None,
        shows: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self.clock = clock
        self.cloud = cloud

        async def mine() -> tuple[str, ...]:
            return tuple(cloud.workspaces)

        self.source = CloudPools(
            cloud,
            project="p",
            workspaces=workspaces or mine,
            clock=clock,
            note=Notes(),
            keep_s=KEEP_S,
            shows=shows,
        )

    async def poll(self) -> PoolPollResult:
        self.cloud.asked.clear()
        self.cloud.queries.clear()
        return await self.source.poll(answer_by=self.clock.monotonic() + 24)


@pytest.fixture
def harness(clock: ManualClock) -> Harness:
    return Harness(clock, Cloud())


async def test_a_look_sees_pools_use_workloads_and_quotas(harness: Harness) -> None:
    """Two pools with their cores and workloads, and the quotas of both calls."""
    result = await harness.poll()

    assert result.pools is not None
    assert result.pools.keys() == {"w0-0", "w0-1"}
    for pool in result.pools.values():
        assert (pool.project, pool.cpu_allocated_cores, pool.workloads) == ("p", 1, {RUNNING: 1})
    assert set(result.quotas) == {QUOTAS.name, TRAINING_QUOTAS.name}
    assert (result.failures, result.refused) == ((), None)
    assert result.listed_at == harness.clock.monotonic()


async def test_a_look_costs_what_was_said(clock: ManualClock) -> None:
    """Workspaces + 1 + pools calls; flavors (2 pages) an hour and quotas (2 calls) five minutes later again."""
    harness = Harness(clock, Cloud(w0=3, w1=2))

    await harness.poll()
    assert harness.cloud.asked.total() == 2 + 1 + 5 + 2 + 2
    clock.turn(60)
    await harness.poll()
    assert harness.cloud.asked.total() == 2 + 1 + 5
    clock.turn(240)
    await harness.poll()
    assert harness.cloud.asked.total() == 2 + 1 + 5 + 2
    clock.turn(3300)
    await harness.poll()
    assert harness.cloud.asked.total() == 2 + 1 + 5 + 2 + 2


async def test_every_workspace_is_listed_by_name(clock: ManualClock) -> None:
    """Trap 4: leaving the workspace out means the default one, never all."""
    harness = Harness(clock, Cloud(w0=1, w1=1))

    result = await harness.poll()

    assert [query for name, query in harness.cloud.queries if name == POOLS.name] == [
        {"workspaceId": "w0"},
        {"workspaceId": "w1"},
    ]
    assert result.pools is not None
    assert result.pools.keys() == {"w0-0", "w1-0"}


@pytest.mark.parametrize("error", [denied(POOLS), unsupported(POOLS)], ids=["403", "404"])
async def test_a_refused_listing_is_a_refusal_and_asks_nothing_else(harness: Harness, error: CloudError) -> None:
    """Where pools may not be listed there is nothing to ask about."""
    harness.cloud.fail(POOLS, error)

    result = await harness.poll()

    assert result == PoolPollResult(refused=error)
    assert harness.cloud.asked == {POOLS.name: 1}


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Denied(POOLS.name, "bad signature", status=401, code="APIG.0301"), id="credential"),
        pytest.param(Denied("credentials", "agency is gone", status=403), id="no credential to be had"),
        pytest.param(broken(POOLS), id="server_error"),
    ],
)
async def test_other_failures_of_the_listing_are_no_refusal(harness: Harness, error: CloudError) -> None:
    """A refused credential or a broken cloud says nothing about pools: a failure, and what was known is kept."""
    before = await harness.poll()
    harness.cloud.fail(POOLS, error)
    harness.clock.turn(60)

    result = await harness.poll()

    assert result.refused is None
    assert result.failures == (error,)
    assert result.pools == before.pools
    assert result.listed_at == before.listed_at
    assert (harness.cloud.asked.total() == 1) == error.is_final  # what is final asks nothing further


async def test_one_closed_workspace_hides_only_itself(clock: ManualClock) -> None:
    """A 403 for one workspace among two is no refusal: the other's pools are there."""
    harness = Harness(clock, Cloud(w0=1, w1=1))
    harness.cloud.fail(POOLS, denied(POOLS), only="w1")

    result = await harness.poll()

    assert result.refused is None
    assert result.pools is not None
    assert result.pools.keys() == {"w0-0"}


async def test_a_workspace_that_does_not_answer_spoils_the_listing(clock: ManualClock) -> None:
    """Pools of a workspace that failed must not look deleted: the listing before stands."""
    harness = Harness(clock, Cloud(w0=1, w1=1))
    await harness.poll()
    harness.cloud.fail(POOLS, broken(POOLS), only="w1")

    result = await harness.poll()

    assert result.pools is not None
    assert result.pools.keys() == {"w0-0", "w1-0"}
    assert len(result.failures) == 1


@pytest.mark.parametrize(
    "endpoint", [USAGE, STATISTICS, FLAVORS, QUOTAS, TRAINING_QUOTAS], ids=lambda endpoint: endpoint.name
)
async def test_one_failing_call_blanks_no_other(harness: Harness, endpoint: Endpoint[Any]) -> None:
    """Each part stands for itself: the failure is told, and what the others say is there."""
    harness.cloud.fail(endpoint, broken(endpoint))

    result = await harness.poll()

    assert {str(error) for error in result.failures} == {str(broken(endpoint))}
    assert result.pools is not None
    pool = result.pools["w0-0"]
    assert (pool.cpu_allocated_cores is None) == (endpoint is USAGE)
    assert (pool.workloads is None) == (endpoint is STATISTICS)
    assert (QUOTAS.name in result.quotas) == (endpoint is not QUOTAS)
    assert (TRAINING_QUOTAS.name in result.quotas) == (endpoint is not TRAINING_QUOTAS)


async def test_what_fails_is_kept_for_a_while(harness: Harness) -> None:
    """One bad answer makes no hole in a graph: the last value is told until `keep_s` is over, and then none."""
    await harness.poll()
    harness.cloud.fail(USAGE, broken(USAGE))
    harness.cloud.fail(STATISTICS, broken(STATISTICS))
    harness.clock.turn(KEEP_S - 1)
    kept = (await harness.poll()).pools
    harness.clock.turn(1)
    lost = (await harness.poll()).pools

    assert kept is not None
    assert (kept["w0-0"].cpu_allocated_cores, kept["w0-0"].workloads) == (1, {RUNNING: 1})
    assert lost is not None
    assert (lost["w0-0"].cpu_allocated_cores, lost["w0-0"].workloads) == (None, None)


@pytest.mark.parametrize("endpoint", [USAGE, FLAVORS, QUOTAS, TRAINING_QUOTAS], ids=lambda endpoint: endpoint.name)
@pytest.mark.parametrize("refusal", [denied, unsupported], ids=["403", "404"])
async def test_a_refused_part_is_left_out_for_an_hour(
    harness: Harness, endpoint: Endpoint[Any], refusal: Callable[[Endpoint[Any]], CloudError]
) -> None:
    """No such call, or no permission for it, is a fact and no failure; it is asked for again after an hour."""
    harness.cloud.fail(endpoint, refusal(endpoint))
    assert (await harness.poll()).failures == ()
    harness.clock.turn(3599)
    await harness.poll()
    assert harness.cloud.asked[endpoint.name] == 0

    harness.cloud.fail(endpoint, None)
    harness.clock.turn(1)
    await harness.poll()
    assert harness.cloud.asked[endpoint.name] > 0


async def test_without_statistics_workloads_are_counted_one_by_one(harness: Harness) -> None:
    """Where the cloud has no statistics the list is walked, and the statistics are not asked for again and again."""
    harness.cloud.fail(STATISTICS, unsupported(STATISTICS))
    harness.cloud.workloads = WORKLOADS_PAGE + 7

    result = await harness.poll()

    assert result.pools is not None
    assert {pool.pool_id: pool.workloads for pool in result.pools.values()} == {
        "w0-0": {RUNNING: WORKLOADS_PAGE + 7},
        "w0-1": {RUNNING: WORKLOADS_PAGE + 7},
    }
    assert harness.cloud.asked[WORKLOADS.name] == 2 * 2  # two pages for each of two pools
    await harness.poll()
    assert harness.cloud.asked[STATISTICS.name] == 0


async def test_a_list_without_end_is_not_counted(harness: Harness) -> None:
    """Ten pages are enough: more would be a list that never ends, and a count that may be short is none."""
    harness.cloud.fail(STATISTICS, unsupported(STATISTICS))
    harness.cloud.workloads = 10 * WORKLOADS_PAGE + 1

    result = await harness.poll()

    assert harness.cloud.asked[WORKLOADS.name] == 2 * 10
    assert result.pools is not None
    assert result.pools["w0-0"].workloads is None
    assert len(result.failures) == 2


async def test_one_closed_pool_closes_no_other(harness: Harness) -> None:
    """A 403 about one pool's workloads leaves that pool's out, by either call, and the other's in."""
    harness.cloud.fail(STATISTICS, denied(STATISTICS), only="w0-0")
    harness.cloud.fail(WORKLOADS, denied(WORKLOADS), only="w0-0")

    result = await harness.poll()

    assert result.failures == ()
    assert result.pools is not None
    assert result.pools["w0-0"].workloads is None
    assert result.pools["w0-1"].workloads == {RUNNING: 1}
    await harness.poll()
    assert harness.cloud.asked[STATISTICS.name] == 1


async def test_a_pool_deleted_in_between_is_no_failure(harness: Harness) -> None:
    """Listed a moment ago, gone when asked about: the next listing will know."""
    harness.cloud.fail(STATISTICS, Gone(STATISTICS.name, "Pool w0-0 not found.", status=404), only="w0-0")

    result = await harness.poll()

    assert result.failures == ()
    assert harness.cloud.asked[WORKLOADS.name] == 0


async def test_of_many_pools_each_has_its_turn(clock: ManualClock) -> None:
    """Of 45 pools 20 are asked about a look, those longest unanswered first: after three looks all are known."""
    harness = Harness(clock, Cloud(w0=45))
    known = []
    for _ in range(4):
        result = await harness.poll()
        assert harness.cloud.asked[STATISTICS.name] == 20
        assert result.pools is not None
        known.append(sum(pool.workloads is not None for pool in result.pools.values()))
        clock.turn(200)  # three looks take longer than keep_s, and yet nothing is lost

    assert known == [20, 40, 45, 45]


async def test_when_time_is_up_nothing_more_is_asked(clock: ManualClock) -> None:
    """What answered in time is told; the rest is one failure, because the poll did not come to it."""
    cloud = Cloud()
    harness = Harness(clock, cloud)

    def slow(_: str) -> None:
        clock.turn(24)

    cloud.errors[USAGE.name] = slow

    result = await harness.poll()

    assert result.pools is not None
    assert result.pools["w0-0"].cpu_allocated_cores == 1
    assert cloud.asked[STATISTICS.name] == 0
    assert any("no time left in this poll" in str(error) for error in result.failures)


async def test_hidden_pools_are_not_even_asked_about(clock: ManualClock) -> None:
    """A pool that the settings do not show costs no call and has no series."""
    harness = Harness(clock, Cloud(), shows=lambda pool_id: pool_id == "w0-1")

    result = await harness.poll()

    assert result.pools is not None
    assert result.pools.keys() == {"w0-1"}
    assert harness.cloud.asked[STATISTICS.name] == 1


async def test_without_workspaces_there_is_nothing_to_list(clock: ManualClock) -> None:
    """The list of workspaces may fail, which is a failure of the look and not an absence of pools."""

    async def workspaces() -> tuple[str, ...]:
        raise SourceError("v1_list_workspaces: HTTP 500")

    result = await Harness(clock, Cloud(), workspaces=workspaces).poll()

    assert result.pools is None
    assert result.quotas
    assert len(result.failures) == 1
