"""A real `serve` process to scrape and to kill, and a driver of a world whose jobs change while it is down."""

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

STATIC_WORLD = Options(jobs=40, history=60, arrivals=0, speed=0.0, pace=2_000.0, v1_share=0.3)
"""A world that changes only through a WorldDriver. A job lives for about three seconds."""

_STEP_S = 0.01


def document(cloud: Simulator, *, state: Path | None = None, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """Settings document for one project of the simulated cloud. `sections` override keys."""
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
    """One target of the settings document."""
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
    """Write a settings document. JSON is valid YAML."""
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


class ServeProcess:
    """A running `serve` process: its log on stderr so far, and its HTTP server."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.url = ""
        self._received = asyncio.Condition()
        self._reading = asyncio.create_task(self._read_log())

    async def wait_for_log(self, pattern: str, *, since: int = 0) -> re.Match[str]:
        """Wait for a log line with this pattern, from line number `since` on."""
        async with asyncio.timeout(60), self._received:
            while True:
                while since < len(self.lines):
                    if match := re.search(pattern, self.lines[since]):
                        return match
                    since += 1
                assert not self._reading.done(), f"the log has no line with {pattern}: {''.join(self.lines)}"
                await self._received.wait()

    async def wait_until_served(self, pattern: str, *, since: int = 0) -> None:
        """Wait for a log line, then until a snapshot taken after it is published."""
        line = await self._wait_for_line(pattern, since=since)
        # A snapshot that is being published already may be older than the line.
        taken = await self._wait_for_line(r"snapshot\.taken", since=line)
        await self.wait_for_log(r"snapshot\.published", since=taken)

    async def _wait_for_line(self, pattern: str, *, since: int) -> int:
        """Wait for a log line. Returns its number."""
        match = await self.wait_for_log(pattern, since=since)
        return next(number for number in range(since, len(self.lines)) if match.string is self.lines[number])

    def count(self, pattern: str) -> int:
        """Number of log lines with this pattern so far."""
        return sum(bool(re.search(pattern, line)) for line in self.lines)

    async def text(self) -> str:
        """Exposition that a scrape returns now."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/metrics") as answer:
            assert answer.status == 200
            return await answer.text()

    async def samples(self, name: str) -> dict[str, float]:
        """Current samples of one name by their label text."""
        return {labels: value for (key, labels), value in parse_samples(await self.text()).items() if key == name}

    async def post(self, path: str) -> tuple[int, str]:
        """Send a POST: status and body."""
        async with aiohttp.ClientSession() as session, session.post(self.url + path) as answer:
            return answer.status, await answer.text()

    async def wait_for_exit(self) -> int:
        """Wait until it exits. Returns the exit code."""
        async with asyncio.timeout(30):
            code = await self.process.wait()
            await self._reading
            return code

    async def kill(self) -> None:
        """Send SIGKILL and wait until it exits."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.wait_for_exit()

    async def _read_log(self) -> None:
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            async with self._received:
                self.lines.append(line)
                self._received.notify_all()
        async with self._received:
            self._received.notify_all()


@asynccontextmanager
async def serve_process(config: Path, *more: str) -> AsyncIterator[ServeProcess]:
    """Start `serve` and wait until it listens. Leaving the context kills it if it still runs."""
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
    exporter = ServeProcess(process)
    try:
        started = await exporter.wait_for_log(r"exporter\.started.*?(127\.0\.0\.1:\d+)")
        exporter.url = f"http://{started[1]}"
        yield exporter
    finally:
        await exporter.kill()


_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def parse_samples(text: str) -> dict[tuple[str, str], float]:
    """Samples of our own exposition by name and label text. Much faster than a full parser."""
    return {(match[1], match[2] or ""): float(match[3]) for match in _SAMPLE.finditer(text)}


def label_value(labels: str, name: str) -> str:
    """Value of one label."""
    found = re.search(rf'(?:^|,){name}="([^"]*)"', labels)
    assert found is not None, labels
    return found[1]


@dataclass
class CounterMonitor:
    """Scrapes continuously and checks that no counter of jobs decreases, across restarts too."""

    highest: dict[tuple[str, str], float] = field(default_factory=dict)
    scrapes: int = 0

    def check(self, text: str) -> None:
        """Check one scrape. Fails when a counter has decreased."""
        self.scrapes += 1
        for key, value in parse_samples(text).items():
            if key[0].startswith("modelarts_training_") and key[0].endswith(("_total", "_count", "_sum")):
                before = self.highest.get(key, 0.0)
                assert value >= before, f"{key} decreased from {before} to {value}"
                self.highest[key] = value

    async def watch(self, exporter: ServeProcess) -> None:
        """Scrape until the exporter exits."""
        async with aiohttp.ClientSession() as session:
            while exporter.process.returncode is None:
                try:
                    async with session.get(f"{exporter.url}/metrics") as answer:
                        text = await answer.text()
                except aiohttp.ClientError:
                    return
                self.check(text)
                await asyncio.sleep(_STEP_S)


class WorldDriver:
    """Advances a world that has no arrivals of its own: `per_s` jobs arrive each second and follow their scripts.

    No job is deleted: the exporter cannot learn how a job ended that is deleted before a poll sees its end.
    """

    def __init__(self, cloud: Simulator, *, per_s: float, seed: int) -> None:
        self._cloud = cloud
        self._per_s = per_s
        self._dice = random.Random(seed)
        self._due_s = 0.0

    def advance(self, seconds: float) -> None:
        """Advance time, with arrivals."""
        world = self._cloud.world
        self._due_s -= seconds
        while self._due_s <= 0:
            job = world.submit_random(world.project(), self._dice)
            assert job.script is not None
            job.script = replace(job.script, delete_after_s=None)
            self._due_s += self._dice.expovariate(self._per_s)
        world.advance(seconds)

    async def run(self) -> None:
        """Advance with the machine's clock until cancelled."""
        loop = asyncio.get_running_loop()
        then = loop.time()
        while True:
            await asyncio.sleep(_STEP_S)
            now = loop.time()
            self.advance(now - then)
            then = now

    def drain(self) -> None:
        """Advance without arrivals until every job has ended."""
        world = self._cloud.world
        while world.unfinished:
            world.advance(1.0)


@dataclass(frozen=True)
class JobTotals:
    """Totals of jobs by pool (and status), without zeros: the ground truth, or what a scrape exports."""

    submitted: Mapping[str, float]
    started: Mapping[str, float]
    finished: Mapping[tuple[str, str], float]


def true_totals(cloud: Simulator) -> JobTotals:
    """Ground truth now."""
    truth = cloud.ground_truth
    return JobTotals(Counter(truth.submitted), Counter(truth.started), Counter(truth.finished))


def totals_gained(now: JobTotals, then: JobTotals) -> JobTotals:
    """Difference of two ground truths."""
    return JobTotals(
        _gained(now.submitted, then.submitted),
        _gained(now.started, then.started),
        _gained(now.finished, then.finished),
    )


def exported_totals(text: str) -> JobTotals:
    """Totals in an exposition."""
    submitted: dict[str, float] = {}
    started: dict[str, float] = {}
    finished: dict[tuple[str, str], float] = {}
    for (name, labels), value in parse_samples(text).items():
        if not value:
            continue
        match name:
            case "modelarts_training_jobs_submitted_total":
                submitted[label_value(labels, "pool_id")] = value
            case "modelarts_training_jobs_started_total":
                started[label_value(labels, "pool_id")] = value
            case "modelarts_training_jobs_finished_total":
                finished[label_value(labels, "pool_id"), label_value(labels, "status")] = value
    return JobTotals(submitted, started, finished)


def true_accelerator_seconds(cloud: Simulator) -> Counter[tuple[str, str]]:
    """Ground truth of accelerator seconds now, by pool and kind."""
    held: Counter[tuple[str, str]] = Counter()
    for (pool, _, accelerator), seconds in cloud.ground_truth.held_s.items():
        held[pool, accelerator] += seconds  # type: ignore[assignment] # a Counter of seconds
    return held


def exported_accelerator_seconds(text: str) -> Counter[tuple[str, str]]:
    """Accelerator seconds in an exposition, by pool and kind."""
    held: Counter[tuple[str, str]] = Counter()
    for (name, labels), seconds in parse_samples(text).items():
        if name == "modelarts_training_accelerator_seconds_total":
            held[label_value(labels, "pool_id"), label_value(labels, "accelerator")] += seconds  # type: ignore[assignment] # same
    return held


def _gained(now: Mapping[Any, float], then: Mapping[Any, float]) -> dict[Any, float]:
    return {key: value - then.get(key, 0) for key, value in now.items() if value != then.get(key, 0)}
