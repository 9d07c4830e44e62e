"""Past jobs as OpenMetrics with timestamps, for `modelarts-exporter backfill`."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from exporter.app.events import Observed, Unknowns
from exporter.app.project import Host, origin, reaching, screen, sources_of, workspaces_of
from exporter.backfill.gather import Period, Progress, Reader, patiently
from exporter.backfill.grid import Grid
from exporter.backfill.journal import VERSION, Journal, Occupied
from exporter.backfill.sums import SUMS
from exporter.backfill.write import STATE_FAMILIES, USAGE_FAMILIES, Form, Subject, Writer, Written, files
from exporter.cloud.http.errors import CircuitOpen, CloudError
from exporter.cloud.v1.history import V1History
from exporter.cloud.v2.history import V2History
from exporter.domain.history import JobHistory
from exporter.domain.job import Api
from exporter.domain.snapshot import TrackedJob
from exporter.domain.source import Clock, SourceError
from exporter.metrics.catalog import TASK_FAMILIES
from exporter.metrics.exposition.family import Family
from exporter.metrics.exposition.labels import IDENTITY_LABELS
from exporter.polling.call_count import tally
from exporter.settings import Settings, Target

_INTERRUPTED = "interrupted; the same command goes on where it stopped"


class BackfillError(Exception):
    """What was asked for cannot be done as it was asked for; one sentence."""


class BackfillInterrupted(Exception):
    """It ended before it was done, and the same command goes on; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """What is to be written, and where to. Lengths of time in seconds."""

    output: Path
    since: "TimeArgument"
    until: "TimeArgument"
    lookback_s: float
    """How long before `since` a job may have been submitted to be read all the same."""
    step_s: float
    split_s: float | None = None
    per_job: bool = True
    usage: bool = True
    labels: Sequence[tuple[str, str]] = ()
    restart: bool = False
    """Throw away what an earlier run has read."""
    force: bool = False
    """Overwrite what is there."""


@dataclass(frozen=True, slots=True)
class TimeArgument:
    """A moment as it was asked for: at a time, or so long ago."""

    text: str
    at: float | None = None
    ago_s: float = 0.0

    def resolved(self, now: float) -> float:
        """Seconds since the epoch."""
        return now - self.ago_s if self.at is None else self.at


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillReport:
    """What was written, and what it cost this time."""

    written: Written
    jobs: int
    calls: int
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a backfill runs in."""

    clock: Clock
    progress: Progress
    stop: asyncio.Event
    """Set when it is to end before it is done."""
    place: Host = field(default_factory=Host)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def backfill(settings: Settings, asked: Backfill, around: Environment) -> BackfillReport:
    """Read the past of every target and write it down; what was read before a break is not read again.

    Raises Unusable, and Broken when the cloud does not answer or `stop` was set; OSError from the disk.
    """
    _check_labels(asked)
    folder = _folder(asked)
    if asked.restart:
        shutil.rmtree(folder, ignore_errors=True)
    if not (folder / "journal.sqlite").exists():
        _check_output(asked, _period(asked, around.clock.time()))  # before hours of reading, not after
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        journal = Journal(folder / "journal.sqlite")
    except Occupied as error:
        raise BackfillError(f"{error}: one at a time") from error
    with journal, tally() as counted:
        period = _begin(journal, settings, asked, now=around.clock.time())
        _check_output(asked, period, ours=journal.plan().get("writing") == "yes")
        run = _Run(journal, settings, asked, period, around)
        work = asyncio.create_task(run.work(), name="backfill")
        stopped = asyncio.create_task(around.stop.wait(), name="stop")
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not run.writing:  # a thread cannot be cancelled; it looks for itself
                work.cancel()
            await asyncio.wait({work})
            written = _interrupted_or(work)
        finally:
            stopped.cancel()
        jobs = sum(journal.count(target.project) for target in settings.targets)
    shutil.rmtree(folder)
    return BackfillReport(written=written, jobs=jobs, calls=counted.calls, since=period.since, until=period.until)


def _interrupted_or(work: "asyncio.Task[Written]") -> Written:
    if work.cancelled():
        raise BackfillInterrupted(_INTERRUPTED)
    return work.result()


@dataclass(slots=True)
class _Run:
    """One run, from where the journal says that the one before it came to."""

    journal: Journal
    settings: Settings
    asked: Backfill
    period: Period
    around: Environment
    writing: bool = False

    async def work(self) -> Written:
        """Read what is still to be read, and write everything."""
        self_metrics = Observed(CollectorRegistry())
        for target in self.settings.targets:
            try:
                await self._read(target, self_metrics=self_metrics)
            except SourceError as error:
                raise BackfillInterrupted(
                    f"{target.project}: {error}; the same command goes on where it stopped"
                ) from error
        self.journal.begin({"writing": "yes"})  # from here on files of that name are ours
        self.writing = True
        return await asyncio.to_thread(self._write)

    async def _read(self, target: Target, *, self_metrics: Observed) -> None:
        around, clock = self.around, self.around.clock
        self_metrics.declare_project(target.project)
        note = Unknowns(target.project, self_metrics)
        shows = screen(target, self.settings).shows
        wanted = self.asked.usage and self.asked.per_job
        reader = Reader(
            project=target.project,
            journal=self.journal,
            period=self.period,
            retention_s=self.settings.collection.retention_s,
            wants_samples=lambda job: wanted and shows(job),
            passing=_may_pass,
            clock=clock,
            progress=around.progress,
            workers=max(1, target.rate_limit.concurrency - 1),
            sleep=around.sleep,
        )
        async with reaching(
            target, self.settings, clock=clock, self_metrics=self_metrics, place=around.place
        ) as transport:
            workspaces = workspaces_of(target, transport, clock=clock, note=note)
            sources = sources_of(target, transport, workspaces=workspaces, clock=clock, note=note)
            found = await patiently(sources.current, project=target.project, passing=_may_pass, sleep=around.sleep)
            for source in found:
                archive: JobHistory = (
                    V1History(transport, workspaces=workspaces, note=note, samples=wanted)
                    if source.api is Api.V1
                    else V2History(transport, workspaces=workspaces, clock=clock, note=note)
                )
                await reader.read_jobs(archive)
                await reader.read_minutes(source)

    def _write(self) -> Written:
        """Write the files, in a thread."""
        asked, settings = self.asked, self.settings
        total = sum(self.journal.count(target.project) for target in settings.targets)

        def tick(done: int) -> None:
            if self.around.stop.is_set():
                raise BackfillInterrupted(_INTERRUPTED)
            self.around.progress("write", done, total)

        screens = {target.project: screen(target, settings) for target in settings.targets}
        form = Form(
            grid=_grid(asked, self.period),
            retention_s=settings.collection.retention_s,
            per_job=asked.per_job,
            families=_usage_families(settings, asked),
            job_labels=settings.metrics.job_labels,
            extra_labels=asked.labels,
            split_s=asked.split_s,
        )
        writer = Writer(form, journal=self.journal, spool=_folder(asked) / "spool", tick=tick)
        subjects = [
            Subject(project=project, shows=shown.shows, mask_user=shown.mask_user)
            for project, shown in screens.items()
        ]
        return writer.write(asked.output, subjects)


def _folder(asked: Backfill) -> Path:
    """Where what was read is kept until everything is written."""
    return asked.output.with_name(asked.output.name + ".part")


def _usage_families(settings: Settings, asked: Backfill) -> Sequence[Family[TrackedJob]]:
    if not asked.usage:
        return ()
    return (*USAGE_FAMILIES, *TASK_FAMILIES) if settings.metrics.per_task else USAGE_FAMILIES


def _may_pass(error: SourceError) -> bool:
    """Whether the same question may be answered in a few minutes."""
    return isinstance(error, CloudError) and (error.retryable or isinstance(error, CircuitOpen))


def _period(asked: Backfill, now: float) -> Period:
    since, until = asked.since.resolved(now), min(asked.until.resolved(now), now)
    if until <= since:
        raise BackfillError(f"--until={asked.until.text} is not after --since={asked.since.text}")
    period = Period(since=since, until=until, back_to=since - asked.lookback_s)
    if not _grid(asked, period).count:
        raise BackfillError(f"no moment of --step={asked.step_s:g}s lies between --since and --until")
    return period


def _grid(asked: Backfill, period: Period) -> Grid:
    return Grid.over(period.since, period.until, step=asked.step_s)


def _begin(journal: Journal, settings: Settings, asked: Backfill, *, now: float) -> Period:
    """Begin, or go on: then "30d ago" is as of the first run. Raises Unusable when the two do not fit."""
    told = _plan(settings, asked)
    before = journal.plan()
    if "since_at" in before:
        for key, value in told.items():
            if before.get(key) != value:
                raise BackfillError(
                    f"an earlier run that was broken off had another {key}: repeat it, or begin anew with --restart"
                )
        since, until = float(before["since_at"]), float(before["until_at"])
        return Period(since=since, until=until, back_to=since - asked.lookback_s)
    period = _period(asked, now)
    journal.begin({**told, "since_at": repr(period.since), "until_at": repr(period.until)})
    return period


def _plan(settings: Settings, asked: Backfill) -> Mapping[str, str]:
    """Tell what decides about what is read; how it is written may change between two runs."""
    targets = [[target.project, origin(target), target.api, list(target.workspaces)] for target in settings.targets]
    usage = asked.usage and asked.per_job
    filters = [repr(target.filters) for target in settings.targets] if usage else []
    return {
        "format": VERSION,
        "--since": asked.since.text,
        "--until": asked.until.text,
        "--lookback": f"{asked.lookback_s:g}s",
        "--usage": "yes" if usage else "no",
        "targets": json.dumps(targets),
        "filters": json.dumps(filters),
        "retention": f"{settings.collection.retention_s:g}s",
    }


def _check_output(asked: Backfill, period: Period, *, ours: bool = False) -> None:
    if asked.force or ours:
        return
    form = Form(grid=_grid(asked, period), retention_s=0.0, split_s=asked.split_s)
    for path in files(asked.output, form):
        if path.exists():
            raise BackfillError(f"{path} exists; --force overwrites it")


def _check_labels(asked: Backfill) -> None:
    families = (*STATE_FAMILIES, *USAGE_FAMILIES, *TASK_FAMILIES, *SUMS)
    taken = {label.name for family in families for label in (*family.labels, *IDENTITY_LABELS[family.subject])}
    names = [name for name, _ in asked.labels]
    for name in names:
        if name in taken or names.count(name) > 1:
            raise BackfillError(f"--label={name}=…: the label {name} is there already")
