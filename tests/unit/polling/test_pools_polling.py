"""Polling pools: the snapshot after good polls, failures and refusals; jobs are not affected."""

import asyncio
from dataclasses import dataclass, field

import pytest

from exporter.domain.pool import Pool, PoolPollResult, Quota
from exporter.domain.snapshot import CollectorState, ProjectSnapshot
from exporter.domain.source import Clock, SourceError
from exporter.polling.call_count import count_call
from exporter.polling.poller import PollReport, PollSettings, ProjectPoller
from exporter.polling.switch import REFUSED_TTL_S
from exporter.polling.visibility import Visibility
from tests.clock import ManualClock
from tests.polling import FakeSources, default_poll_settings

SETTINGS = default_poll_settings()
DENIED = SourceError("v2_list_pools: HTTP 403")


def a_pool(pool_id: str = "a", **fields: str) -> Pool:
    return Pool(project="vision", pool_id=pool_id, **fields)  # type: ignore[arg-type]  # text fields only


@dataclass
class FakePools:
    """A pool source with results set by the test."""

    clock: Clock
    pools: dict[str, Pool] | None = field(default_factory=lambda: {"a": a_pool()})
    quotas: dict[str, Quota] = field(default_factory=lambda: {"pool": Quota(limit=15, used=1)})
    failures: tuple[SourceError, ...] = ()
    refused: SourceError | None = None
    error: Exception | None = None
    answer: asyncio.Event | None = None
    """When set, a poll waits for it."""
    polls: int = 0
    answer_by: float = 0.0

    async def poll(self, *, answer_by: float) -> PoolPollResult:
        self.polls += 1
        self.answer_by = answer_by
        count_call()
        if self.answer is not None:
            await self.answer.wait()
        if self.error is not None:
            raise self.error
        if self.refused is not None:
            return PoolPollResult(refused=self.refused)
        return PoolPollResult(
            pools=self.pools, listed_at=self.clock.monotonic(), quotas=self.quotas, failures=self.failures
        )


class Bench:
    """A poller over fake pools."""

    def __init__(self, clock: ManualClock, pools: FakePools | None, *, settings: PollSettings = SETTINGS) -> None:
        self.clock = clock
        self.published: list[ProjectSnapshot] = []
        self.reports: list[PollReport] = []
        self.poller = ProjectPoller(
            initial_snapshot=ProjectSnapshot(project="vision"),
            sources=FakeSources(),
            settings=settings,
            visibility=Visibility(),
            clock=clock,
            on_change=self.published.append,
            on_poll=self.reports.append,
            pools=pools,
        )

    @property
    def newest(self) -> ProjectSnapshot:
        return self.published[-1]

    def shown(self) -> set[str] | None:
        """Ids of the published pools; None when they are withdrawn."""
        return None if self.newest.pools is None else set(self.newest.pools)

    def collector(self) -> CollectorState:
        return next(state for state in self.newest.collectors if state.name == "pools")


@pytest.fixture
def pools(clock: ManualClock) -> FakePools:
    return FakePools(clock)


@pytest.fixture
async def bench(clock: ManualClock, pools: FakePools) -> Bench:
    bench = Bench(clock, pools)
    await bench.poller.poll_jobs()
    return bench


async def test_a_good_poll_is_published_and_reported(bench: Bench, pools: FakePools) -> None:
    """Pools and quotas are there, the collector is up, the report has the cost, and the source has a deadline."""
    await bench.poller.poll_pools()

    assert bench.shown() == {"a"}
    assert bench.newest.quotas == {"pool": Quota(limit=15, used=1)}
    assert (bench.collector().ok, bench.collector().enabled) == (True, True)
    assert (bench.reports[-1].collector, bench.reports[-1].ok, bench.reports[-1].calls) == ("pools", True, 1)
    assert pools.answer_by == bench.clock.monotonic() + 24  # 0.8 of the deadline of 30 s


async def test_the_first_pools_poll_waits_for_the_first_jobs_poll(clock: ManualClock, pools: FakePools) -> None:
    """A pools poll waits until the first jobs poll has ended."""
    bench = Bench(clock, pools)
    poll = asyncio.create_task(bench.poller.poll_pools())
    await asyncio.sleep(0)
    assert pools.polls == 0

    await bench.poller.poll_jobs()
    await poll
    assert pools.polls == 1


async def test_without_pools_there_is_no_collector(clock: ManualClock) -> None:
    """Without a pool source there is no collector for pools."""
    bench = Bench(clock, None)
    await bench.poller.poll_jobs()

    await bench.poller.poll_pools()

    assert [state.name for state in bench.newest.collectors] == ["jobs"]
    assert bench.newest.pools is None


async def test_a_part_that_failed_affects_only_itself(bench: Bench, pools: FakePools) -> None:
    """The rest is shown, and the collector is not up."""
    pools.failures = (SourceError("v2_get_pool_usage: HTTP 500"),)

    await bench.poller.poll_pools()

    assert bench.shown() == {"a"}
    assert (bench.collector().ok, bench.collector().enabled) == (False, True)
    assert bench.reports[-1].failures == pools.failures


async def test_no_pools_are_no_failure(bench: Bench, pools: FakePools) -> None:
    """A project without dedicated pools has an empty set of pools, not an unknown one."""
    pools.pools = {}

    await bench.poller.poll_pools()

    assert bench.shown() == set()
    assert bench.collector().ok


async def test_an_unchanged_pool_is_the_same_object(bench: Bench, pools: FakePools) -> None:
    """An unchanged pool is not rendered again."""
    pools.pools = {"a": a_pool("a"), "b": a_pool("b")}
    await bench.poller.poll_pools()
    before = bench.newest.pools
    pools.pools = {"a": a_pool("a"), "b": a_pool("b", name="renamed")}

    await bench.poller.poll_pools()

    assert before is not None
    assert bench.newest.pools is not None
    assert bench.newest.pools["a"] is before["a"]
    assert bench.newest.pools["b"].name == "renamed"


async def test_stale_pools_are_withdrawn_and_come_back(bench: Bench, pools: FakePools) -> None:
    """Without a listing for `stale_after` pools and quotas are withdrawn, and return with it."""
    await bench.poller.poll_pools()
    pools.error = SourceError("v2_list_pools: HTTP 500")
    bench.clock.turn(299)
    await bench.poller.poll_pools()
    assert bench.shown() == {"a"}

    bench.clock.turn(1)
    await bench.poller.poll_jobs()
    assert bench.shown() is None
    assert bench.newest.quotas == {}

    pools.error = None
    await bench.poller.poll_pools()
    assert bench.shown() == {"a"}
    assert bench.newest.quotas


async def test_a_listing_is_as_old_as_its_answer(bench: Bench, pools: FakePools) -> None:
    """Polls without a new listing do not keep an old one fresh."""
    await bench.poller.poll_pools()
    listed_at = bench.clock.monotonic()
    pools.failures = (SourceError("v2_list_pools: HTTP 500"),)

    async def poll(*, answer_by: float) -> PoolPollResult:
        del answer_by
        return PoolPollResult(pools=pools.pools, listed_at=listed_at, quotas=pools.quotas, failures=pools.failures)

    pools.poll = poll  # type: ignore[method-assign]  # the fake is this test's own
    bench.clock.turn(300)
    await bench.poller.poll_pools()

    assert bench.shown() is None
    assert bench.newest.quotas


async def test_a_poll_ends_at_its_timeout(clock: ManualClock, pools: FakePools) -> None:
    """A poll without a response is cancelled at the timeout and reported, never raised."""
    bench = Bench(clock, pools, settings=default_poll_settings(timeout_s=0.05))
    await bench.poller.poll_jobs()
    pools.answer = asyncio.Event()

    await bench.poller.poll_pools()

    assert not bench.collector().ok
    assert [error.outcome for error in bench.reports[-1].failures] == ["unreachable"]


async def test_refused_from_the_start_is_off(bench: Bench, pools: FakePools) -> None:
    """The collector is off at once, reported once an hour, and not polled in between; the project is up."""
    pools.refused = DENIED

    await bench.poller.poll_pools()

    assert not bench.collector().enabled
    assert bench.shown() is None
    assert bench.newest.up
    assert bench.reports[-1].failures == (DENIED,)
    bench.clock.turn(REFUSED_TTL_S - 1)
    await bench.poller.poll_pools()
    assert (pools.polls, len(bench.reports)) == (1, 2)  # the jobs poll's, and this one


async def test_a_refused_collector_tries_again_and_comes_back(bench: Bench, pools: FakePools) -> None:
    """After an hour it polls again: refused it stays off, answered it is on."""
    pools.refused = DENIED
    await bench.poller.poll_pools()
    bench.clock.turn(REFUSED_TTL_S)
    await bench.poller.poll_pools()
    assert (pools.polls, bench.collector().enabled) == (2, False)

    pools.refused = None
    bench.clock.turn(REFUSED_TTL_S)
    await bench.poller.poll_pools()

    assert (bench.collector().enabled, bench.collector().ok) == (True, True)
    assert bench.shown() == {"a"}


async def test_pools_that_were_there_must_be_refused_twice(bench: Bench, pools: FakePools) -> None:
    """The first refusal is a failure: it may be maintenance. The second turns pools off and withdraws them."""
    await bench.poller.poll_pools()
    pools.refused = DENIED
    bench.clock.turn(60)

    await bench.poller.poll_pools()
    assert (bench.collector().enabled, bench.collector().ok) == (True, False)
    assert bench.shown() == {"a"}

    bench.clock.turn(60)
    await bench.poller.poll_pools()
    assert not bench.collector().enabled
    assert bench.shown() is None
    assert bench.newest.quotas == {}


async def test_an_answer_between_two_refusals_resets_them(bench: Bench, pools: FakePools) -> None:
    """Only consecutive refusals turn the collector off."""
    await bench.poller.poll_pools()
    for refused in (DENIED, None, DENIED):
        pools.refused = refused
        bench.clock.turn(60)
        await bench.poller.poll_pools()

    assert bench.collector().enabled
    assert bench.shown() == {"a"}


async def test_a_failure_does_not_turn_it_on_again(bench: Bench, pools: FakePools) -> None:
    """A failure after the hour leaves the collector off, until a response or a refusal."""
    pools.refused = DENIED
    await bench.poller.poll_pools()
    pools.refused, pools.pools = None, None
    pools.failures = (SourceError("v2_list_pools: HTTP 500"),)
    bench.clock.turn(REFUSED_TTL_S)

    await bench.poller.poll_pools()
    assert not bench.collector().enabled

    pools.pools, pools.failures = {"a": a_pool()}, ()
    bench.clock.turn(60)
    await bench.poller.poll_pools()
    assert bench.collector().enabled


async def test_a_failed_pools_poll_does_not_affect_up(bench: Bench, pools: FakePools) -> None:
    """`up` is about the jobs poll alone."""
    pools.error = SourceError("v2_list_pools: HTTP 500")

    await bench.poller.poll_pools()

    assert bench.newest.up
    assert not bench.collector().ok


async def test_a_defect_is_a_failed_poll_and_is_raised_for_the_log(bench: Bench, pools: FakePools) -> None:
    """It is reported as failed, and raised for the schedule to log with its traceback."""
    pools.error = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        await bench.poller.poll_pools()

    assert not bench.collector().ok
    assert [error.outcome for error in bench.reports[-1].failures] == ["defect"]
