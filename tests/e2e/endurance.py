"""A real `serve` that can be watched, asked and killed, and a world whose jobs come and go while it is down."""

import asyncio
import json
import random
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from exporter.simulator import PROJECT_ID, Options, Simulator
from tests.e2e.harness import AKSK

STILL = Options(jobs=40, history=60, arrivals=0, speed=0.0, pace=2_000.0, v1_share=0.3)
"""A world that stands still until it is moved by hand, in which a job lives for some three seconds."""

_STEP_S = 0.01


def document(cloud: Simulator, *, state: Path | None = None, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for one project of the simulated cloud, to be written to a file; `sections` override keys."""
    return {
        "targets": [target(cloud, **sections.get("target", {}))],
        "collection": {
            "jobs_interval": "1s",
            "usage_interval": "1h",
            "timeout": "3s",
            "stale_after": "5s",
            **sections.get("collection", {}),
        },
        "metrics": dict(sections.get("metrics", {})),
        "state": {"file": str(state) if state else ""},
    }


def target(cloud: Simulator, **keys: Any) -> dict[str, Any]:
    """One target of the settings."""
    return {
        "project": "vision",
        "endpoint": cloud.url,
        "iam_endpoint": cloud.url,
        "project_id": PROJECT_ID,
        "api": "both",
        "credentials": dict(AKSK),
        "rate_limit": {"requests_per_second": 10_000, "burst": 10_000, "concurrency": 8},
        **keys,
    }


def write(path: Path, settings: Mapping[str, Any]) -> Path:
    """Write settings; JSON is YAML."""
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


class Living:
    """A running `serve`: what it said on stderr so far, and what it serves."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.url = ""
        self._heard = asyncio.Condition()
        self._listening = asyncio.create_task(self._listen())

    async def said(self, pattern: str, *, since: int = 0) -> re.Match[str]:
        """Wait until stderr has a line with this pattern, from line number `since` on."""
        async with asyncio.timeout(60), self._heard:
            while True:
                while since < len(self.lines):
                    if match := re.search(pattern, self.lines[since]):
                        return match
                    since += 1
                assert not self._listening.done(), f"it never said {pattern}: {''.join(self.lines)}"
                await self._heard.wait()

    async def showed(self, pattern: str, *, since: int = 0) -> None:
        """Wait for a line, and until what it tells of is served."""
        told = await self._told(pattern, since=since)
        taken = await self._told(r"snapshot\.taken", since=told)  # one being published already does not tell of it
        await self.said(r"snapshot\.published", since=taken)

    async def _told(self, pattern: str, *, since: int) -> int:
        """Wait for a line: its number."""
        match = await self.said(pattern, since=since)
        return next(number for number in range(since, len(self.lines)) if match.string is self.lines[number])

    def count(self, pattern: str) -> int:
        """How many lines have this pattern so far."""
        return sum(bool(re.search(pattern, line)) for line in self.lines)

    async def text(self) -> str:
        """What a scrape gets now."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/metrics") as answer:
            assert answer.status == 200
            return await answer.text()

    async def samples(self, name: str) -> dict[str, float]:
        """Samples of one name now, by their labels as they are written."""
        return {labels: value for (told, labels), value in parsed(await self.text()).items() if told == name}

    async def post(self, path: str) -> tuple[int, str]:
        """Send a POST: status and body."""
        async with aiohttp.ClientSession() as session, session.post(self.url + path) as answer:
            return answer.status, await answer.text()

    async def ended(self) -> int:
        """Wait for its end: the exit code."""
        async with asyncio.timeout(30):
            code = await self.process.wait()
            await self._listening
            return code

    async def kill(self) -> None:
        """`kill -9`, and wait until it is dead."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.ended()

    async def _listen(self) -> None:
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            async with self._heard:
                self.lines.append(line)
                self._heard.notify_all()
        async with self._heard:
            self._heard.notify_all()


@asynccontextmanager
async def living(config: Path, *more: str) -> AsyncIterator[Living]:
    """Start `serve` and wait until it listens; at the end it is killed, if need be."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "exporter",
        "serve",
        f"--config.file={config}",
        "--web.listen-address=127.0.0.1:0",
        "--log.level=debug",
        *more,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    exporter = Living(process)
    try:
        started = await exporter.said(r"exporter\.started.*?(127\.0\.0\.1:\d+)")
        exporter.url = f"http://{started[1]}"
        yield exporter
    finally:
        await exporter.kill()


_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def parsed(text: str) -> dict[tuple[str, str], float]:
    """Samples of an exposition by name and labels: fast, and enough for what we write ourselves."""
    return {(match[1], match[2] or ""): float(match[3]) for match in _SAMPLE.finditer(text)}


def label(labels: str, name: str) -> str:
    """Value of one label."""
    found = re.search(rf'(?:^|,){name}="([^"]*)"', labels)
    assert found is not None, labels
    return found[1]


@dataclass
class Watcher:
    """Scrapes all the time, whoever serves, and holds each counter of the cloud's jobs against its last value."""

    highest: dict[tuple[str, str], float] = field(default_factory=dict)
    scrapes: int = 0

    def take(self, text: str) -> None:
        """Take in one scrape. Fails when a counter has gone back."""
        self.scrapes += 1
        for key, value in parsed(text).items():
            if key[0].startswith("modelarts_training_") and key[0].endswith(("_total", "_count", "_sum")):
                before = self.highest.get(key, 0.0)
                assert value >= before, f"{key} went back from {before} to {value}"
                self.highest[key] = value

    async def watch(self, exporter: Living) -> None:
        """Scrape until the exporter is dead."""
        async with aiohttp.ClientSession() as session:
            while exporter.process.returncode is None:
                try:
                    async with session.get(f"{exporter.url}/metrics") as answer:
                        text = await answer.text()
                except aiohttp.ClientError:
                    return
                self.take(text)
                await asyncio.sleep(_STEP_S)


class Tide:
    """Moves a world that stands still otherwise: `per_s` jobs arrive each second and live as they are fated to.

    None is deleted: how a job ended that is gone before anybody looked cannot be known.
    """

    def __init__(self, cloud: Simulator, *, per_s: float, seed: int) -> None:
        self._cloud = cloud
        self._per_s = per_s
        self._dice = random.Random(seed)
        self._due_s = 0.0

    def advance(self, seconds: float) -> None:
        """Let time pass, in small steps, with arrivals."""
        world = self._cloud.world
        self._due_s -= seconds
        while self._due_s <= 0:
            job = world.submit_random(world.project(), self._dice)
            assert job.script is not None
            job.script = replace(job.script, delete_after_s=None)
            self._due_s += self._dice.expovariate(self._per_s)
        world.advance(seconds)

    async def flow(self) -> None:
        """Advance with the machine's clock, until cancelled."""
        loop = asyncio.get_running_loop()
        then = loop.time()
        while True:
            await asyncio.sleep(_STEP_S)
            now = loop.time()
            self.advance(now - then)
            then = now

    def ebb(self) -> None:
        """Nobody comes any more, and all that is there ends."""
        world = self._cloud.world
        while world.unfinished:
            world.advance(1.0)


@dataclass(frozen=True)
class Counted:
    """Totals by pool (and status), zeros left out: those of the books, or those that were scraped."""

    submitted: Mapping[str, float]
    started: Mapping[str, float]
    finished: Mapping[tuple[str, str], float]


def counted_by_the_cloud(cloud: Simulator) -> Counted:
    """What the books say now."""
    books = cloud.ground_truth
    return Counted(Counter(books.submitted), Counter(books.started), Counter(books.finished))


def since(now: Counted, then: Counted) -> Counted:
    """What has been added to the books."""
    return Counted(
        _gained(now.submitted, then.submitted),
        _gained(now.started, then.started),
        _gained(now.finished, then.finished),
    )


def counted_by_us(text: str) -> Counted:
    """What a scrape says."""
    submitted: dict[str, float] = {}
    started: dict[str, float] = {}
    finished: dict[tuple[str, str], float] = {}
    for (name, labels), value in parsed(text).items():
        if not value:
            continue
        match name:
            case "modelarts_training_jobs_submitted_total":
                submitted[label(labels, "pool_id")] = value
            case "modelarts_training_jobs_started_total":
                started[label(labels, "pool_id")] = value
            case "modelarts_training_jobs_finished_total":
                finished[label(labels, "pool_id"), label(labels, "status")] = value
    return Counted(submitted, started, finished)


def held_in(cloud: Simulator) -> Counter[tuple[str, str]]:
    """Accelerator seconds that the books say now, by pool and kind."""
    held: Counter[tuple[str, str]] = Counter()
    for (pool, _, accelerator), seconds in cloud.ground_truth.held_s.items():
        held[pool, accelerator] += seconds  # type: ignore[assignment] # a Counter of seconds
    return held


def held_by_us(text: str) -> Counter[tuple[str, str]]:
    """Accelerator seconds that a scrape says, likewise."""
    held: Counter[tuple[str, str]] = Counter()
    for (name, labels), seconds in parsed(text).items():
        if name == "modelarts_training_accelerator_seconds_total":
            held[label(labels, "pool_id"), label(labels, "accelerator")] += seconds  # type: ignore[assignment] # same
    return held


def _gained(now: Mapping[Any, float], then: Mapping[Any, float]) -> dict[Any, float]:
    return {key: value - then.get(key, 0) for key, value in now.items() if value != then.get(key, 0)}
