"""The schedule: first run at once, no overlap, defects reported, and an end that waits."""

import asyncio

import pytest

from exporter.polling.schedule import Schedule


class Log:
    """Errors that the schedule reported."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, Exception]] = []

    def __call__(self, name: str, error: Exception) -> None:
        self.errors.append((name, error))


@pytest.fixture
def log() -> Log:
    return Log()


async def test_the_first_run_comes_at_once(log: Log) -> None:
    """Work with an interval of an hour runs now, not in an hour."""
    ran = asyncio.Event()

    async def work() -> None:
        ran.set()

    async with Schedule(grace_s=1.0, on_error=log) as schedule:
        schedule.every(3600.0, work, name="work")
        await asyncio.wait_for(ran.wait(), 5)


async def test_a_defect_is_reported_and_the_next_run_takes_place(log: Log) -> None:
    """Work that raises is reported with its name, and runs again."""
    runs = 0
    again = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ValueError("a defect")
        again.set()

    async with Schedule(grace_s=1.0, on_error=log) as schedule:
        schedule.every(0.05, work, name="work")
        await asyncio.wait_for(again.wait(), 5)

    assert [(name, str(error)) for name, error in log.errors] == [("work", "a defect")]


async def test_a_run_that_overruns_never_overlaps(log: Log) -> None:
    """While work runs no second run of it starts, however many intervals pass."""
    running = most = runs = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal running, most, runs
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.12)  # longer than two intervals
        running -= 1
        runs += 1
        if runs == 2:
            enough.set()

    async with Schedule(grace_s=1.0, on_error=log) as schedule:
        schedule.every(0.05, work, name="work")
        await asyncio.wait_for(enough.wait(), 5)

    assert most == 1


async def test_leaving_waits_for_running_work(log: Log) -> None:
    """Running work may end within the grace period."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.sleep(0.05)
        ended.set()

    async with Schedule(grace_s=5.0, on_error=log) as schedule:
        schedule.every(3600.0, work, name="work")
        await started.wait()

    assert ended.is_set()
    assert log.errors == []


async def test_leaving_cancels_what_does_not_end(log: Log) -> None:
    """Work that exceeds the grace period is cancelled, and its clean-up has ended when the schedule is left."""
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    async with Schedule(grace_s=0.01, on_error=log) as schedule:
        schedule.every(3600.0, work, name="work")
        await started.wait()

    assert cleaned.is_set()


async def test_ended_work_is_not_run_again(log: Log) -> None:
    """After `end` no further run of that work starts; other work goes on."""
    runs = 0
    first, other = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        first.set()

    async def later() -> None:
        other.set()

    async with Schedule(grace_s=1.0, on_error=log) as schedule:
        schedule.every(0.05, work, name="work")
        await asyncio.wait_for(first.wait(), 5)
        await schedule.end("work")
        counted = runs
        schedule.every(0.05, later, name="later")
        await asyncio.wait_for(other.wait(), 5)

    assert runs == counted


async def test_ending_work_waits_for_its_run(log: Log) -> None:
    """When `end` returns, that work no longer runs, whether it ended or was cancelled."""
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async with Schedule(grace_s=0.01, on_error=log) as schedule:
        schedule.every(3600.0, work, name="work")
        await started.wait()
        await schedule.end("work")
        assert cleaned.is_set()


async def test_stopping_twice_is_harmless(log: Log) -> None:
    """A second stop finds nothing to do."""
    async with Schedule(grace_s=1.0, on_error=log) as schedule:
        await schedule.stop()


async def test_new_work_can_use_the_name_of_cancelled_work(log: Log) -> None:
    """The new work runs at once, and leaving waits for it as for any other."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        began.set()
        await asyncio.Event().wait()

    async def work() -> None:
        began.set()
        await asyncio.sleep(0.1)
        ended.set()

    async with Schedule(grace_s=0.01, on_error=log) as schedule:
        schedule.every(3600.0, hang, name="work")
        await asyncio.wait_for(began.wait(), 5)
        await schedule.end("work")
        began.clear()
        schedule._grace_s = 5.0
        schedule.every(3600.0, work, name="work")
        await asyncio.wait_for(began.wait(), 5)
    assert ended.is_set()
    assert log.errors == []


@pytest.mark.parametrize("turns", range(8))
async def test_nothing_starts_after_the_end(log: Log, turns: int) -> None:
    """In whichever iteration of the event loop work is ended, no run of it starts later."""
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1

    async with Schedule(grace_s=1.0, on_error=log) as schedule:
        schedule.every(3600.0, work, name="work")
        for _ in range(turns):
            await asyncio.sleep(0)
        await schedule.end("work")
        before = runs
        await asyncio.sleep(0.05)
        assert runs == before


async def test_stopping_waits_for_work_whose_end_was_cancelled(log: Log) -> None:
    """A cancelled call of `end` leaves work running: stopping waits for it."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        await asyncio.sleep(0.1)
        ended.set()

    async with Schedule(grace_s=5.0, on_error=log) as schedule:
        schedule.every(3600.0, work, name="work")
        await asyncio.wait_for(began.wait(), 5)
        ending = asyncio.create_task(schedule.end("work"))
        await asyncio.sleep(0)
        ending.cancel()
    assert ended.is_set()
