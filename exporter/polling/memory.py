"""What a project must remember across a restart or a change of its settings, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from exporter.domain.job import Accelerator, Job, JobStatus


class IdleMemory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How far a job's minutes have been judged. A negative minute lies before the start."""

    settled: int = -1
    """The first minute that has not been judged."""
    streak: int = 0
    """Idle minutes in a row before it."""
    pending_s: float = 0.0
    """Accelerator seconds of these that do not count yet, because the stretch is not longer than the grace."""


class AccountMemory(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """What was counted of one job's waiting, running and holding.

    Not frozen: an account keeps its figures in one and hands out copies, which cost a tenth of making one anew.
    """

    since_s: float | None = None
    """What the run used before this many seconds of it is history; None: to be set when it is first told."""
    past: bool = False
    """It had ended before the first look: nothing of it counts."""
    waited: bool = False
    """Its wait was observed, or lies before the first look."""
    ran: bool = False
    """The length of its run was observed, likewise."""
    nameless_looks: int = 0
    """Looks so far that did not know its user."""
    held_s: float = 0.0
    lost_s: float = 0.0
    recoveries: dict[str, int] | None = None
    """By policy, as far as they are counted; None: not told yet."""
    idle: IdleMemory | None = None
    """None: nothing to judge, or judged to the end."""
    idle_over: bool = False
    """Its last minutes have been judged."""


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
    account: AccountMemory | None = None
    """None: an exporter that kept no accounts remembered it; what it had used by then does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerMemory:
    """One source's ledger."""

    seeded: bool = False
    swept: bool = False
    watermark: float = 0.0
    seen: Mapping[str, float | None] = field(default_factory=dict)
    """Submission times of accounted jobs above the watermark; None: the cloud tells none."""
    lost: Mapping[str, float] = field(default_factory=dict)
    """Jobs that were dropped because they were gone, and when: one that turns up again has been counted."""
    incomplete: tuple[str, ...] = ()
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
class WaitCount:
    """How long jobs of one pool waited; counts by bucket, the last one beyond all bounds."""

    pool_id: str
    counts: tuple[int, ...]
    sum_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCount:
    """How long jobs of one pool ran that ended alike; as above."""

    pool_id: str
    status: JobStatus
    counts: tuple[int, ...]
    sum_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedCount:
    """Accelerator seconds of one user in one pool, with one kind of accelerator."""

    pool_id: str
    user: str
    accelerator: Accelerator | None
    held_s: float
    idle_s: float
    lost_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsMemory:
    """Totals of one project."""

    submitted: Mapping[str, int] = field(default_factory=dict)
    started: Mapping[str, int] = field(default_factory=dict)
    finished: tuple[FinishedCount, ...] = ()
    waits: tuple[WaitCount, ...] = ()
    runs: tuple[RunCount, ...] = ()
    used: tuple[UsedCount, ...] = ()
    """The order tells who came first: it decides who has series of their own."""
    recoveries: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectMemory:
    """Everything one project remembers."""

    origin: str
    """Which project of which cloud the ledgers are about; under another one only the totals are taken over."""
    counts: CountsMemory = field(default_factory=CountsMemory)
    ledgers: Mapping[str, LedgerMemory] = field(default_factory=dict)
    """By API generation."""
