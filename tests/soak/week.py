"""The run itself: time passes, jobs come and go, things break, the exporter dies and lives again."""

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
from tests.soak.cloud import HOUR_S, Churn
from tests.soak.life import Life, bury, life, settings
from tests.soak.measure import Held, files, held
from tests.soak.remote import Books, Remote, remote

DAY_S = 86_400.0

_AIMS = ("v?.*", "v1.*", "v2.*", "v2.search", "v2.detail", "*")
_KILLS = 3
"""One restart in so many is a kill in the middle of a poll, whose work is lost; the others come between two polls."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a run is like. The defaults are the week of `make soak`."""

    duration_s: float = 7 * DAY_S
    poll_s: float = 300.0
    """Between two polls. The default of the settings is 30 s; what grows with events grows all the same."""
    usage_s: float = 3_600.0
    fault_probability: float = 0.25
    """That a fault begins in an hour; it lasts for one to six polls."""
    restart_s: float = 6 * HOUR_S
    """Mean time between two restarts."""
    seed: int = 1
    churn: Churn = field(default_factory=Churn)


@dataclass(kw_only=True)
class Report:
    """What came of it."""

    days: dict[int, list[Held]] = field(default_factory=dict)
    """One reading an hour, by day from 1."""
    polls: int = 0
    polls_failed: int = 0
    restarts: int = 0
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    files_left: int = 0
    """Files and sockets that are open after the last life and were not before the first."""
    tasks_left: int = 0
    complaints: list[str] = field(default_factory=list)
    """What the event loop had to complain about: errors in nobody's task, tasks that were destroyed."""
    backward: list[str] = field(default_factory=list)
    """Counters that went back from one scrape to the next."""
    counted: Books = field(default_factory=Books)
    true: Books = field(default_factory=Books)

    @property
    def exact(self) -> bool:
        """Whether every total is the cloud's own."""
        return not self.counted.differences(self.true)


class Week:
    """One run. `tell` hears a line an hour of simulated time."""

    def __init__(self, course: Course, *, folder: Path, tell: Callable[[str], None]) -> None:
        self._course = course
        self._state = folder / "state.json"
        self._tell = tell
        self._dice = random.Random(course.seed)
        self._clock = ManualClock(course.churn.begins_at)
        self._calm_at = 0.0
        self._last = Books()
        self.report = Report()

    async def run(self) -> Report:
        """Go through all of it."""
        asyncio.get_running_loop().set_exception_handler(self._complain)
        async with remote(self._course.churn) as cloud:
            await self._pass(cloud, HOUR_S)  # so that there are jobs already when the exporter first looks
            seeded = await self._seed(cloud)
            bury()
            files_before, tasks_before = files(), len(asyncio.all_tasks())
            end_s = self._clock.monotonic() + self._course.duration_s
            while self._clock.monotonic() < end_s:
                await self._live(cloud, end_s=end_s)
                bury()
            await cloud.calm()
            await self._finish(cloud)
            self.report.files_left = files() - files_before
            self.report.tasks_left = len(asyncio.all_tasks()) - tasks_before
            self.report.true = (await cloud.books()).since(seeded)
        return self.report

    async def _seed(self, cloud: Remote) -> Books:
        async with life(settings(cloud.url, state=self._state), clock=self._clock) as exporter:
            await exporter.poll(usage=False)
            assert exporter.up
        return await cloud.books()

    async def _live(self, cloud: Remote, *, end_s: float) -> None:
        """Live one life: poll until it ends. Nobody refers to it afterwards, so that it can be buried."""
        course = self._course
        lives_s = self._dice.expovariate(1 / course.restart_s)
        dies_s = min(end_s, self._clock.monotonic() + max(course.poll_s, lives_s))
        async with (
            life(settings(cloud.url, state=self._state), clock=self._clock) as exporter,
            aiohttp.ClientSession(auto_decompress=True) as session,
        ):
            while self._clock.monotonic() < dies_s:
                await self._pass(cloud, course.poll_s)
                await self._break(cloud)
                await exporter.poll(usage=self._is_due(course.usage_s))
                self.report.polls += 1
                self.report.polls_failed += not exporter.up
                self._compare(await exporter.scrape(session))
                if self._is_due(HOUR_S):
                    self._measure()
            await self._die(exporter, cloud)

    async def _die(self, exporter: Life, cloud: Remote) -> None:
        self.report.restarts += 1
        if self._dice.randrange(_KILLS):
            return
        self.report.kills += 1
        await self._pass(cloud, self._course.poll_s)
        poll = asyncio.create_task(exporter.poll(usage=True))
        await asyncio.sleep(self._dice.uniform(0.0, 0.2))
        poll.cancel()
        with suppress(asyncio.CancelledError):
            await poll

    async def _finish(self, cloud: Remote) -> None:
        """See the last job end; what one look may cost is bounded, so there are some more looks after that."""
        async with life(settings(cloud.url, state=self._state), clock=self._clock) as exporter:
            looks = 13  # seconds of v1 wait for the user's name, for ten looks at most
            while looks:
                looks -= await cloud.ebb() == 0
                await self._pass(cloud, self._course.poll_s)
                await exporter.poll(usage=False)
            async with aiohttp.ClientSession() as session:
                self.report.counted = await exporter.scrape(session)
                self._compare(self.report.counted)

    async def _pass(self, cloud: Remote, seconds: float) -> None:
        self._clock.turn(seconds)
        await cloud.turn(seconds)

    async def _break(self, cloud: Remote) -> None:
        """Let a fault begin or end."""
        course, dice = self._course, self._dice
        if self._clock.monotonic() >= self._calm_at:
            await cloud.calm()
        if dice.random() < course.fault_probability * course.poll_s / HOUR_S:
            name = dice.choice(sorted(FAULTS))
            how = dice.choice(("probability=1.0", "probability=0.3", "count=1", "count=5", "after=3"))
            size = ",size_mb=64" if name == "huge" else ""
            await cloud.strike(f"{name}:operation={dice.choice(_AIMS)},{how}{size}")
            self._calm_at = self._clock.monotonic() + course.poll_s * dice.randint(1, 6)
            self.report.faults[name] += 1

    def _is_due(self, every_s: float) -> bool:
        return self._clock.monotonic() % every_s < self._course.poll_s

    def _measure(self) -> None:
        hours = self._clock.monotonic() / HOUR_S
        day = int((hours - 1) // 24) + 1
        now = held()
        self.report.days.setdefault(day, []).append(now)
        self._tell(
            f"day {day} {hours:6.1f} h: {now}, {self.report.polls_failed} of {self.report.polls} polls failed,"
            f" {self.report.restarts} restarts"
        )

    def _compare(self, now: Books) -> None:
        for name, before in self._last.totals.items():
            after = now.totals[name]
            self.report.backward += [
                f"{name} {key}: {number} -> {after.get(key, 0)}"
                for key, number in before.items()
                if after.get(key, 0) < number
            ]
        self._last = now

    def _complain(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.report.complaints.append(str(context.get("exception") or context["message"]))
