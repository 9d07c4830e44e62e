from collections.abc import Mapping
from typing import Any

import pytest

from exporter.cloud.http.endpoint import Endpoint
from exporter.cloud.http.errors import (
    CircuitOpen,
    CloudError,
    Denied,
    Gone,
    InvalidResponse,
    Refused,
    ServerError,
    Throttled,
    Unreachable,
    Unsupported,
)
from exporter.cloud.probe import PROBE_S, RECHECK_S, FixedSources, ProbedSources
from exporter.domain.job import Api, Job
from exporter.domain.source import JobSource, PollResult, TrackedState
from exporter.domain.usage import TaskSeries
from tests.clock import ManualClock

MISSING = Unsupported("probe", "no such API", status=404, code="APIG.0101")


class Source:
    """A source without jobs."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @property
    def api(self) -> Api:
        """Its API generation."""
        return self._api

    async def poll(self, _known: TrackedState) -> PollResult:
        """Return no jobs."""
        return PollResult()

    async def sweep(self, _known: TrackedState) -> PollResult:
        """Return no jobs."""
        return PollResult()

    def tasks(self, job: Job) -> tuple[str, ...]:
        """None."""
        return job.tasks

    async def usage(self, _job: Job, _task: str) -> TaskSeries | None:
        """None."""
        return None


class Cloud:
    """Answers the two probes: raises an error, or returns None for a success."""

    def __init__(self, *, v1: CloudError | None = None, v2: CloudError | None = None) -> None:
        self.v1 = v1
        self.v2 = v2
        self.calls: list[tuple[str, object]] = []

    async def call(
        self,
        endpoint: Endpoint[Any],
        *,
        path: Mapping[str, str] | None = None,  # noqa: ARG002 - part of the protocol
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Any:
        """Answer a probe."""
        self.calls.append((endpoint.name, query or body))
        error = {"v1_list_jobs": self.v1, "v2_search_jobs": self.v2}[endpoint.name]
        if error is not None:
            raise error


def probed(cloud: Cloud, clock: ManualClock) -> ProbedSources:
    return ProbedSources(cloud, make_v1=lambda: Source(Api.V1), make_v2=lambda: Source(Api.V2), clock=clock)


def apis(sources: tuple[JobSource, ...]) -> list[str]:
    return [source.api.value for source in sources]


async def test_fixed_sources_are_returned_unchanged() -> None:
    """`api: v1`, `v2` and `both` send no probe."""
    v1, v2 = Source(Api.V1), Source(Api.V2)
    sources = FixedSources((v1, v2))

    assert await sources.current() == (v1, v2)


@pytest.mark.parametrize(
    "v1, v2, expected",
    [(None, None, ["v1", "v2"]), (MISSING, None, ["v2"]), (None, MISSING, ["v1"])],
    ids=["both", "v2 only", "v1 only"],
)
async def test_a_generation_that_answers_exists(
    clock: ManualClock, v1: CloudError | None, v2: CloudError | None, expected: list[str]
) -> None:
    """A generation is absent when the cloud answers that there is no such call."""
    assert apis(await probed(Cloud(v1=v1, v2=v2), clock).current()) == expected


async def test_a_probe_is_one_small_call_each(clock: ManualClock) -> None:
    """It requests one job of the default workspace, which exists everywhere."""
    cloud = Cloud()

    await probed(cloud, clock).current()

    (v1_name, query), (v2_name, body) = cloud.calls
    assert (v1_name, query) == ("v1_list_jobs", {"workspace_id": "0", "per_page": "1", "page": "1"})
    assert v2_name == "v2_search_jobs"
    assert isinstance(body, dict)
    assert (body["offset"], body["limit"], body["workspace_id"]) == (0, 1, "0")


async def test_the_result_is_used_for_an_hour(clock: ManualClock) -> None:
    """The probe is repeated hourly; the sources stay the same objects, so that their ledgers are kept."""
    cloud = Cloud(v2=MISSING)
    sources = probed(cloud, clock)
    first = await sources.current()
    clock.turn(PROBE_S - 1)
    same = await sources.current()
    cloud.v2 = None
    clock.turn(1)
    later = await sources.current()

    assert same[0] is first[0] is later[0]
    assert apis(later) == ["v1", "v2"]
    assert len(cloud.calls) == 4


async def test_a_removed_generation_is_dropped(clock: ManualClock) -> None:
    """It is missing twice, a minute apart; one that comes back is the same object."""
    cloud = Cloud()
    sources = probed(cloud, clock)
    first = await sources.current()
    cloud.v1 = MISSING
    clock.turn(PROBE_S)
    assert await sources.current() == first
    clock.turn(RECHECK_S)
    without = await sources.current()
    cloud.v1 = None
    clock.turn(PROBE_S)

    assert apis(without) == ["v2"]
    assert [one is other for one, other in zip(await sources.current(), first, strict=True)] == [True, True]


async def test_a_generation_missing_once_is_kept(clock: ManualClock) -> None:
    """After one 404 a generation is still polled, so that failures are visible; the next success resets it."""
    cloud = Cloud()
    sources = probed(cloud, clock)
    await sources.current()
    cloud.v2 = MISSING
    clock.turn(PROBE_S)
    during = await sources.current()
    cloud.v2 = None
    clock.turn(RECHECK_S)
    after = await sources.current()
    cloud.v2 = MISSING
    clock.turn(PROBE_S)  # missing again an hour later: this counts as the first time

    assert apis(during) == apis(after) == apis(await sources.current()) == ["v1", "v2"]


async def test_no_answer_does_not_reset_a_missing_generation(clock: ManualClock) -> None:
    """404, then no response, then 404 again: it was missing twice, and no response proved the opposite."""
    cloud = Cloud()
    sources = probed(cloud, clock)
    await sources.current()
    found = []
    for answer, wait_s in (
        (MISSING, PROBE_S),
        (Unreachable("probe", "no response"), RECHECK_S),
        (MISSING, RECHECK_S),
    ):
        cloud.v2 = answer
        clock.turn(wait_s)
        found.append(apis(await sources.current()))

    assert found == [["v1", "v2"], ["v1", "v2"], ["v1"]]


SILENCE = [
    Denied("probe", "no", status=401),
    Denied("probe", "no", status=403),
    Throttled("probe", "slow down", status=429),
    ServerError("probe", "down", status=502),
    Unreachable("probe", "no response"),
    CircuitOpen("probe", "not sent"),
    InvalidResponse("probe", "html", status=200),
]


@pytest.mark.parametrize(
    "error", SILENCE, ids=["401", "403", "429", "502", "unreachable", "circuit_open", "invalid_response"]
)
async def test_other_failures_prove_no_absence(clock: ManualClock, error: CloudError) -> None:
    """Any failure but "no such call" leaves the last result, and the probe is repeated after a minute."""
    cloud = Cloud(v1=MISSING)
    sources = probed(cloud, clock)
    before = await sources.current()
    cloud.v1, cloud.v2 = error, error
    clock.turn(PROBE_S)

    during = await sources.current()
    cloud.calls.clear()
    clock.turn(RECHECK_S)
    cloud.v1 = None
    after = await sources.current()

    assert during == before
    assert apis(after) == ["v1", "v2"]
    assert len(cloud.calls) == 2


@pytest.mark.parametrize("error", SILENCE[:4], ids=["401", "403", "429", "502"])
async def test_a_generation_that_never_answered_is_included(clock: ManualClock, error: CloudError) -> None:
    """If the other one responds, its jobs may be missing, and failed polls show it."""
    assert apis(await probed(Cloud(v1=error), clock).current()) == ["v1", "v2"]


async def test_without_any_answer_the_failure_is_raised(clock: ManualClock) -> None:
    """The failure is raised, and the next poll probes again."""
    cloud = Cloud(v1=Unreachable("v1_list_jobs", "no response"), v2=Unreachable("v2_search_jobs", "no response"))
    sources = probed(cloud, clock)

    with pytest.raises(Unreachable):
        await sources.current()
    cloud.v1 = cloud.v2 = None
    assert apis(await sources.current()) == ["v1", "v2"]


@pytest.mark.parametrize(
    "error", [Refused("probe", "no", status=400), Gone("probe", "no job", status=400)], ids=["refused", "gone"]
)
async def test_a_call_that_refuses_exists(clock: ManualClock, error: CloudError) -> None:
    """Only 404, 410 and APIG.0101 mean that there is no such call."""
    assert apis(await probed(Cloud(v1=error, v2=MISSING), clock).current()) == ["v1"]


async def test_no_generation_at_all_is_a_clear_error(clock: ManualClock) -> None:
    """A wrong endpoint must not look like a project without jobs."""
    sources = probed(Cloud(v1=MISSING, v2=MISSING), clock)

    with pytest.raises(Unsupported, match="neither the v1 nor the v2 training API exists at this endpoint"):
        await sources.current()
