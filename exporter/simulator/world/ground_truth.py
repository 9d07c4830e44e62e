"""The truth that a client's accounting can be held against: counts and accelerator seconds, kept by the world."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from exporter.simulator.world.job import Job, JobState
from exporter.simulator.world.usage import MINUTE_S, idle_minutes, idle_s

IDLE_GRACE_S = 600.0
"""How long accelerators must idle at a stretch before the sampled idle seconds count it, all of it."""

_STATUS = {JobState.CREATE_FAILED: "failed"}


def status(state: JobState) -> str:
    """The word the books use for an end: completed, failed, terminated or lost."""
    return _STATUS.get(state, state.value)


@dataclass(slots=True, kw_only=True)
class Totals:
    """What the books say at one moment. Seconds of accelerators are keyed by (pool, user, accelerator)."""

    submitted: Counter[str] = field(default_factory=Counter)
    """By pool."""
    started: Counter[str] = field(default_factory=Counter)
    """By pool; a job starts once, however often it recovers."""
    finished: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (pool, status); statuses are completed, failed, terminated, lost."""
    recoveries: Counter[str] = field(default_factory=Counter)
    """By policy."""
    held_s: dict[tuple[str, str, str], float] = field(default_factory=lambda: defaultdict(float))
    """Accelerator seconds from start to end, by the nodes that were there at the time."""
    idle_s: dict[tuple[str, str, str], float] = field(default_factory=lambda: defaultdict(float))
    """Accelerator seconds of these in which the accelerators idled."""
    sampled_idle_s: dict[tuple[str, str, str], float] = field(default_factory=lambda: defaultdict(float))
    """What of it the cloud's own samples can tell: whole sampled minutes, in stretches longer than the grace."""
    lost_s: dict[tuple[str, str, str], float] = field(default_factory=lambda: defaultdict(float))
    """Accelerator seconds of runs that ended failed or lost."""
    queue_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By pool: from submission to first start, one entry a started job."""
    run_s: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """By (pool, status): from start to end, one entry a job that had started."""

    def add(self, other: "Totals") -> None:
        """Add another total to this one."""
        self.submitted.update(other.submitted)
        self.started.update(other.started)
        self.finished.update(other.finished)
        self.recoveries.update(other.recoveries)
        for mine, theirs in (
            (self.held_s, other.held_s),
            (self.idle_s, other.idle_s),
            (self.sampled_idle_s, other.sampled_idle_s),
            (self.lost_s, other.lost_s),
        ):
            for key, seconds in theirs.items():
                mine[key] = mine.get(key, 0.0) + seconds
        for pool, waits in other.queue_s.items():
            self.queue_s.setdefault(pool, []).extend(waits)
        for pair, runs in other.run_s.items():
            self.run_s.setdefault(pair, []).extend(runs)


@dataclass(slots=True, kw_only=True)
class Ledger:
    """The books of one project. What happened before `opened_at` is history, and not in them."""

    opened_at: float
    totals: Totals = field(default_factory=Totals)
    _settled: dict[str, float] = field(default_factory=dict)

    def submit(self, job: Job, at: float) -> None:
        """Write down a submission."""
        if at >= self.opened_at:
            self.totals.submitted[job.pool] += 1

    def start(self, job: Job, at: float) -> None:
        """Write down a first start."""
        if at >= self.opened_at:
            self.totals.started[job.pool] += 1
            self.totals.queue_s[job.pool].append(at - job.submitted_at)

    def recover(self, policy: str, at: float) -> None:
        """Write down a recovery."""
        if at >= self.opened_at:
            self.totals.recoveries[policy] += 1

    def finish(self, job: Job, at: float) -> None:
        """Write down an end, and settle the accelerator seconds."""
        if at < self.opened_at:
            return
        word = status(job.state)
        self.totals.finished[job.pool, word] += 1
        if job.started_at is not None:
            self.totals.run_s[job.pool, word].append(job.duration_s(at))
        self._settle(self.totals, job, at)
        if job.state is JobState.LOST:
            self._settled[job.id] = at  # it may come back

    def drop(self, job: Job, at: float) -> None:
        """Settle a job that was deleted while it ran."""
        self._settled.pop(job.id, None)
        if not job.state.finished:
            self._settle(self.totals, job, at)

    def read(self, running: Iterable[Job], at: float) -> Totals:
        """Return the totals with what the unfinished jobs have used up to now."""
        totals = Totals()
        totals.add(self.totals)
        for job in running:
            self._settle(totals, job, at)
        return totals

    def _settle(self, totals: Totals, job: Job, at: float) -> None:
        since = max(self.opened_at, self._settled.get(job.id, self.opened_at))
        key = (job.pool, job.user, job.flavor.accelerator)
        held = held_s(job, since=since, until=at)
        if not held:
            return
        totals.held_s[key] += held
        if idle := _idle_s(job, since=since, until=at):
            totals.idle_s[key] += idle
        if idle := _sampled_idle_s(job, since=since, until=at):
            totals.sampled_idle_s[key] += idle
        if job.state in {JobState.FAILED, JobState.LOST}:
            totals.lost_s[key] += held


def held_s(job: Job, *, since: float, until: float) -> float:
    """Accelerator seconds that the job held between two moments."""
    total = 0.0
    steps = [*job.node_counts, (until, 0)]
    for (begin, nodes), (end, _) in pairwise(steps):
        total += max(0.0, min(end, until) - max(begin, since)) * job.accelerators_at(nodes)
    return total


def _sampled_idle_s(job: Job, *, since: float, until: float) -> float:
    total = pending = 0.0
    stretch = 0
    if not idle_s(job, until):
        return total
    for minute, idle in idle_minutes(job, until):
        if not idle:
            stretch, pending = 0, 0.0
            continue
        stretch += 1
        begin = (job.started_at or 0.0) + minute * MINUTE_S
        pending += held_s(job, since=max(since, begin), until=min(until, begin + MINUTE_S))
        if stretch * MINUTE_S > IDLE_GRACE_S:
            total, pending = total + pending, 0.0
    return total


def _idle_s(job: Job, *, since: float, until: float) -> float:
    before = idle_s(job, since) if job.started_at is not None and job.started_at < since and not job.series else 0.0
    return max(0.0, idle_s(job, until) - before) * job.accelerators
