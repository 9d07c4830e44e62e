"""The soak run: simulated time passes, jobs change, faults occur, and the exporter restarts."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from exporter.simulator import FAULTS
from tests.clock import ManualClock
from tests.soak.exporter_run import ExporterRun, collect_garbage, exporter_run, settings
from tests.soak.resources import Resources, files, measure
from tests.soak.simulator_process import SimulatorProcess, Totals, simulator_process
from tests.soak.simulator_server import HOUR_S, Churn

DAY_S = 86_400.0

_OPERATIONS = ("v?.*", "v1.*", "v2.*", "v2.search", "v2.detail", "*")
_KILLS = 3
"""One restart in three is a kill during a poll, whose work is lost. The others happen between two polls."""


@dataclass(frozen=True, kw_only=True)
class SoakOptions:
    """Options of a run. The defaults are the week of `make soak`."""

    duration_s: float = 7 * DAY_S
    poll_s: float = 300.0
    """Interval of the polls. Longer than the default of the settings, with the same number of events."""
    usage_s: float = 3_600.0
    fault_probability: float = 0.25
    """Probability that a fault starts within an hour. It lasts for one to six polls."""
    restart_s: float = 6 * HOUR_S
    """Mean time between two restarts."""
    seed: int = 1
    churn: Churn = field(default_factory=Churn)


@dataclass(kw_only=True)
class Report:
    """Result of a run."""

    days: dict[int, list[Resources]] = field(default_factory=dict)
    """One measurement an hour, by day from 1."""
    polls: int = 0
    polls_failed: int = 0
    restarts: int = 0
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    files_left: int = 0
    """Files and sockets open after the last exporter, without those open before the first one."""
    tasks_left: int = 0
    loop_errors: list[str] = field(default_factory=list)
    """Errors reported by the event loop: unhandled exceptions of tasks, destroyed pending tasks."""
    decreased: list[str] = field(default_factory=list)
    """Counters that decreased between two scrapes."""
    counted: Totals = field(default_factory=Totals)
    true: Totals = field(default_factory=Totals)

    @property
    def exact(self) -> bool:
        """Whether every total equals the ground truth."""
        return not self.counted.differences(self.true)


class Soak:
    """One run. `log` receives one line for each simulated hour."""

    def __init__(self, options: SoakOptions, *, folder: Path, log: Callable[[str], None]) -> None:
        self._options = options
        self._state = folder / "state.json"
        self._log = log
        self._random = random.Random(options.seed)
        self._clock = ManualClock(options.churn.begins_at)
        self._faults_end_at = 0.0
        self._last = Totals()
        self.report = Report()

    async def run(self) -> Report:
        """Run to the end. Returns the report."""
        asyncio.get_running_loop().set_exception_handler(self._record_error)
        async with simulator_process(self._options.churn) as cloud:
            await self._advance(cloud, HOUR_S)  # so that there are jobs at the first poll
            seeded = await self._seed(cloud)
            collect_garbage()
            files_before, tasks_before = files(), len(asyncio.all_tasks())
            end_s = self._clock.monotonic() + self._options.duration_s
            while self._clock.monotonic() < end_s:
                await self._run_exporter(cloud, end_s=end_s)
                collect_garbage()
            await cloud.clear_faults()
            await self._finish(cloud)
            self.report.files_left = files() - files_before
            self.report.tasks_left = len(asyncio.all_tasks()) - tasks_before
            self.report.true = (await cloud.ground_truth()).since(seeded)
        return self.report

    async def _seed(self, cloud: SimulatorProcess) -> Totals:
        async with exporter_run(settings(cloud.url, state=self._state), clock=self._clock) as exporter:
            await exporter.poll(usage=False)
            assert exporter.up
        return await cloud.ground_truth()

    async def _run_exporter(self, cloud: SimulatorProcess, *, end_s: float) -> None:
        """Run one exporter until its restart. No reference to it remains, so that it can be collected."""
        options = self._options
        lifetime_s = self._random.expovariate(1 / options.restart_s)
        ends_s = min(end_s, self._clock.monotonic() + max(options.poll_s, lifetime_s))
        async with (
            exporter_run(settings(cloud.url, state=self._state), clock=self._clock) as exporter,
            aiohttp.ClientSession(auto_decompress=True) as session,
        ):
            while self._clock.monotonic() < ends_s:
                await self._advance(cloud, options.poll_s)
                await self._change_faults(cloud)
                await exporter.poll(usage=self._is_due(options.usage_s))
                self.report.polls += 1
                self.report.polls_failed += not exporter.up
                self._compare(await exporter.scrape(session))
                if self._is_due(HOUR_S):
                    self._measure()
            await self._stop(exporter, cloud)

    async def _stop(self, exporter: ExporterRun, cloud: SimulatorProcess) -> None:
        self.report.restarts += 1
        if self._random.randrange(_KILLS):
            return
        self.report.kills += 1
        await self._advance(cloud, self._options.poll_s)
        poll = asyncio.create_task(exporter.poll(usage=True))
        await asyncio.sleep(self._random.uniform(0.0, 0.2))
        poll.cancel()
        with suppress(asyncio.CancelledError):
            await poll

    async def _finish(self, cloud: SimulatorProcess) -> None:
        """Poll until the last job has ended, and some times more, since the calls of one poll are bounded."""
        async with exporter_run(settings(cloud.url, state=self._state), clock=self._clock) as exporter:
            polls = 13  # v1 withholds accelerator seconds until it knows the user, for at most ten polls
            while polls:
                polls -= await cloud.stop_arrivals() == 0
                await self._advance(cloud, self._options.poll_s)
                await exporter.poll(usage=False)
            async with aiohttp.ClientSession() as session:
                self.report.counted = await exporter.scrape(session)
                self._compare(self.report.counted)

    async def _advance(self, cloud: SimulatorProcess, seconds: float) -> None:
        self._clock.turn(seconds)
        await cloud.advance(seconds)

    async def _change_faults(self, cloud: SimulatorProcess) -> None:
        """Start or end a fault at random."""
        options, rng = self._options, self._random
        if self._clock.monotonic() >= self._faults_end_at:
            await cloud.clear_faults()
        if rng.random() < options.fault_probability * options.poll_s / HOUR_S:
            name = rng.choice(sorted(FAULTS))
            how = rng.choice(("probability=1.0", "probability=0.3", "count=1", "count=5", "after=3"))
            size = ",size_mb=64" if name == "huge" else ""
            await cloud.add_fault(f"{name}:operation={rng.choice(_OPERATIONS)},{how}{size}")
            self._faults_end_at = self._clock.monotonic() + options.poll_s * rng.randint(1, 6)
            self.report.faults[name] += 1

    def _is_due(self, every_s: float) -> bool:
        return self._clock.monotonic() % every_s < self._options.poll_s

    def _measure(self) -> None:
        hours = self._clock.monotonic() / HOUR_S
        day = int((hours - 1) // 24) + 1
        now = measure()
        self.report.days.setdefault(day, []).append(now)
        self._log(
            f"day {day} {hours:6.1f} h: {now}, {self.report.polls_failed} of {self.report.polls} polls failed,"
            f" {self.report.restarts} restarts"
        )

    def _compare(self, now: Totals) -> None:
        for name, before in self._last.totals.items():
            after = now.totals[name]
            self.report.decreased += [
                f"{name} {key}: {number} -> {after.get(key, 0)}"
                for key, number in before.items()
                if after.get(key, 0) < number
            ]
        self._last = now

    def _record_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.report.loop_errors.append(str(context.get("exception") or context["message"]))
