"""The catalogue: every family once, in the order of the documentation. Docs, tests, dashboards and alerts read it.

A family belongs in the `FAMILIES` of its module; this module collects those and groups them for the documentation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from exporter.domain.pool import Pool
from exporter.domain.snapshot import ProjectSnapshot, TrackedJob
from exporter.metrics.exposition.family import Family
from exporter.metrics.exposition.labels import IDENTITY_LABELS
from exporter.metrics.families import accounting, job, live, pool, project, self_metrics, usage

__all__ = [
    "FAMILIES",
    "GROUPS",
    "JOB_FAMILIES",
    "LIVE_FAMILIES",
    "POOL_FAMILIES",
    "PROJECT_FAMILIES",
    "QUOTA_FAMILIES",
    "SELF_METRIC_FAMILIES",
    "TASK_FAMILIES",
    "Group",
    "by_exposed_name",
    "index",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Families that belong together: a section of the documentation."""

    title: str
    about: str
    families: tuple[Family[Any], ...]


JOB_FAMILIES: tuple[Family[TrackedJob], ...] = (*job.FAMILIES, *usage.FAMILIES)
TASK_FAMILIES: tuple[Family[TrackedJob], ...] = usage.TASK_FAMILIES
"""Rendered only with `metrics.per_task`."""
PROJECT_FAMILIES: tuple[Family[ProjectSnapshot], ...] = (*project.FAMILIES, *accounting.FAMILIES)
POOL_FAMILIES: tuple[Family[Pool], ...] = pool.FAMILIES
QUOTA_FAMILIES: tuple[Family[ProjectSnapshot], ...] = pool.QUOTA_FAMILIES
LIVE_FAMILIES: tuple[Family[ProjectSnapshot], ...] = live.FAMILIES
"""Computed at each scrape."""
SELF_METRIC_FAMILIES: tuple[Family[None], ...] = self_metrics.FAMILIES
"""Instruments of `SelfMetrics`; nothing renders them from a snapshot."""

GROUPS: tuple[Group, ...] = (
    Group(
        title="Jobs",
        about=(
            "For each active job, and for each finished job until the end of the retention period. A filter in the "
            "settings can hide the series of a job; the counts by project still include it."
        ),
        families=JOB_FAMILIES,
    ),
    Group(
        title="Tasks",
        about="For each task of a job that holds nodes; only with `metrics.per_task: true`.",
        families=TASK_FAMILIES,
    ),
    Group(
        title="Projects: job counts",
        about=(
            "Counters start at 0 with the exporter. They stay while the series of jobs are withdrawn, because past "
            "events remain true."
        ),
        families=project.FAMILIES,
    ),
    Group(
        title="Projects: queue and accelerator time",
        about=(
            "Computed from the times in the API, so that neither the poll interval nor a restart changes a total; "
            "[accounting](accounting.md) explains each number and its error bounds. Events before the first poll of "
            "the exporter are not counted."
        ),
        families=accounting.FAMILIES,
    ),
    Group(
        title="Pools",
        about=(
            "For each dedicated pool, not for the public one. Disabled when the API refuses to list pools; then "
            "`modelarts_collector_enabled` is 0. Withdrawn like jobs when no poll has succeeded for "
            "`collection.stale_after`. The `pools` filter of the target selects pools."
        ),
        families=POOL_FAMILIES,
    ),
    Group(
        title="Projects: quotas",
        about="Polled with the pools, and disabled when they are.",
        families=QUOTA_FAMILIES,
    ),
    Group(
        title="Projects: quality of the data",
        about="Check these before the others: they show whether polls succeed and how old the data is.",
        families=LIVE_FAMILIES,
    ),
    Group(
        title="The exporter",
        about="Calls to the API and their outcomes, unknown values, configuration, state and exposition.",
        families=SELF_METRIC_FAMILIES,
    ),
)

FAMILIES: tuple[Family[Any], ...] = tuple(family for group in GROUPS for family in group.families)


def index(families: Iterable[Family[Any]]) -> Mapping[str, Family[Any]]:
    """Return the families by each name that a query can use for their samples, such as `_bucket` of a histogram.

    Raises ValueError when two families have a name in common, or when a label of a family is also an identity label
    of its subject.
    """
    by_name: dict[str, Family[Any]] = {}
    taken: set[str] = set()
    for family in families:
        names = {family.name, family.exposed_name, *family.sample_names}
        if taken & names:
            raise ValueError(f"{family.name}: another family has the name {min(taken & names)}")
        taken |= names
        if {label.name for label in family.labels} & {label.name for label in IDENTITY_LABELS[family.subject]}:
            raise ValueError(f"{family.name}: one of its labels is also an identity label of its subject")
        by_name.update(dict.fromkeys((family.exposed_name, *family.sample_names), family))
    return MappingProxyType(by_name)


_INDEX = index(FAMILIES)


def by_exposed_name(name: str) -> Family[Any]:
    """Return the family by the name in a query; a histogram also by `_bucket`, `_count` and `_sum`.

    Raises KeyError when no family has that name.
    """
    if name not in _INDEX:
        raise KeyError(f"{name}: no family in exporter/metrics/families has this name")
    return _INDEX[name]
