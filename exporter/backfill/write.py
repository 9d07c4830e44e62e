"""Writes the journal as OpenMetrics with timestamps, in the order that parsers and promtool require.

Samples are grouped by family, then by series, then ordered by time. Jobs are read in the order of submission, and
each has samples in every family. The samples therefore go to one spool file per family, and the files are joined.
"""

import math
import os
import shutil
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from exporter.backfill.grid import Grid
from exporter.backfill.journal import Journal, StoredJob
from exporter.backfill.samples import samples
from exporter.backfill.sums import SUMS, Sums
from exporter.backfill.timeline import job_intervals
from exporter.domain.job import Job, JobStatus
from exporter.domain.snapshot import ProjectSnapshot, TrackedJob
from exporter.metrics.exposition.family import Family, Type
from exporter.metrics.exposition.renderer import job_columns, project_identity_labels
from exporter.metrics.exposition.table import Column
from exporter.metrics.exposition.text import EOF, header_openmetrics, label_writer, labels, numbers
from exporter.metrics.families import job as of_job
from exporter.metrics.families import usage as of_usage

STATE_FAMILIES: tuple[Family[TrackedJob], ...] = (of_job.INFO, of_job.STATUS, of_job.STATUS_ACCELERATORS)
"""Written for each job at the timestamps of the grid."""

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
"""Written for each job at the end of each sampled minute."""

LOOK_BACK_S = 300.0
"""Prometheus shows the last sample of a series that has ended for so long (its default look-back)."""

_BUFFER_BYTES = 2 * 1024 * 1024
_SAMPLES_PER_CHUNK = 4096  # samples of a series that are formatted at once

Samples = dict[str, tuple["array[float]", "array[float]"]]
"""Timestamps and values of each series of one family, by its label text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSelection:
    """One project, the filter of its jobs and the treatment of user names."""

    project: str
    shows: Callable[[Job], bool] = lambda _: True
    mask_user: Callable[[Job], Job] = lambda job: job


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat:
    """Content and layout of the output."""

    grid: Grid
    retention_s: float
    per_job: bool = True
    families: Sequence[Family[TrackedJob]] = USAGE_FAMILIES
    """Usage families to write."""
    job_labels: Sequence[str] = ()
    extra_labels: Sequence[tuple[str, str]] = ()
    """Names and values added to every series, for example those that a scrape adds."""
    split_s: float | None = None
    """Time range of one file; None: one file for all."""
    live_from: float | None = None
    """When live series may begin. Gauges end by the look-back earlier, or sums over both would double; counters go on
    to the end. None: there are none."""


@dataclass(slots=True, kw_only=True)
class WriteResult:
    """The files and samples written."""

    output_files: list[Path] = field(default_factory=list)
    samples: int = 0
    untimed: int = 0
    """Jobs that are in no aggregate, because the API returns no times for them."""


def output_files(output: Path, format_: OutputFormat) -> list[Path]:
    """Return the files to write. Windows begin at multiples of their length, like the blocks of a TSDB."""
    split_s, grid = format_.split_s, format_.grid
    if split_s is None or not grid.count:
        return [output]
    first, last = (math.floor(at / split_s) for at in (grid.first, grid.timestamp(grid.count - 1)))
    begins = (datetime.fromtimestamp(number * split_s, UTC) for number in range(first, last + 1))
    return [output.with_name(f"{output.stem}-{begin:%Y%m%dT%H%M%SZ}{output.suffix}") for begin in begins]


class SpoolFiles:
    """Text collected by window and family in files, with a buffer of two megabytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: dict[tuple[int, int], list[str]] = {}
        self._buffered = 0
        shutil.rmtree(folder, ignore_errors=True)  # left by an interrupted run: writing starts again
        folder.mkdir()

    def add(self, window: int, family: int, text: str) -> None:
        """Append text to the file of a window and family."""
        self._parts.setdefault((window, family), []).append(text)
        self._buffered += len(text)
        if self._buffered >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the buffer to the files."""
        for key, parts in self._parts.items():
            with self._path(*key).open("ab") as file:
                file.write("".join(parts).encode())
        self._parts.clear()
        self._buffered = 0

    def move(self, window: int, family: int, *, to: Any, head: bytes) -> None:
        """Append the file of a window and family, if there is one, with its header, and delete it."""
        path = self._path(window, family)
        if path.exists():
            to.write(head)
            with path.open("rb") as file:
                shutil.copyfileobj(file, to, 1024 * 1024)
            path.unlink()  # otherwise the disk holds all text twice at the end

    def _path(self, window: int, family: int) -> Path:
        return self._folder / f"{window:05d}-{family:02d}"


class Writer:
    """Writes one backfill. `on_progress` receives the number of jobs written so far, and may raise to cancel."""

    def __init__(
        self,
        format_: OutputFormat,
        *,
        journal: Journal,
        spool: Path,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._format = format_
        self._journal = journal
        self._spool = SpoolFiles(spool)
        self._on_progress = on_progress
        per_job = (*STATE_FAMILIES, *format_.families) if format_.per_job else ()
        columns = list(job_columns(per_job, info=of_job.INFO, copied=format_.job_labels))
        self._states = columns[: len(STATE_FAMILIES)] if format_.per_job else []
        self._usage = columns[len(STATE_FAMILIES) :]
        self._families: tuple[Family[Any], ...] = (*per_job, *SUMS)
        self._family_index = {family.name: index for index, family in enumerate(self._families)}
        self._label_writers = {
            family.name: label_writer([label.name for label in family.labels]) for family in self._families
        }
        self._extra = labels(format_.extra_labels) + "," if format_.extra_labels else ""
        self._written = WriteResult()
        self._jobs = 0

    def write(self, output: Path, selections: Sequence[ProjectSelection]) -> WriteResult:
        """Write all files. Each is moved to its path when complete, so that it is never partial. Raises OSError."""
        for selection in selections:
            self._write_project(selection)
        self._spool.flush()
        paths = output_files(output, self._format)
        for window, path in enumerate(paths):
            self._write_window(window, path)
        self._written.output_files = paths
        return self._written

    def _write_project(self, selection: ProjectSelection) -> None:
        sums = Sums(self._format.grid, project=selection.project, retention_s=self._format.retention_s)
        for stored in self._journal.jobs(selection.project, samples=self._format.per_job):
            self._on_progress(self._jobs)
            self._jobs += 1
            sums.add(stored.job)
            if self._format.per_job and selection.shows(stored.job):
                self._write_job(stored, selection)
        self._written.untimed += sums.untimed
        identity = project_identity_labels(ProjectSnapshot(project=selection.project))
        times = array("d", self._format.grid)
        for family in SUMS:
            write_labels = self._label_writers[family.name]
            for label_values, values in sums.rows(family):
                self._add(family, identity + write_labels(label_values), times, values)

    def _write_job(self, stored: StoredJob, selection: ProjectSelection) -> None:
        job = selection.mask_user(stored.job)
        states = [
            (
                TrackedJob(project=selection.project, job=interval.job),
                self._timestamps(interval.begin, interval.end, interval.job),
            )
            for interval in job_intervals(job)
        ]
        for column in self._states:
            found: Samples = {}
            for tracked, timestamps in states:
                if timestamps:
                    self._collect(column, tracked, timestamps, found)
            self._add_all(column, found)
        running = replace(job, status=JobStatus.RUNNING)
        begin, end = self._format.grid.first, self._format.grid.timestamp(self._format.grid.count)
        readings = [
            (at, TrackedJob(project=selection.project, job=running, usage=usage))
            for at, usage in samples(job, stored.series, read_at=stored.read_at)
            if begin <= at < end
        ]
        for column in self._usage:
            found = {}
            for at, tracked in readings:
                self._collect(column, tracked, (at,), found)
            self._add_all(column, found)

    def _timestamps(self, begin: float, end: float, job: Job) -> Sequence[float]:
        """Timestamps of a state. A finished job has one, or its series would continue for the whole retention."""
        grid = self._format.grid
        indexes = grid.indexes_between(begin, end)
        if job.status.finished:
            indexes = indexes[:1] if begin >= grid.first else range(0)
        return [grid.timestamp(number) for number in indexes]

    def _collect(
        self, column: Column[TrackedJob], tracked: TrackedJob, timestamps: Sequence[float], found: Samples
    ) -> None:
        family = column.family
        for label_values, value in family.samples(tracked) if family.samples is not None else ():
            text = column.identity_labels(tracked) + self._label_writers[family.name](label_values)
            times, values = found.setdefault(text, (array("d"), array("d")))
            times.extend(timestamps)
            values.extend([value] * len(timestamps))

    def _add_all(self, column: Column[TrackedJob], found: Samples) -> None:
        for text, (times, values) in found.items():
            self._add(column.family, text, times, values)

    def _add(self, family: Family[Any], text: str, times: Sequence[float], values: Sequence[float]) -> None:
        """Add the samples of one series, each to its window."""
        if family.type is not Type.COUNTER and self._format.live_from is not None:
            times = times[: bisect_left(times, self._format.live_from - LOOK_BACK_S)]
        head = f"{family.exposed_name}{{{self._extra}{text}}} "
        index = self._family_index[family.name]
        self._written.samples += len(times)
        for window, start, stop in self._split_by_window(times):
            for begin in range(start, stop, _SAMPLES_PER_CHUNK):
                end = min(stop, begin + _SAMPLES_PER_CHUNK)
                samples_text = zip(numbers(list(values[begin:end])), numbers(list(times[begin:end])), strict=True)
                self._spool.add(window, index, "".join([f"{head}{value} {at}\n" for value, at in samples_text]))

    def _split_by_window(self, times: Sequence[float]) -> Iterator[tuple[int, int, int]]:
        """Split timestamps by window. Yields window, start index and end index (excluded)."""
        start = 0
        while start < len(times):
            window = self._window(times[start])
            stop = start + 1
            if self._format.split_s is None:
                stop = len(times)
            while stop < len(times) and self._window(times[stop]) == window:
                stop += 1
            yield window, start, stop
            start = stop

    def _window(self, at: float) -> int:
        split_s = self._format.split_s
        return 0 if split_s is None else math.floor(at / split_s) - math.floor(self._format.grid.first / split_s)

    def _write_window(self, window: int, path: Path) -> None:
        temporary = path.with_name(f".{path.name}.draft")
        try:
            with temporary.open("wb") as file:
                for index, family in enumerate(self._families):
                    self._spool.move(window, index, to=file, head=header_openmetrics(family).encode())
                file.write(EOF)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
