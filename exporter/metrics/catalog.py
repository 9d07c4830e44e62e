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
    """Families that are read together: a chapter of the reference."""

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
            "One set for each active job, and for each finished one until the retention is over. "
            "A filter of the settings can hide a job's own series; the counts by project still include it."
        ),
        families=JOB_FAMILIES,
    ),
    Group(
        title="Tasks",
        about="One set for each task of a job that holds nodes, only with `metrics.per_task: true`.",
        families=TASK_FAMILIES,
    ),
    Group(
        title="Projects: jobs counted",
        about=(
            "Counters start at zero with the exporter. They stay while the jobs' series are withdrawn, "
            "because what was counted has not become untrue."
        ),
        families=project.FAMILIES,
    ),
    Group(
        title="Projects: what waits, what is held, what was used",
        about=(
            "From the cloud's own times, so that neither the interval of the polls nor a restart changes a total; "
            "[accounting](accounting.md) explains each number and its error bounds. What happened before the "
            "exporter's first look never counts."
        ),
        families=accounting.FAMILIES,
    ),
    Group(
        title="Pools",
        about=(
            "One set for each dedicated pool; the public pool belongs to nobody and has none. Off where the API "
            "refuses to list pools, and then `modelarts_collector_enabled` is 0. Withdrawn like jobs when no answer "
            "came for `collection.stale_after`. A `pools` filter of the target narrows them."
        ),
        families=POOL_FAMILIES,
    ),
    Group(
        title="Projects: quotas",
        about="Asked with the pools, and off where they are.",
        families=QUOTA_FAMILIES,
    ),
    Group(
        title="Projects: is the data good?",
        about="Read these before trusting the rest: whether each poll succeeds, and how old its result is.",
        families=LIVE_FAMILIES,
    ),
    Group(
        title="The exporter itself",
        about="How much and how well it asks the cloud, what refused it, what it did not understand, what it serves.",
        families=SELF_METRIC_FAMILIES,
    ),
)

FAMILIES: tuple[Family[Any], ...] = tuple(family for group in GROUPS for family in group.families)


def index(families: Iterable[Family[Any]]) -> Mapping[str, Family[Any]]:
    """Families by every name under which a query can find their samples (`_bucket` and the like included).

    Raises ValueError when two families would meet under one name, or a family has a label twice: once of its own
    and once from the identity of its subject.
    """
    found: dict[str, Family[Any]] = {}
    taken: set[str] = set()
    for family in families:
        names = {family.name, family.exposed_name, *family.sample_names}
        if taken & names:
            raise ValueError(f"{family.name}: another family has the name {min(taken & names)}")
        taken |= names
        if {label.name for label in family.labels} & {label.name for label in IDENTITY_LABELS[family.subject]}:
            raise ValueError(f"{family.name}: a label of its own is also an identity label of its subject")
        found.update(dict.fromkeys((family.exposed_name, *family.sample_names), family))
    return MappingProxyType(found)


_INDEX = index(FAMILIES)


def by_exposed_name(name: str) -> Family[Any]:
    """Find the family by the name a query uses; of a histogram also by `_bucket`, `_count` and `_sum`.

    Raises KeyError when no family has that name.
    """
    if name not in _INDEX:
        raise KeyError(f"{name}: no family in exporter/metrics/families has this name")
    return _INDEX[name]
