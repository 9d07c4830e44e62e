"""Every family once, in reading order. Reference, tests, dashboards and alerts read this."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from exporter.domain.snapshot import ProjectSnapshot, TrackedJob
from exporter.metrics.exposition.family import Family
from exporter.metrics.exposition.labels import IDENTITY
from exporter.metrics.families import job, usage
from exporter.metrics.families.accounting import ACCOUNTING_FAMILIES
from exporter.metrics.families.live import LIVE_FAMILIES
from exporter.metrics.families.pool import POOL_FAMILIES, QUOTA_FAMILIES
from exporter.metrics.families.project import COUNT_FAMILIES
from exporter.metrics.families.self_metrics import OWN_FAMILIES
from exporter.metrics.families.usage import TASK_FAMILIES

__all__ = [
    "FAMILIES",
    "GROUPS",
    "JOB_FAMILIES",
    "LIVE_FAMILIES",
    "OWN_FAMILIES",
    "POOL_FAMILIES",
    "PROJECT_FAMILIES",
    "QUOTA_FAMILIES",
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


JOB_FAMILIES: tuple[Family[TrackedJob], ...] = (
    job.INFO,
    job.STATUS,
    job.STATUS_REASON,
    job.SUBMITTED,
    job.START,
    job.END,
    job.QUEUE_DURATION,
    job.RUN_DURATION,
    job.SPEC_NODES,
    job.STATUS_NODES,
    job.SPEC_ACCELERATORS,
    job.STATUS_ACCELERATORS,
    usage.CPU_UTILIZATION,
    usage.MEMORY_UTILIZATION,
    usage.ACCELERATOR_UTILIZATION,
    usage.ACCELERATOR_UTILIZATION_MIN,
    usage.ACCELERATOR_MEMORY_UTILIZATION,
    usage.ACCELERATOR_UTILIZATION_MEAN,
    usage.DISK_READ,
    usage.DISK_WRITTEN,
    usage.NETWORK_RECEIVED,
    usage.NETWORK_TRANSMITTED,
    usage.IDLE,
    usage.FLAT,
    usage.SUSPECTED_HANG,
    job.QUALITY,
    job.RECOVERIES,
    job.DEGRADED_RECOVERIES,
    job.FAULTS,
    job.LAST_RECOVERY,
    job.CRASH_LOOP_RUNS,
    job.TASK_EXIT_CODE,
)
"""Rendered for each job that is shown, when it changed."""

PROJECT_FAMILIES: tuple[Family[ProjectSnapshot], ...] = (*COUNT_FAMILIES, *ACCOUNTING_FAMILIES)
"""Rendered for each project at publish."""

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
        families=COUNT_FAMILIES,
    ),
    Group(
        title="Projects: what waits, what is held, what was used",
        about=(
            "From the cloud's own times, so that neither the interval of the polls nor a restart changes a total; "
            "[accounting](accounting.md) explains each number and its error bounds. What happened before the "
            "exporter's first look never counts."
        ),
        families=ACCOUNTING_FAMILIES,
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
        families=OWN_FAMILIES,
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
        if {label.name for label in family.labels} & {label.name for label in IDENTITY[family.subject]}:
            raise ValueError(f"{family.name}: a label of its own is also an identity label of its subject")
        found.update(dict.fromkeys((family.exposed_name, *family.sample_names), family))
    return MappingProxyType(found)


_INDEX = index(FAMILIES)


def by_exposed_name(name: str) -> Family[Any]:
    """Find the family by the name a query uses; of a histogram also by `_bucket`, `_count` and `_sum`.

    Raises KeyError when the catalogue has no such name.
    """
    return _INDEX[name]
