"""The soak of a simulated week, shortened to two hours."""

import asyncio
import gc
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from exporter.metrics.exposition.exposition import Exposition
from exporter.polling.poller import ProjectPoller
from exporter.simulator import Options, Simulator
from tests.clock import ManualClock
from tests.soak.exporter_run import collect_garbage, exporter_run, settings
from tests.soak.run import Soak, SoakOptions
from tests.soak.simulator_server import HOUR_S, Churn


@pytest.mark.endurance
async def test_two_hours_of_churn_faults_and_restarts(tmp_path: Path) -> None:
    """Totals equal the ground truth, no counter decreases, no file, socket or task is left, no error is unhandled."""
    options = SoakOptions(
        duration_s=2 * HOUR_S,
        usage_s=HOUR_S,
        fault_probability=0.9,
        restart_s=HOUR_S / 2,
        seed=3,
        churn=Churn(jobs_a_day=6_000, pace=20, seed=3),
    )
    report = await Soak(options, folder=tmp_path, log=lambda _: None).run()

    assert report.counted.differences(report.true) == []
    assert report.decreased == []
    assert report.loop_errors == []
    assert (report.files_left, report.tasks_left) == (0, 0)
    assert sum(report.true.totals["finished"].values()) > 400  # 2 hours of 250 an hour
    assert report.restarts >= 3
    assert report.kills >= 1
    assert sum(report.faults.values()) >= 1


async def test_a_stopped_exporter_leaves_nothing_in_memory(tmp_path: Path) -> None:
    """A poll cancelled while a thread renders leaves no thread, no exporter and no exposition in memory."""
    collect_garbage()
    before, threads = _exporters_in_memory(), threading.active_count()
    clock = ManualClock()
    gc.disable()
    try:
        async with Simulator(Options(jobs=50, history=50, arrivals=0), clock=clock) as cloud:
            await _cancel_a_poll(cloud.url, tmp_path / "state.json", clock=clock)
            assert threading.active_count() == threads
            collect_garbage()
            assert _exporters_in_memory() == before
    finally:
        gc.enable()


async def _cancel_a_poll(url: str, state: Path, *, clock: ManualClock) -> None:
    async with exporter_run(settings(url, state=state), clock=clock) as exporter:
        await exporter.poll(usage=True)
        assert exporter.up
        written = _version(state)
        poll = asyncio.create_task(exporter.poll(usage=False))
        while _version(state) == written:  # noqa: ASYNC110 - a thread writes it without an event
            await asyncio.sleep(0)
        assert poll.cancel()
        with suppress(asyncio.CancelledError):
            await poll


def _version(file: Path) -> int:
    return file.stat().st_ino


def _exporters_in_memory() -> int:
    return sum(type(found) in (ProjectPoller, Exposition) for found in gc.get_objects())
