"""A snapshot as exposition text: what did not change since the last one is not written again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from exporter.domain.pool import Pool
from exporter.domain.snapshot import ProjectSnapshot, Snapshot, TrackedJob
from exporter.metrics.exposition.family import Family, Type
from exporter.metrics.exposition.labels import JOB_ID, POOL_ID, PROJECT
from exporter.metrics.exposition.limit import Detail, Weight, shares
from exporter.metrics.exposition.table import Column, Table
from exporter.metrics.exposition.text import head_openmetrics, head_text, label_value, labels, replace_surrogates

_PROJECT, _JOB_ID = PROJECT.name, JOB_ID.name


@dataclass(frozen=True, slots=True)
class Block:
    """One family with at least one sample. The body serves both formats, and every snapshot it does not change in."""

    head_text: bytes
    head_openmetrics: bytes
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A whole snapshot, written. Mappings are by project."""

    blocks: tuple[Block, ...] = ()
    series: Mapping[str, int]
    """Sample lines, aggregates included."""
    dropped: Mapping[str, int]
    """Sample lines left out to stay within the limit."""
    failed: int
    """What could not be written: a family that raised for a subject, repeated labels, a job told twice."""

    @property
    def text(self) -> bytes:
        """The body in text 0.0.4."""
        return b"".join([part for block in self.blocks for part in (block.head_text, block.body)])

    @property
    def openmetrics(self) -> bytes:
        """The body in OpenMetrics 1.0, without the end marker."""
        return b"".join([part for block in self.blocks for part in (block.head_openmetrics, block.body)])


def project_identity(snapshot: ProjectSnapshot) -> str:
    """Write the labels that precede a project family's own."""
    return labels(((PROJECT.name, snapshot.project),))


def _pool_identity(pool: Pool) -> str:
    return labels(((PROJECT.name, pool.project), (POOL_ID.name, pool.pool_id)))


class Headers:
    """The headers of families, written once."""

    def __init__(self, families: Iterable[Family[Any]]) -> None:
        self._heads = [(head_text(family).encode(), head_openmetrics(family).encode()) for family in families]

    def blocks(self, bodies: Iterable[bytes]) -> tuple[Block, ...]:
        """Put each body under its family's headers; families without samples are left out entirely."""
        return tuple(Block(*head, body) for head, body in zip(self._heads, bodies, strict=True) if body)


@dataclass(frozen=True, slots=True)
class _Truncated:
    """A job that was not shown whole last time."""

    weight: Weight
    share: Detail
    shown: TrackedJob | None
    """What the job table held in its place."""


_ByProject = Sequence[Sequence[TrackedJob]]


@dataclass(frozen=True, slots=True)
class Listed:
    """What of a snapshot is rendered; `jobs` in the order of `projects`."""

    projects: Sequence[ProjectSnapshot]
    jobs: _ByProject
    repeated: int


class Renderer:
    """Turns snapshots into text, remembering the last one.

    `job_labels` names labels of the job families' info that every other job series carries too, after the identity
    labels; a family that has such a label of its own keeps its own. Raises ValueError for one that no info has.
    Beyond `max_series_per_project` series are left out in the order that `limit.shares` tells; aggregates and pools
    never are.
    Not for use by two threads at a time.
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
        self._projects = Table([Column(family, project_identity) for family in project_families])
        self._pools = Table([Column(family, _pool_identity) for family in pool_families])
        self._heads = Headers(self.families)
        self._limit = max_series_per_project
        self._cuts: dict[int, _Truncated] = {}

    def render(self, snapshot: Snapshot) -> Rendered:
        """Write a snapshot. The result depends on it alone, never on what was rendered before."""
        shown = listed(snapshot)
        aggregates = self._update_aggregates(shown.projects)
        of_jobs, dropped = self._update_jobs(shown.jobs, room=[self._limit - series for series in aggregates])
        names = [project.project for project in shown.projects]
        tables = (self._jobs, self._tasks, self._projects, self._pools)
        return Rendered(
            blocks=self._heads.blocks([body for table in tables for body in table.bodies]),
            series={name: sum(self_metrics) for name, *self_metrics in zip(names, aggregates, of_jobs, strict=True)},
            dropped=dict(zip(names, dropped, strict=True)),
            failed=shown.repeated + sum(table.refused for table in tables),
        )

    def _update_aggregates(self, projects: Sequence[ProjectSnapshot]) -> list[int]:
        """Bring the tables of projects and pools up to date; their series by project."""
        self._projects.update(projects)
        pools = [list((project.pools or {}).values()) for project in projects]
        self._pools.update([pool for self_metrics in pools for pool in self_metrics])
        of_pools = iter(self._pools.series)
        return [
            self_metrics + sum(islice(of_pools, len(theirs)))
            for self_metrics, theirs in zip(self._projects.series, pools, strict=True)
        ]

    def _update_jobs(self, jobs: _ByProject, *, room: Sequence[int]) -> tuple[list[int], list[int]]:
        """Bring the tables of jobs and tasks up to date; series shown and series dropped, by project."""
        cuts = self._cuts
        shown = self._show(jobs, cuts)  # what was cut stays cut for now: its weight is known without writing it again
        if not cuts and all(series <= most for series, most in zip(shown, room, strict=True)):
            return shown, [0] * len(jobs)
        weights = self._weights(jobs)
        self._cuts = {}
        for self_metrics, most in zip(weights, room, strict=True):
            for weight, share in zip(
                self_metrics, shares(self_metrics, room=most, without_usage=self._without_usage), strict=True
            ):
                if share is not Detail.WHOLE:
                    self._cuts[id(weight.tracked)] = _cut(weight, share, before=cuts.get(id(weight.tracked)))
        shown = self._show(jobs, self._cuts)
        whole = [sum(weight.whole for weight in self_metrics) for self_metrics in weights]
        return shown, [had - has for had, has in zip(whole, shown, strict=True)]

    def _show(self, jobs: _ByProject, cuts: Mapping[int, _Truncated]) -> list[int]:
        """Fill both tables with what the cuts leave; series by project."""
        if not self._per_task:
            kept: _ByProject = [()] * len(jobs)
        else:
            kept = [[job for job in self_metrics if id(job) not in cuts] for self_metrics in jobs] if cuts else jobs
        left = (
            [[job for job in _left(self_metrics, cuts) if job is not None] for self_metrics in jobs] if cuts else jobs
        )
        totals = [0] * len(jobs)
        for table, shown in ((self._jobs, left), (self._tasks, kept)):
            table.update([job for self_metrics in shown for job in self_metrics])
            at = 0
            for project, self_metrics in enumerate(shown):
                totals[project] += sum(table.series[at : at + len(self_metrics)])
                at += len(self_metrics)
        return totals

    def _weights(self, jobs: _ByProject) -> list[list[Weight]]:
        self_metrics, tasks = self._jobs.weights(), self._tasks.weights()

        def weight(job: TrackedJob) -> Weight:
            cut = self._cuts.get(id(job))
            return Weight(job, self_metrics[id(job)], tasks.get(id(job), 0)) if cut is None else cut.weight

        return [[weight(job) for job in listed] for listed in jobs]

    def _without_usage(self, job: TrackedJob) -> int:
        return self._jobs.weigh(replace(job, usage=None))


def _left(jobs: Iterable[TrackedJob], cuts: Mapping[int, _Truncated]) -> Iterable[TrackedJob | None]:
    for job in jobs:
        cut = cuts.get(id(job))
        yield job if cut is None else cut.shown


def _cut(weight: Weight, share: Detail, *, before: _Truncated | None) -> _Truncated:
    if before is not None and before.share is share:
        return before  # the same stand-in, so that its rows stay as they are
    match share:
        case Detail.NONE:
            shown = None
        case Detail.WITHOUT_USAGE:
            shown = replace(weight.tracked, usage=None)
        case _:
            shown = weight.tracked
    return _Truncated(weight, share, shown)


def listed_projects(snapshot: Snapshot) -> Sequence[ProjectSnapshot]:
    """Take each project once."""
    projects: dict[str, ProjectSnapshot] = {}
    for project in snapshot.projects:
        projects.setdefault(replace_surrogates(project.project), project)
    return list(projects.values())


def listed(snapshot: Snapshot) -> Listed:
    """Take each project and each job once: a second one would repeat every series of the first."""
    kept = listed_projects(snapshot)
    repeated = len(snapshot.projects) - len(kept)
    jobs = [[job for job in (project.jobs or {}).values() if job.shown] for project in kept]
    if _plainly_unlike(kept, jobs):
        return Listed(kept, jobs, repeated)
    seen: set[tuple[str, str]] = set()
    once: list[list[TrackedJob]] = []
    for self_metrics in jobs:
        once.append([])
        for job in self_metrics:
            key = (replace_surrogates(job.project), replace_surrogates(job.job.job_id))
            if key in seen:
                repeated += 1
            else:
                seen.add(key)
                once[-1].append(job)
    return Listed(kept, once, repeated)


def _plainly_unlike(projects: Sequence[ProjectSnapshot], jobs: _ByProject) -> bool:
    """Whether no two jobs can look alike, without looking at each: as it always is, short of a defect of ours."""
    for project, self_metrics in zip(projects, jobs, strict=True):
        ids = {job.job.job_id for job in self_metrics}
        together = "".join(ids)
        unlike = len(ids) == len(self_metrics) and together == replace_surrogates(together)
        if not unlike or any(job.project != project.project for job in self_metrics):
            return False
    return True


def job_columns(
    families: Iterable[Family[TrackedJob]], *, info: Family[TrackedJob] | None, copied: Sequence[str]
) -> Iterable[Column[TrackedJob]]:
    """Give each family the labels that precede its own; families of the same labels share one function.

    `copied` names labels of `info` that every other family carries too, unless it has such a label of its own.
    """
    made: dict[tuple[str, ...], Callable[[TrackedJob], str]] = {}
    for family in families:
        self_metrics = {label.name for label in family.labels}
        names = () if family is info else tuple(name for name in copied if name not in self_metrics)
        if names not in made:
            made[names] = _job_identity(info, names) if info is not None and names else _job_identity_alone
        yield Column(family, made[names])


def _job_identity_alone(tracked: TrackedJob) -> str:
    return f'{_PROJECT}="{label_value(tracked.project)}",{_JOB_ID}="{label_value(tracked.job.job_id)}"'


def _job_identity(info: Family[TrackedJob], names: Sequence[str]) -> Callable[[TrackedJob], str]:
    def identity(tracked: TrackedJob) -> str:
        told = (
            next((self_metrics for self_metrics, _ in info.samples(tracked)), {}) if info.samples is not None else {}
        )
        return ",".join([_job_identity_alone(tracked), labels((name, told.get(name, "")) for name in names)])

    return identity
