"""Past jobs as OpenMetrics with timestamps, for `modelarts-exporter backfill`."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from exporter.app.events import UnknownValues
from exporter.app.project import Host, make_generations, make_workspaces, open_client, origin, visibility
from exporter.backfill.grid import Grid
from exporter.backfill.journal import VERSION, Journal, JournalInUse
from exporter.backfill.reader import Period, Progress, Reader, with_retries
from exporter.backfill.sums import SUMS
from exporter.backfill.write import (
    STATE_FAMILIES,
    USAGE_FAMILIES,
    OutputFormat,
    ProjectSelection,
    Writer,
    WriteResult,
    output_files,
)
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
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.call_count import count_calls
from exporter.settings import Settings, Target

_HEAD_S = 3 * 3600.0
"""Prometheus writes the last two to three hours itself (its head block); no loaded block may overlap them."""

_RESUMES = "the same command continues where it stopped"


class BackfillError(Exception):
    """The request cannot be carried out; one sentence."""


class BackfillInterrupted(Exception):
    """It ended early, and the same command continues it; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """A request: what to write, and where. Lengths of time in seconds."""

    output: Path
    since: "TimeArgument"
    until: "TimeArgument"
    lookback_s: float
    """Jobs submitted up to this long before `since` are read too."""
    step_s: float
    split_s: float | None = None
    per_job: bool = True
    usage: bool = True
    labels: Sequence[tuple[str, str]] = ()
    restart: bool = False
    """Discard what an earlier run has read."""
    force: bool = False
    """Overwrite existing files."""


@dataclass(frozen=True, slots=True)
class TimeArgument:
    """A moment as given on the command line: a time, or a length of time ago."""

    text: str
    at: float | None = None
    ago_s: float = 0.0

    def resolved(self, now: float) -> float:
        """Return it in seconds since the epoch."""
        return now - self.ago_s if self.at is None else self.at

    def is_in_head(self, now: float) -> bool:
        """Whether it is within the time that a running Prometheus writes itself."""
        return self.resolved(now) > now - _HEAD_S


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillReport:
    """What was written, and the cost of this run."""

    written: WriteResult
    jobs: int
    calls: int
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Clock, output and signals of a backfill."""

    clock: Clock
    progress: Progress
    stop: asyncio.Event
    """Set to end it early."""
    host: Host = field(default_factory=Host)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def backfill(settings: Settings, request: Backfill, environment: Environment) -> BackfillReport:
    """Read past jobs of every target and write them; what an interrupted run has read is not read again.

    Raises BackfillError; BackfillInterrupted when the cloud does not answer or `stop` was set; OSError from the disk.
    """
    _check_labels(request)
    folder = _folder(request)
    if request.restart:
        shutil.rmtree(folder, ignore_errors=True)
    if not (folder / "journal.sqlite").exists():
        _check_output(request, _period(request, environment.clock.time()))  # before hours of reading, not after
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        journal = Journal(folder / "journal.sqlite")
    except JournalInUse as error:
        raise BackfillError(f"{error}: one at a time") from error
    with journal, count_calls() as count:
        period = _begin(journal, settings, request, now=environment.clock.time())
        _check_output(request, period, ours=journal.parameters().get("writing") == "yes")
        run = _Run(journal, settings, request, period, environment)
        work = asyncio.create_task(run.work(), name="backfill")
        stopped = asyncio.create_task(environment.stop.wait(), name="stop")
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not run.writing:  # a thread cannot be cancelled: it checks `stop` itself
                work.cancel()
            await asyncio.wait({work})
            written = _interrupted_or(work)
        finally:
            stopped.cancel()
        jobs = sum(journal.count(target.project) for target in settings.targets)
    shutil.rmtree(folder)
    return BackfillReport(written=written, jobs=jobs, calls=count.calls, since=period.since, until=period.until)


def _interrupted_or(work: "asyncio.Task[WriteResult]") -> WriteResult:
    if work.cancelled():
        raise BackfillInterrupted(f"interrupted; {_RESUMES}")
    return work.result()


@dataclass(slots=True)
class _Run:
    """One run; continues from the journal of an interrupted one."""

    journal: Journal
    settings: Settings
    request: Backfill
    period: Period
    environment: Environment
    writing: bool = False

    async def work(self) -> WriteResult:
        """Read what is not in the journal yet, and write everything."""
        self_metrics = SelfMetrics(CollectorRegistry())
        for target in self.settings.targets:
            try:
                await self._read(target, self_metrics=self_metrics)
            except SourceError as error:
                raise BackfillInterrupted(f"{target.project}: {error}; {_RESUMES}") from error
        self.journal.set_parameters(
            {"writing": "yes"}
        )  # from here on, existing files of that name are this run's own
        self.writing = True
        return await asyncio.to_thread(self._write)

    async def _read(self, target: Target, *, self_metrics: SelfMetrics) -> None:
        environment, clock = self.environment, self.environment.clock
        self_metrics.declare_project(target.project)
        note = UnknownValues(target.project, self_metrics)
        shows = visibility(target, self.settings).shows
        wanted = self.request.usage and self.request.per_job
        reader = Reader(
            project=target.project,
            journal=self.journal,
            period=self.period,
            retention_s=self.settings.collection.retention_s,
            wants_samples=lambda job: wanted and shows(job),
            is_transient=_may_pass,
            clock=clock,
            progress=environment.progress,
            workers=max(1, target.rate_limit.concurrency - 1),
            sleep=environment.sleep,
        )
        async with open_client(
            target, self.settings, clock=clock, self_metrics=self_metrics, host=environment.host
        ) as client:
            workspaces = make_workspaces(target, client, clock=clock, note=note)
            generations = make_generations(target, client, workspaces=workspaces, clock=clock, note=note)
            found = await with_retries(
                generations.current, project=target.project, is_transient=_may_pass, sleep=environment.sleep
            )
            for source in found:
                archive: JobHistory = (
                    V1History(client, workspaces=workspaces, note=note, samples=wanted)
                    if source.api is Api.V1
                    else V2History(client, workspaces=workspaces, clock=clock, note=note)
                )
                await reader.read_jobs(archive)
                await reader.read_samples(source)

    def _write(self) -> WriteResult:
        """Write the files, in a thread."""
        request, settings = self.request, self.settings
        total = sum(self.journal.count(target.project) for target in settings.targets)

        def report_progress(done: int) -> None:
            if self.environment.stop.is_set():
                raise BackfillInterrupted(f"interrupted; {_RESUMES}")
            self.environment.progress("write", done, total)

        visibilities = {target.project: visibility(target, settings) for target in settings.targets}
        form = OutputFormat(
            grid=_grid(request, self.period),
            retention_s=settings.collection.retention_s,
            per_job=request.per_job,
            families=_usage_families(settings, request),
            job_labels=settings.metrics.job_labels,
            extra_labels=request.labels,
            split_s=request.split_s,
            live_from=self.period.until,
        )
        writer = Writer(form, journal=self.journal, spool=_folder(request) / "spool", on_progress=report_progress)
        subjects = [
            ProjectSelection(project=project, shows=visibility.shows, mask_user=visibility.mask_job)
            for project, visibility in visibilities.items()
        ]
        return writer.write(request.output, subjects)


def _folder(request: Backfill) -> Path:
    """Folder of the data that has been read, until everything is written."""
    return request.output.with_name(request.output.name + ".part")


def _usage_families(settings: Settings, request: Backfill) -> Sequence[Family[TrackedJob]]:
    if not request.usage:
        return ()
    return (*USAGE_FAMILIES, *TASK_FAMILIES) if settings.metrics.per_task else USAGE_FAMILIES


def _may_pass(error: SourceError) -> bool:
    """Whether the same request may succeed in a few minutes."""
    return isinstance(error, CloudError) and (error.retryable or isinstance(error, CircuitOpen))


def _period(request: Backfill, now: float) -> Period:
    since, until = request.since.resolved(now), min(request.until.resolved(now), now)
    if until <= since:
        raise BackfillError(f"--until={request.until.text} is not after --since={request.since.text}")
    period = Period(since=since, until=until, back_to=since - request.lookback_s)
    if not _grid(request, period).count:
        raise BackfillError(f"no moment of --step={request.step_s:g}s lies between --since and --until")
    return period


def _grid(request: Backfill, period: Period) -> Grid:
    return Grid.covering(period.since, period.until, step=request.step_s)


def _begin(journal: Journal, settings: Settings, request: Backfill, *, now: float) -> Period:
    """Begin or continue a run. "30d" counts from the first start. Raises BackfillError if they differ."""
    options = _options(settings, request)
    before = journal.parameters()
    if "since_at" in before:
        for key, value in options.items():
            if before.get(key) != value:
                raise BackfillError(f"an interrupted run had another {key}: repeat it, or start again with --restart")
        since, until = float(before["since_at"]), float(before["until_at"])
        return Period(since=since, until=until, back_to=since - request.lookback_s)
    period = _period(request, now)
    journal.set_parameters({**options, "since_at": repr(period.since), "until_at": repr(period.until)})
    return period


def _options(settings: Settings, request: Backfill) -> Mapping[str, str]:
    """Return the options that decide what is read; those of the output may differ between two runs."""
    targets = [[target.project, origin(target), target.api, list(target.workspaces)] for target in settings.targets]
    usage = request.usage and request.per_job
    filters = [repr(target.filters) for target in settings.targets] if usage else []
    return {
        "format": VERSION,
        "--since": request.since.text,
        "--until": request.until.text,
        "--lookback": f"{request.lookback_s:g}s",
        "--usage": "yes" if usage else "no",
        "targets": json.dumps(targets),
        "filters": json.dumps(filters),
        "retention": f"{settings.collection.retention_s:g}s",
    }


def _check_output(request: Backfill, period: Period, *, ours: bool = False) -> None:
    if request.force or ours:
        return
    form = OutputFormat(grid=_grid(request, period), retention_s=0.0, split_s=request.split_s)
    for path in output_files(request.output, form):
        if path.exists():
            raise BackfillError(f"{path} exists; --force overwrites it")


def _check_labels(request: Backfill) -> None:
    families = (*STATE_FAMILIES, *USAGE_FAMILIES, *TASK_FAMILIES, *SUMS)
    taken = {label.name for family in families for label in (*family.labels, *IDENTITY_LABELS[family.subject])}
    names = [name for name, _ in request.labels]
    for name in names:
        if name in taken or names.count(name) > 1:
            raise BackfillError(f"--label={name}=…: series have a label {name} already")
