"""Renders a snapshot as exposition text; whatever has not changed since the last snapshot is not written again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from exporter.domain.pool import Pool
from exporter.domain.snapshot import ProjectSnapshot, Snapshot, TrackedJob
from exporter.metrics.exposition.family import Family, Type
from exporter.metrics.exposition.labels import JOB_ID, POOL_ID, PROJECT
from exporter.metrics.exposition.limit import Detail, JobSize, choose_details
from exporter.metrics.exposition.table import Column, Table
from exporter.metrics.exposition.text import header_openmetrics, header_text, label_value, labels, replace_surrogates

_PROJECT, _JOB_ID = PROJECT.name, JOB_ID.name


@dataclass(frozen=True, slots=True)
class Block:
    """One family with at least one sample. Both formats share the body; an unchanged body is the same object."""

    header_text: bytes
    header_openmetrics: bytes
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A rendered snapshot. Mappings are by project."""

    blocks: tuple[Block, ...] = ()
    series: Mapping[str, int]
    """Sample lines, aggregates included."""
    dropped: Mapping[str, int]
    """Sample lines dropped because of the limit."""
    failed: int
    """Errors: families that raised for a subject, repeated labels, and jobs or projects that occur twice."""

    @property
    def text(self) -> bytes:
        """The body in text 0.0.4."""
        return b"".join([part for block in self.blocks for part in (block.header_text, block.body)])

    @property
    def openmetrics(self) -> bytes:
        """The body in OpenMetrics 1.0, without the end marker."""
        return b"".join([part for block in self.blocks for part in (block.header_openmetrics, block.body)])


def project_identity_labels(snapshot: ProjectSnapshot) -> str:
    """Write the identity labels of a project."""
    return labels(((PROJECT.name, snapshot.project),))


def _pool_identity_labels(pool: Pool) -> str:
    return labels(((PROJECT.name, pool.project), (POOL_ID.name, pool.pool_id)))


class Headers:
    """The headers of families, written once."""

    def __init__(self, families: Iterable[Family[Any]]) -> None:
        self._headers = [(header_text(family).encode(), header_openmetrics(family).encode()) for family in families]

    def blocks(self, bodies: Iterable[bytes]) -> tuple[Block, ...]:
        """Put each body under the headers of its family; families without samples are left out."""
        return tuple(Block(*headers, body) for headers, body in zip(self._headers, bodies, strict=True) if body)


@dataclass(frozen=True, slots=True)
class _Truncated:
    """A job of which series were dropped in the last render."""

    size: JobSize
    detail: Detail
    replacement: TrackedJob | None
    """What the job table holds instead of the job; None when it holds nothing."""


_ByProject = Sequence[Sequence[TrackedJob]]


@dataclass(frozen=True, slots=True)
class _Visible:
    """The part of a snapshot that is rendered; `jobs` is in the order of `projects`."""

    projects: Sequence[ProjectSnapshot]
    jobs: _ByProject
    repeated: int


class Renderer:
    """Renders snapshots, and keeps the last one to render only changes.

    `job_labels` names labels of the job info family to copy to every other job series, after the identity labels. A
    family that has a label of that name itself keeps its own. Raises ValueError for a name that the info does not
    have. When a project exceeds `max_series_per_project`, series are dropped in the order of `limit.choose_details`;
    aggregates and pools are never dropped. Not thread-safe.
    """

    def __init__(
        self,
        job_families: Sequence[Family[TrackedJob]],
        project_families: Sequence[Family[ProjectSnapshot]],
        *,
        job_labels: Sequence[str] = (),
        per_task_families: Sequence[Family[TrackedJob]] = (),
        pool_families: Sequence[Family[Pool]] = (),
        max_series_per_project: int = 100_000,
    ) -> None:
        self.families: Final[tuple[Family[Any], ...]] = (
            *job_families,
            *per_task_families,
            *project_families,
            *pool_families,
        )
        if len({family.name for family in self.families}) < len(self.families):
            raise ValueError("a family is declared twice")
        info = next((family for family in job_families if family.type is Type.INFO), None)
        known = () if info is None else tuple(label.name for label in info.labels)
        if unknown := sorted(set(job_labels) - set(known)):
            raise ValueError(f"no labels of the job's info: {', '.join(unknown)}; there are {', '.join(known)}")
        copied = tuple(dict.fromkeys(job_labels))
        self._jobs = Table(job_columns(job_families, info=info, copied=copied))
        self._tasks = Table(job_columns(per_task_families, info=info, copied=copied))
        self._per_task = bool(per_task_families)
        self._projects = Table([Column(family, project_identity_labels) for family in project_families])
        self._pools = Table([Column(family, _pool_identity_labels) for family in pool_families])
        self._headers = Headers(self.families)
        self._limit = max_series_per_project
        self._truncated: dict[int, _Truncated] = {}

    def render(self, snapshot: Snapshot) -> Rendered:
        """Render a snapshot. The result depends only on the snapshot, not on earlier ones."""
        visible = _visible(snapshot)
        aggregates = self._update_aggregates(visible.projects)
        job_series, dropped = self._update_jobs(visible.jobs, limits=[self._limit - series for series in aggregates])
        names = [project.project for project in visible.projects]
        tables = (self._jobs, self._tasks, self._projects, self._pools)
        return Rendered(
            blocks=self._headers.blocks([body for table in tables for body in table.bodies]),
            series={name: sum(series) for name, *series in zip(names, aggregates, job_series, strict=True)},
            dropped=dict(zip(names, dropped, strict=True)),
            failed=visible.repeated + sum(table.errors for table in tables),
        )

    def _update_aggregates(self, projects: Sequence[ProjectSnapshot]) -> list[int]:
        """Update the tables of projects and pools; return their series by project."""
        self._projects.update(projects)
        pools = [list((project.pools or {}).values()) for project in projects]
        self._pools.update([pool for project_pools in pools for pool in project_pools])
        pool_series = iter(self._pools.series)
        return [
            series + sum(islice(pool_series, len(project_pools)))
            for series, project_pools in zip(self._projects.series, pools, strict=True)
        ]

    def _update_jobs(self, jobs: _ByProject, *, limits: Sequence[int]) -> tuple[list[int], list[int]]:
        """Update the tables of jobs and tasks; return series rendered and series dropped, by project."""
        before = self._truncated
        rendered = self._fill(jobs, before)  # jobs truncated last time still are: their size is known already
        if not before and all(series <= limit for series, limit in zip(rendered, limits, strict=True)):
            return rendered, [0] * len(jobs)
        sizes = self._sizes(jobs)
        self._truncated = {}
        for project_sizes, limit in zip(sizes, limits, strict=True):
            details = choose_details(project_sizes, limit=limit, series_without_usage=self._series_without_usage)
            for size, detail in zip(project_sizes, details, strict=True):
                if detail is not Detail.FULL:
                    key = id(size.tracked)
                    self._truncated[key] = _truncate(size, detail, before=before.get(key))
        rendered = self._fill(jobs, self._truncated)
        full = [sum(size.series for size in project_sizes) for project_sizes in sizes]
        return rendered, [had - has for had, has in zip(full, rendered, strict=True)]

    def _fill(self, jobs: _ByProject, truncated: Mapping[int, _Truncated]) -> list[int]:
        """Fill both tables, with the replacements of truncated jobs; return the series by project."""
        of_jobs = of_tasks = jobs
        if truncated:
            of_jobs = [_replaced(project_jobs, truncated) for project_jobs in jobs]
            of_tasks = [[job for job in project_jobs if id(job) not in truncated] for project_jobs in jobs]
        if not self._per_task:
            of_tasks = [()] * len(jobs)
        totals = [0] * len(jobs)
        for table, rows in ((self._jobs, of_jobs), (self._tasks, of_tasks)):
            table.update([job for project_jobs in rows for job in project_jobs])
            at = 0
            for project, project_jobs in enumerate(rows):
                totals[project] += sum(table.series[at : at + len(project_jobs)])
                at += len(project_jobs)
        return totals

    def _sizes(self, jobs: _ByProject) -> list[list[JobSize]]:
        job_series, task_series = self._jobs.series_by_id(), self._tasks.series_by_id()

        def size(job: TrackedJob) -> JobSize:
            truncated = self._truncated.get(id(job))
            if truncated is not None:
                return truncated.size
            return JobSize(job, job_series[id(job)], task_series.get(id(job), 0))

        return [[size(job) for job in project_jobs] for project_jobs in jobs]

    def _series_without_usage(self, job: TrackedJob) -> int:
        return self._jobs.count_series(replace(job, usage=None))


def _replaced(jobs: Iterable[TrackedJob], truncated: Mapping[int, _Truncated]) -> list[TrackedJob]:
    """Put the replacements in place of truncated jobs, and leave out those without one."""
    rows: list[TrackedJob] = []
    for job in jobs:
        found = truncated.get(id(job))
        row = job if found is None else found.replacement
        if row is not None:
            rows.append(row)
    return rows


def _truncate(size: JobSize, detail: Detail, *, before: _Truncated | None) -> _Truncated:
    if before is not None and before.detail is detail:
        return before  # the table recognises the same replacement and keeps its rows
    match detail:
        case Detail.NONE:
            replacement = None
        case Detail.WITHOUT_USAGE:
            replacement = replace(size.tracked, usage=None)
        case _:
            replacement = size.tracked
    return _Truncated(size, detail, replacement)


def unique_projects(snapshot: Snapshot) -> Sequence[ProjectSnapshot]:
    """Return the projects, the first one of each name."""
    projects: dict[str, ProjectSnapshot] = {}
    for project in snapshot.projects:
        projects.setdefault(replace_surrogates(project.project), project)
    return list(projects.values())


def _visible(snapshot: Snapshot) -> _Visible:
    """Return the projects and their visible jobs, the first one of each id: a second one would repeat its series."""
    projects = unique_projects(snapshot)
    repeated = len(snapshot.projects) - len(projects)
    jobs = [[job for job in (project.jobs or {}).values() if job.shown] for project in projects]
    if _are_distinct(projects, jobs):
        return _Visible(projects, jobs, repeated)
    seen: set[tuple[str, str]] = set()
    unique: list[list[TrackedJob]] = []
    for project_jobs in jobs:
        unique.append([])
        for job in project_jobs:
            key = (replace_surrogates(job.project), replace_surrogates(job.job.job_id))
            if key in seen:
                repeated += 1
            else:
                seen.add(key)
                unique[-1].append(job)
    return _Visible(projects, unique, repeated)


def _are_distinct(projects: Sequence[ProjectSnapshot], jobs: _ByProject) -> bool:
    """Check quickly that no two jobs have the same identity labels, which only a defect in the exporter can cause."""
    for project, project_jobs in zip(projects, jobs, strict=True):
        ids = {job.job.job_id for job in project_jobs}
        joined = "".join(ids)
        distinct = len(ids) == len(project_jobs) and joined == replace_surrogates(joined)
        if not distinct or any(job.project != project.project for job in project_jobs):
            return False
    return True


def job_columns(
    families: Iterable[Family[TrackedJob]], *, info: Family[TrackedJob] | None, copied: Sequence[str]
) -> Iterable[Column[TrackedJob]]:
    """Combine each family with its identity labels; families with the same labels share one function.

    `copied` names labels of `info` that every other family also has, unless it has a label of that name itself.
    """
    writers: dict[tuple[str, ...], Callable[[TrackedJob], str]] = {}
    for family in families:
        declared = {label.name for label in family.labels}
        names = () if family is info else tuple(name for name in copied if name not in declared)
        if names not in writers:
            writers[names] = _with_copied_labels(info, names) if info is not None and names else _job_identity_labels
        yield Column(family, writers[names])


def _job_identity_labels(tracked: TrackedJob) -> str:
    return f'{_PROJECT}="{label_value(tracked.project)}",{_JOB_ID}="{label_value(tracked.job.job_id)}"'


def _with_copied_labels(info: Family[TrackedJob], names: Sequence[str]) -> Callable[[TrackedJob], str]:
    def write(tracked: TrackedJob) -> str:
        samples = () if info.samples is None else info.samples(tracked)
        values = next((values for values, _ in samples), {})
        return ",".join([_job_identity_labels(tracked), labels((name, values.get(name, "")) for name in names)])

    return write
