"""Writes the journal down as OpenMetrics with timestamps, in the order that parsers demand and promtool takes.

A family stands together, in it a series, in it the times grow. Jobs come in the order of submission, and each has
samples in every family, so what a job says goes to one spool file a family first, and the files are joined.
"""

import math
import os
import shutil
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from exporter.backfill.grid import Grid
from exporter.backfill.journal import Journal, Told
from exporter.backfill.samples import samples
from exporter.backfill.sums import SUMS, Sums
from exporter.backfill.timeline import states
from exporter.domain.job import Job, JobStatus
from exporter.domain.snapshot import ProjectSnapshot, TrackedJob
from exporter.metrics.exposition.family import Family
from exporter.metrics.exposition.renderer import job_columns, project_identity_labels
from exporter.metrics.exposition.table import Column
from exporter.metrics.exposition.text import EOF, header_openmetrics, label_writer, labels, numbers
from exporter.metrics.families import job as of_job
from exporter.metrics.families import usage as of_usage

STATE_FAMILIES: tuple[Family[TrackedJob], ...] = (of_job.INFO, of_job.STATUS, of_job.STATUS_ACCELERATORS)
"""Told of each job at the moments of the grid."""

USAGE_FAMILIES: tuple[Family[TrackedJob], ...] = (
    of_usage.CPU_UTILIZATION,
    of_usage.MEMORY_UTILIZATION,
    of_usage.ACCELERATOR_UTILIZATION,
    of_usage.ACCELERATOR_UTILIZATION_MIN,
    of_usage.ACCELERATOR_MEMORY_UTILIZATION,
    of_usage.DISK_READ,
    of_usage.DISK_WRITTEN,
    of_usage.NETWORK_RECEIVED,
    of_usage.NETWORK_TRANSMITTED,
)
"""Told of each job at the minutes that the cloud has."""

_BUFFER_BYTES = 2 * 1024 * 1024
_PIECE = 4096  # samples of a series turned into text at once

Samples = dict[str, tuple["array[float]", "array[float]"]]
"""Times and values of each series of one family, by what stands between its braces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One project, and what of its jobs may be shown."""

    project: str
    shows: Callable[[Job], bool] = lambda _: True
    mask_user: Callable[[Job], Job] = lambda job: job


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How the past is written down."""

    grid: Grid
    retention_s: float
    per_job: bool = True
    families: Sequence[Family[TrackedJob]] = USAGE_FAMILIES
    """Of the usage families, those to tell."""
    job_labels: Sequence[str] = ()
    extra_labels: Sequence[tuple[str, str]] = ()
    """Names and values put on every series, such as those that a scrape would have put there."""
    split_s: float | None = None
    """Length of the time that one file tells of; None: all of it in one."""


@dataclass(slots=True, kw_only=True)
class Written:
    """What was written."""

    files: list[Path] = field(default_factory=list)
    samples: int = 0
    untold: int = 0
    """Jobs that are in no sum, because the cloud does not tell their times."""


def files(output: Path, form: Form) -> list[Path]:
    """Tell which files will be written; windows begin at multiples of their length, as the blocks of a TSDB do."""
    split_s, grid = form.split_s, form.grid
    if split_s is None or not grid.count:
        return [output]
    first, last = (math.floor(at / split_s) for at in (grid.first, grid.moment(grid.count - 1)))
    begins = (datetime.fromtimestamp(number * split_s, UTC) for number in range(first, last + 1))
    return [output.with_name(f"{output.stem}-{begin:%Y%m%dT%H%M%SZ}{output.suffix}") for begin in begins]


class Spool:
    """Text put aside by window and family, until all of it is there; two megabytes of it in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: dict[tuple[int, int], list[str]] = {}
        self._held = 0
        shutil.rmtree(folder, ignore_errors=True)  # of a writing that was broken off: it is done anew
        folder.mkdir()

    def add(self, window: int, family: int, text: str) -> None:
        """Put something aside."""
        self._parts.setdefault((window, family), []).append(text)
        self._held += len(text)
        if self._held >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write down what is held."""
        for key, parts in self._parts.items():
            with self._path(*key).open("ab") as file:
                file.write("".join(parts).encode())
        self._parts.clear()
        self._held = 0

    def move(self, window: int, family: int, *, to: Any, head: bytes) -> None:
        """Append what was put aside, if anything was, below its head."""
        path = self._path(window, family)
        if path.exists():
            to.write(head)
            with path.open("rb") as file:
                shutil.copyfileobj(file, to, 1024 * 1024)
            path.unlink()  # or all of it would be there twice at the end

    def _path(self, window: int, family: int) -> Path:
        return self._folder / f"{window:05d}-{family:02d}"


class Writer:
    """Writes one backfill. `tick` is told the number of jobs written so far, and may raise to break off."""

    def __init__(
        self, form: Form, *, journal: Journal, spool: Path, tick: Callable[[int], None] = lambda _: None
    ) -> None:
        self._form = form
        self._journal = journal
        self._spool = Spool(spool)
        self._tick = tick
        per_job = (*STATE_FAMILIES, *form.families) if form.per_job else ()
        columns = list(job_columns(per_job, info=of_job.INFO, copied=form.job_labels))
        self._states = columns[: len(STATE_FAMILIES)] if form.per_job else []
        self._usage = columns[len(STATE_FAMILIES) :]
        self._families: tuple[Family[Any], ...] = (*per_job, *SUMS)
        self._place = {family.name: place for place, family in enumerate(self._families)}
        self._label_writers = {
            family.name: label_writer([label.name for label in family.labels]) for family in self._families
        }
        self._extra = labels(form.extra_labels) + "," if form.extra_labels else ""
        self._written = Written()
        self._jobs = 0

    def write(self, output: Path, subjects: Sequence[Subject]) -> Written:
        """Write everything, and only then put it where it was asked for: never half a file. Raises OSError."""
        for subject in subjects:
            self._write_project(subject)
        self._spool.flush()
        paths = files(output, self._form)
        for window, path in enumerate(paths):
            self._join(window, path)
        self._written.files = paths
        return self._written

    def _write_project(self, subject: Subject) -> None:
        sums = Sums(self._form.grid, project=subject.project, retention_s=self._form.retention_s)
        for told in self._journal.jobs(subject.project, samples=self._form.per_job):
            self._tick(self._jobs)
            self._jobs += 1
            sums.add(told.job)
            if self._form.per_job and subject.shows(told.job):
                self._write_job(told, subject)
        self._written.untold += sums.untold
        identity = project_identity_labels(ProjectSnapshot(project=subject.project))
        times = array("d", self._form.grid)
        for family in SUMS:
            tell = self._label_writers[family.name]
            for own, values in sums.rows(family):
                self._add(family, identity + tell(own), times, values)

    def _write_job(self, told: Told, subject: Subject) -> None:
        job = subject.mask_user(told.job)
        states_of = [
            (TrackedJob(project=subject.project, job=state.job), self._moments(state.begin, state.end, state.job))
            for state in states(job)
        ]
        for column in self._states:
            found: Samples = {}
            for tracked, moments in states_of:
                if moments:
                    self._collect(column, tracked, moments, found)
            self._add_all(column, found)
        running = replace(job, status=JobStatus.RUNNING)
        begin, end = self._form.grid.first, self._form.grid.moment(self._form.grid.count)
        readings = [
            (at, TrackedJob(project=subject.project, job=running, usage=usage))
            for at, usage in samples(job, told.series, asked_at=told.asked_at)
            if begin <= at < end
        ]
        for column in self._usage:
            found = {}
            for at, tracked in readings:
                self._collect(column, tracked, (at,), found)
            self._add_all(column, found)

    def _moments(self, begin: float, end: float, job: Job) -> Sequence[float]:
        """When to tell of a state. Of a finished job once, or its series would go on for as long as the retention."""
        grid = self._form.grid
        numbers_of = grid.between(begin, end)
        if job.status.finished:
            numbers_of = numbers_of[:1] if begin >= grid.first else range(0)
        return [grid.moment(number) for number in numbers_of]

    def _collect(
        self, column: Column[TrackedJob], tracked: TrackedJob, moments: Sequence[float], found: Samples
    ) -> None:
        family = column.family
        for own, value in family.samples(tracked) if family.samples is not None else ():
            text = column.identity_labels(tracked) + self._label_writers[family.name](own)
            times, values = found.setdefault(text, (array("d"), array("d")))
            times.extend(moments)
            values.extend([value] * len(moments))

    def _add_all(self, column: Column[TrackedJob], found: Samples) -> None:
        for text, (times, values) in found.items():
            self._add(column.family, text, times, values)

    def _add(self, family: Family[Any], text: str, times: Sequence[float], values: Sequence[float]) -> None:
        """Put the samples of one series aside, each in the window it falls into."""
        head = f"{family.exposed_name}{{{self._extra}{text}}} "
        place = self._place[family.name]
        self._written.samples += len(times)
        for window, start, stop in self._runs(times):
            for begin in range(start, stop, _PIECE):
                end = min(stop, begin + _PIECE)
                told = zip(numbers(list(values[begin:end])), numbers(list(times[begin:end])), strict=True)
                self._spool.add(window, place, "".join([f"{head}{value} {at}\n" for value, at in told]))

    def _runs(self, times: Sequence[float]) -> Iterator[tuple[int, int, int]]:
        """Which samples, from one number up to another, fall into which window."""
        start = 0
        while start < len(times):
            window = self._window(times[start])
            stop = start + 1
            if self._form.split_s is None:
                stop = len(times)
            while stop < len(times) and self._window(times[stop]) == window:
                stop += 1
            yield window, start, stop
            start = stop

    def _window(self, at: float) -> int:
        split_s = self._form.split_s
        return 0 if split_s is None else math.floor(at / split_s) - math.floor(self._form.grid.first / split_s)

    def _join(self, window: int, path: Path) -> None:
        draft = path.with_name(f".{path.name}.draft")
        try:
            with draft.open("wb") as file:
                for place, family in enumerate(self._families):
                    self._spool.move(window, place, to=file, head=header_openmetrics(family).encode())
                file.write(EOF)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
