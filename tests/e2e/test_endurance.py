"""Two hours of the soak, with the same code: what a week proves has to hold for an afternoon in every run."""

import asyncio
import gc
import threading
from contextlib import suppress
from pathlib import Path

from exporter.metrics.exposition.exposition import Exposition
from exporter.polling.poller import ProjectPoller
from exporter.simulator import Options, Simulator
from tests.clock import ManualClock
from tests.soak.cloud import HOUR_S, Churn
from tests.soak.life import bury, life, settings
from tests.soak.week import Course, Week


async def test_two_hours_of_churn_faults_and_restarts(tmp_path: Path) -> None:
    """Totals are the cloud's own, no counter goes back, no file, socket or task is left, nothing went unawaited."""
    course = Course(
        duration_s=2 * HOUR_S,
        usage_s=HOUR_S,
        fault_probability=0.9,
        restart_s=HOUR_S / 2,
        seed=3,
        churn=Churn(jobs_a_day=6_000, pace=20, seed=3),
    )
    report = await Week(course, folder=tmp_path, tell=lambda _: None).run()

    assert report.counted.differences(report.true) == []
    assert report.backward == []
    assert report.complaints == []
    assert (report.files_left, report.tasks_left) == (0, 0)
    assert sum(report.true.totals["finished"].values()) > 400  # 2 hours of 250 an hour
    assert report.restarts >= 3
    assert report.kills >= 1
    assert sum(report.faults.values()) >= 1


async def test_a_life_that_is_over_is_gone_before_the_next_begins(tmp_path: Path) -> None:
    """A poll that is killed while a thread renders it leaves no thread, no exporter and nothing that it served."""
    bury()
    left, threads = _left(), threading.active_count()
    clock = ManualClock()
    gc.disable()
    try:
        async with Simulator(Options(jobs=50, history=50, arrivals=0), clock=clock) as cloud:
            await _killed(cloud.url, tmp_path / "state.json", clock=clock)
            assert threading.active_count() == threads
            bury()
            assert _left() == left
    finally:
        gc.enable()


async def _killed(url: str, state: Path, *, clock: ManualClock) -> None:
    async with life(settings(url, state=state), clock=clock) as exporter:
        await exporter.poll(usage=True)
        assert exporter.up
        written = _version(state)
        poll = asyncio.create_task(exporter.poll(usage=False))
        while _version(state) == written:  # noqa: ASYNC110 - what a thread writes before it renders, and tells nobody
            await asyncio.sleep(0)
        assert poll.cancel()
        with suppress(asyncio.CancelledError):
            await poll


def _version(file: Path) -> int:
    return file.stat().st_ino


def _left() -> int:
    return sum(type(found) in (ProjectPoller, Exposition) for found in gc.get_objects())
