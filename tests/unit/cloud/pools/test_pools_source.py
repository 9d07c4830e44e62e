"""Polling pools with a fake caller: which requests are sent and when, what is kept, the effect of a refusal."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given

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
from tests.unit.cloud.odd_values import among, odd_rows
from tests.unit.cloud.recorded_unknowns import Notes

Answer = TypeVar("Answer")

RUNNING = (WorkloadKind.TRAIN, WorkloadStatus.RUNNING)
KEEP_S = 300.0


class Cloud:
    """Pools by workspace, all alike; `fail` makes calls fail, by operation and pool (or workspace)."""

    def __init__(self, **pools: int) -> None:
        self.workspaces = pools or {"w0": 2}
        self.calls: Counter[str] = Counter()
        self.queries: list[tuple[str, Mapping[str, str]]] = []
        self.errors: dict[str, Callable[[str], CloudError | None]] = {}
        self.workloads = 3
        self.odd_rows: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        """Rows to insert into answers, by operation and pool."""
        self.odd_answers: dict[tuple[str, str], dict[str, Any]] = {}
        """Answers in place of the usual ones, by operation and pool."""

    def fail(self, endpoint: Endpoint[Any], error: CloudError | None, *, only: str = "") -> None:
        """Make a call fail, for one pool or workspace or for all; None removes the failure."""
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
        self.calls[endpoint.name] += 1
        self.queries.append((endpoint.name, dict(query or {})))
        if endpoint.name in self.errors and (error := self.errors[endpoint.name](of)) is not None:
            raise error
        answer = self.odd_answers.get((endpoint.name, of))
        if answer is None:
            answer = self._answer(endpoint, of, query or {})
        if odd := self.odd_rows.get((endpoint.name, of)):
            table = answer.get("statistics", answer)
            table["items"] = among(table["items"], odd)
        found = msgspec.json.encode(answer)
        return msgspec.json.decode(found, type=endpoint.answer)

    def _answer(  # noqa: PLR0911 - a table of responses
        self, endpoint: Endpoint[Any], of: str, query: Mapping[str, str]
    ) -> dict[str, Any]:
        pools = [f"{workspace}-{n}" for workspace, number in self.workspaces.items() for n in range(number)]
        if endpoint is POOLS:
            names = [name for name in pools if name.startswith(of)]
            return {"items": [{"metadata": {"name": name}, "status": {"phase": "Running"}} for name in names]}
        if endpoint is USAGE:
            table = {"allocated": {"value": {"cpu": 1}}, "capacity": {"value": {"cpu": 8}}}
            return {"items": [{"metadata": {"name": name}, "table": table} for name in pools]}
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


def server_error(endpoint: Endpoint[Any]) -> ServerError:
    return ServerError(endpoint.name, "busy", status=500)


class Harness:
    """A pool source with a fake cloud."""

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

        async def all_workspaces() -> tuple[str, ...]:
            return tuple(cloud.workspaces)

        self.source = CloudPools(
            cloud,
            project="p",
            workspaces=workspaces or all_workspaces,
            clock=clock,
            note=Notes(),
            keep_s=KEEP_S,
            shows=shows,
        )

    async def poll(self) -> PoolPollResult:
        self.cloud.calls.clear()
        self.cloud.queries.clear()
        return await self.source.poll(answer_by=self.clock.monotonic() + 24)


@pytest.fixture
def harness(clock: ManualClock) -> Harness:
    return Harness(clock, Cloud())


async def test_a_poll_returns_pools_usage_workloads_and_quotas(harness: Harness) -> None:
    """Two pools with their cores and workloads, and the quotas of both calls."""
    result = await harness.poll()

    assert result.pools is not None
    assert result.pools.keys() == {"w0-0", "w0-1"}
    for pool in result.pools.values():
        assert (pool.project, pool.cpu_allocated_cores, pool.workloads) == ("p", 1, {RUNNING: 1})
    assert set(result.quotas) == {QUOTAS.name, TRAINING_QUOTAS.name}
    assert (result.failures, result.refused) == ((), None)
    assert result.listed_at == harness.clock.monotonic()


async def test_the_calls_of_a_poll(clock: ManualClock) -> None:
    """Workspaces + 1 + pools calls; flavors (2 pages) again after an hour and quotas (2 calls) after five minutes."""
    harness = Harness(clock, Cloud(w0=3, w1=2))

    await harness.poll()
    assert harness.cloud.calls.total() == 2 + 1 + 5 + 2 + 2
    clock.turn(60)
    await harness.poll()
    assert harness.cloud.calls.total() == 2 + 1 + 5
    clock.turn(240)
    await harness.poll()
    assert harness.cloud.calls.total() == 2 + 1 + 5 + 2
    clock.turn(3300)
    await harness.poll()
    assert harness.cloud.calls.total() == 2 + 1 + 5 + 2 + 2


async def test_every_workspace_is_listed_by_id(clock: ManualClock) -> None:
    """Trap 4: without a workspace id only the default one is listed."""
    harness = Harness(clock, Cloud(w0=1, w1=1))

    result = await harness.poll()

    assert [query for name, query in harness.cloud.queries if name == POOLS.name] == [
        {"workspaceId": "w0"},
        {"workspaceId": "w1"},
    ]
    assert result.pools is not None
    assert result.pools.keys() == {"w0-0", "w1-0"}


@pytest.mark.parametrize("error", [denied(POOLS), unsupported(POOLS)], ids=["403", "404"])
async def test_a_refused_listing_sends_no_further_request(harness: Harness, error: CloudError) -> None:
    """If pools may not be listed, the refusal is the only result."""
    harness.cloud.fail(POOLS, error)

    result = await harness.poll()

    assert result == PoolPollResult(refused=error)
    assert harness.cloud.calls == {POOLS.name: 1}


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Denied(POOLS.name, "bad signature", status=401, code="APIG.0301"), id="credential"),
        pytest.param(Denied("credentials", "agency is gone", status=403), id="no credential"),
        pytest.param(server_error(POOLS), id="server_error"),
    ],
)
async def test_other_failures_of_the_listing_are_no_refusal(harness: Harness, error: CloudError) -> None:
    """A rejected credential or a server error is a failure, and the last listing is kept."""
    before = await harness.poll()
    harness.cloud.fail(POOLS, error)
    harness.clock.turn(60)

    result = await harness.poll()

    assert result.refused is None
    assert result.failures == (error,)
    assert result.pools == before.pools
    assert result.listed_at == before.listed_at
    assert (harness.cloud.calls.total() == 1) == error.is_final  # a final error sends no further request


async def test_one_refused_workspace_hides_only_itself(clock: ManualClock) -> None:
    """A 403 for one of two workspaces is no refusal: the other's pools are returned."""
    harness = Harness(clock, Cloud(w0=1, w1=1))
    harness.cloud.fail(POOLS, denied(POOLS), only="w1")

    result = await harness.poll()

    assert result.refused is None
    assert result.pools is not None
    assert result.pools.keys() == {"w0-0"}


async def test_a_failed_workspace_keeps_the_last_listing(clock: ManualClock) -> None:
    """Pools of a workspace that failed must not look deleted: the last listing is kept."""
    harness = Harness(clock, Cloud(w0=1, w1=1))
    await harness.poll()
    harness.cloud.fail(POOLS, server_error(POOLS), only="w1")

    result = await harness.poll()

    assert result.pools is not None
    assert result.pools.keys() == {"w0-0", "w1-0"}
    assert len(result.failures) == 1


@pytest.mark.parametrize(
    "endpoint", [USAGE, STATISTICS, FLAVORS, QUOTAS, TRAINING_QUOTAS], ids=lambda endpoint: endpoint.name
)
async def test_one_failing_call_does_not_affect_the_others(harness: Harness, endpoint: Endpoint[Any]) -> None:
    """The failure is reported, and the other parts are returned."""
    harness.cloud.fail(endpoint, server_error(endpoint))

    result = await harness.poll()

    assert {str(error) for error in result.failures} == {str(server_error(endpoint))}
    assert result.pools is not None
    pool = result.pools["w0-0"]
    assert (pool.cpu_allocated_cores is None) == (endpoint is USAGE)
    assert (pool.workloads is None) == (endpoint is STATISTICS)
    assert (QUOTAS.name in result.quotas) == (endpoint is not QUOTAS)
    assert (TRAINING_QUOTAS.name in result.quotas) == (endpoint is not TRAINING_QUOTAS)


async def test_a_failed_part_keeps_its_value_for_a_while(harness: Harness) -> None:
    """One failure makes no gap in a graph: the last value is returned until `keep_s` is over, and then none."""
    await harness.poll()
    harness.cloud.fail(USAGE, server_error(USAGE))
    harness.cloud.fail(STATISTICS, server_error(STATISTICS))
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
    """A missing call, or a missing permission, is no failure; it is requested again after an hour."""
    harness.cloud.fail(endpoint, refusal(endpoint))
    assert (await harness.poll()).failures == ()
    harness.clock.turn(3599)
    await harness.poll()
    assert harness.cloud.calls[endpoint.name] == 0

    harness.cloud.fail(endpoint, None)
    harness.clock.turn(1)
    await harness.poll()
    assert harness.cloud.calls[endpoint.name] > 0


async def test_without_statistics_workloads_are_listed(harness: Harness) -> None:
    """If the statistics are refused, the workloads are listed, and the statistics are not requested in every poll."""
    harness.cloud.fail(STATISTICS, unsupported(STATISTICS))
    harness.cloud.workloads = WORKLOADS_PAGE + 7

    result = await harness.poll()

    assert result.pools is not None
    assert {pool.pool_id: pool.workloads for pool in result.pools.values()} == {
        "w0-0": {RUNNING: WORKLOADS_PAGE + 7},
        "w0-1": {RUNNING: WORKLOADS_PAGE + 7},
    }
    assert harness.cloud.calls[WORKLOADS.name] == 2 * 2  # two pages for each of two pools
    await harness.poll()
    assert harness.cloud.calls[STATISTICS.name] == 0


async def test_a_list_without_end_is_not_counted(harness: Harness) -> None:
    """The maximum is ten pages: a longer list is not counted, because the count might be too low."""
    harness.cloud.fail(STATISTICS, unsupported(STATISTICS))
    harness.cloud.workloads = 10 * WORKLOADS_PAGE + 1

    result = await harness.poll()

    assert harness.cloud.calls[WORKLOADS.name] == 2 * 10
    assert result.pools is not None
    assert result.pools["w0-0"].workloads is None
    assert len(result.failures) == 2


async def test_one_refused_pool_does_not_affect_the_others(harness: Harness) -> None:
    """A 403 for one pool's workloads, by either call, leaves out only the workloads of that pool."""
    harness.cloud.fail(STATISTICS, denied(STATISTICS), only="w0-0")
    harness.cloud.fail(WORKLOADS, denied(WORKLOADS), only="w0-0")

    result = await harness.poll()

    assert result.failures == ()
    assert result.pools is not None
    assert result.pools["w0-0"].workloads is None
    assert result.pools["w0-1"].workloads == {RUNNING: 1}
    await harness.poll()
    assert harness.cloud.calls[STATISTICS.name] == 1


async def test_a_pool_deleted_meanwhile_is_no_failure(harness: Harness) -> None:
    """The pool was listed and is gone at the next request; the next listing does not contain it."""
    harness.cloud.fail(STATISTICS, Gone(STATISTICS.name, "Pool w0-0 not found.", status=404), only="w0-0")

    result = await harness.poll()

    assert result.failures == ()
    assert harness.cloud.calls[WORKLOADS.name] == 0


async def test_many_pools_take_turns(clock: ManualClock) -> None:
    """Of 45 pools 20 are requested per poll, the longest unanswered first: after three polls all are known."""
    harness = Harness(clock, Cloud(w0=45))
    known = []
    for _ in range(4):
        result = await harness.poll()
        assert harness.cloud.calls[STATISTICS.name] == 20
        assert result.pools is not None
        known.append(sum(pool.workloads is not None for pool in result.pools.values()))
        clock.turn(200)  # three polls take longer than keep_s, and no value expires

    assert known == [20, 40, 45, 45]


async def test_after_the_deadline_no_request_is_sent(clock: ManualClock) -> None:
    """Parts that answered in time are returned; the requests that were not sent are a failure."""
    cloud = Cloud()
    harness = Harness(clock, cloud)

    def slow(_: str) -> None:
        clock.turn(24)

    cloud.errors[USAGE.name] = slow

    result = await harness.poll()

    assert result.pools is not None
    assert result.pools["w0-0"].cpu_allocated_cores == 1
    assert cloud.calls[STATISTICS.name] == 0
    assert any("no time left in this poll" in str(error) for error in result.failures)


async def test_hidden_pools_are_not_requested(clock: ManualClock) -> None:
    """A pool that the settings exclude costs no call and has no series."""
    harness = Harness(clock, Cloud(), shows=lambda pool_id: pool_id == "w0-1")

    result = await harness.poll()

    assert result.pools is not None
    assert result.pools.keys() == {"w0-1"}
    assert harness.cloud.calls[STATISTICS.name] == 1


async def test_without_workspaces_there_is_no_listing(clock: ManualClock) -> None:
    """If the list of workspaces fails, the poll has a failure; the pools are unknown."""

    async def workspaces() -> tuple[str, ...]:
        raise SourceError("v1_list_workspaces: HTTP 500")

    result = await Harness(clock, Cloud(), workspaces=workspaces).poll()

    assert result.pools is None
    assert result.quotas
    assert len(result.failures) == 1


@given(odd=odd_rows)
async def test_bad_rows_among_the_workloads_of_a_pool_are_skipped_alone(odd: list[tuple[int, Any]]) -> None:
    """Whatever else is in a list of workloads, or in the statistics: the rest is counted, for every pool."""
    for endpoint in (WORKLOADS, STATISTICS):
        cloud = Cloud()
        harness = Harness(ManualClock(), cloud)
        if endpoint is WORKLOADS:
            cloud.fail(STATISTICS, unsupported(STATISTICS))
        cloud.odd_rows = {(endpoint.name, "w0-0"): odd}

        result = await harness.poll()

        assert result.failures == ()
        assert result.pools is not None
        for pool in result.pools.values():
            assert pool.workloads is not None
            assert pool.workloads[RUNNING] == (3 if endpoint is WORKLOADS else 1)


@pytest.mark.parametrize(
    "answer", [{}, {"statistics": None}, {"statistics": 5}, {"statics": [1]}], ids=["empty", "null", "number", "list"]
)
async def test_a_malformed_count_affects_only_its_pool(harness: Harness, answer: dict[str, Any]) -> None:
    """An answer without counts is a failure of this pool's workloads, which are unknown; the others are counted."""
    harness.cloud.odd_answers = {(STATISTICS.name, "w0-0"): answer}

    result = await harness.poll()

    assert [error.outcome for error in result.failures] == ["invalid_response"]
    assert result.pools is not None
    assert result.pools["w0-0"].workloads is None
    assert result.pools["w0-0"].cpu_allocated_cores == 1
    assert result.pools["w0-1"].workloads == {RUNNING: 1}
    assert result.quotas


async def test_what_is_refused_is_not_requested(harness: Harness) -> None:
    """With every optional call refused, the next polls send the listing alone, for an hour."""
    for endpoint in (USAGE, STATISTICS, WORKLOADS, FLAVORS, QUOTAS, TRAINING_QUOTAS):
        harness.cloud.fail(endpoint, unsupported(endpoint))
    await harness.poll()
    for _ in range(3):
        harness.clock.turn(1000)
        result = await harness.poll()
        assert harness.cloud.calls == {POOLS.name: 1}
        assert result.failures == ()
        assert result.pools is not None
        assert {pool.workloads for pool in result.pools.values()} == {None}
