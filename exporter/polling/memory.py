"""What a project must remember across a restart or a change of its settings, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from exporter.domain.job import Job, JobStatus


class EntryMemory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One tracked job, and what was counted about it.

    A struct, not a dataclass: one is made of every tracked job at each publication, while the event loop waits.
    """

    job: Job
    seen_at: float
    started: bool
    finished: bool
    finished_seen_at: float | None = None
    gone: bool = False
    mean_ratio: float | None = None
    """Mean accelerator utilisation over the run so far, which no later call brings back once the job has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerMemory:
    """One source's ledger."""

    seeded: bool = False
    swept: bool = False
    floor: float = 0.0
    seen: Mapping[str, float | None] = field(default_factory=dict)
    """Submission times of accounted jobs above the floor; None: the cloud tells none."""
    lost: Mapping[str, float] = field(default_factory=dict)
    """Jobs that were dropped because they were gone, and when: one that turns up again has been counted."""
    torn: tuple[str, ...] = ()
    """Jobs above a gap in the listing, at which no later one may stop."""
    looks: int = 0
    """Looks so far: a part that never answers delays the seeding for some looks only."""
    entries: tuple[EntryMemory, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedCount:
    """One of the totals of finished jobs."""

    pool_id: str
    status: JobStatus
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsMemory:
    """Totals of one project."""

    submitted: Mapping[str, int] = field(default_factory=dict)
    started: Mapping[str, int] = field(default_factory=dict)
    finished: tuple[FinishedCount, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectMemory:
    """Everything one project remembers."""

    origin: str
    """Which project of which cloud the ledgers are about; under another one only the totals are taken over."""
    counts: CountsMemory = field(default_factory=CountsMemory)
    ledgers: Mapping[str, LedgerMemory] = field(default_factory=dict)
    """By API generation."""
