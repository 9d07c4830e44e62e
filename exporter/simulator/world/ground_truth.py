"""Ground truth for a client's accounting: counts and accelerator seconds, recorded by the world itself."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from exporter.simulator.world.job import Job, JobState
from exporter.simulator.world.usage import MINUTE_S, idle_minutes, idle_s

IDLE_GRACE_S = 600.0
"""An idle period longer than this counts in the sampled idle seconds, from its beginning; a shorter one does not."""

_STATUS = {JobState.CREATE_FAILED: "failed"}


def status(state: JobState) -> str:
    """The status of an end in `Totals`: completed, failed, terminated or lost."""
    return _STATUS.get(state, state.value)


@dataclass(slots=True, kw_only=True)
class Totals:
    """The true totals at one moment. Accelerator seconds are keyed by (pool, user, accelerator)."""

    submitted: Counter[str] = field(default_factory=Counter)
    """By pool."""
    started: Counter[str] = field(default_factory=Counter)
    """By pool; a recovery is not another start."""
    finished: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (pool, status); statuses are completed, failed, terminated, lost."""
    recoveries: Counter[str] = field(default_factory=Counter)
    """By policy."""
    faults: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By (pool, scenario, result), once the recovery has ended."""
    recovery_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By policy: seconds of each successful recovery, from and to a whole second."""
    held_s: dict[tuple[str, str, str], float] = field(default_factory=lambda: defaultdict(float))
    """Accelerator seconds from start to end, by the number of nodes at the time."""
    idle_s: dict[tuple[str, str, str], float] = field(default_factory=lambda: defaultdict(float))
    """The part of `held_s` in which the accelerators idled."""
    sampled_idle_s: dict[tuple[str, str, str], float] = field(default_factory=lambda: defaultdict(float))
    """Idle seconds by the samples of the API: whole sampled minutes, in periods longer than the grace."""
    lost_s: dict[tuple[str, str, str], float] = field(default_factory=lambda: defaultdict(float))
    """Accelerator seconds of runs that ended failed or lost."""
    queue_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By pool: seconds from submission to first start, one entry for each started job."""
    run_s: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """By (pool, status): seconds from start to end, one entry for each ended job that had started."""

    def add(self, other: "Totals") -> None:
        """Add another total to this one."""
        self.submitted.update(other.submitted)
        self.started.update(other.started)
        self.finished.update(other.finished)
        self.recoveries.update(other.recoveries)
        self.faults.update(other.faults)
        for policy, times in other.recovery_s.items():
            self.recovery_s.setdefault(policy, []).extend(times)
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
    """Records the true totals of one project. Events before `opened_at` are history and are not counted."""

    opened_at: float
    totals: Totals = field(default_factory=Totals)
    _settled_until: dict[str, float] = field(default_factory=dict)

    def submit(self, job: Job, at: float) -> None:
        """Count a submission."""
        if at >= self.opened_at:
            self.totals.submitted[job.pool] += 1

    def start(self, job: Job, at: float) -> None:
        """Count a first start."""
        if at >= self.opened_at:
            self.totals.started[job.pool] += 1
            self.totals.queue_s[job.pool].append(at - job.submitted_at)

    def recover(self, policy: str, at: float) -> None:
        """Count a recovery."""
        if at >= self.opened_at:
            self.totals.recoveries[policy] += 1

    def fault(self, job: Job, scenario: str, result: str, at: float) -> None:
        """Count a fault whose recovery has ended."""
        if at >= self.opened_at:
            self.totals.faults[job.pool, scenario, result] += 1

    def recovery_time(self, policy: str, began_at: float, ended_at: float) -> None:
        """Note the length of a recovery, as the seconds of the API show it."""
        if ended_at >= self.opened_at:
            self.totals.recovery_s[policy].append(float(int(ended_at) - int(began_at)))

    def finish(self, job: Job, at: float) -> None:
        """Count an end, and add the accelerator seconds of the job."""
        if at < self.opened_at:
            return
        word = status(job.state)
        self.totals.finished[job.pool, word] += 1
        if job.started_at is not None:
            self.totals.run_s[job.pool, word].append(job.duration_s(at))
        self._add_seconds(self.totals, job, at)
        if job.state is JobState.LOST:
            self._settled_until[job.id] = at  # it may come back

    def remove(self, job: Job, at: float) -> None:
        """Add the accelerator seconds of a job that was deleted; those of an ended job are in the totals already."""
        self._settled_until.pop(job.id, None)
        if not job.state.finished:
            self._add_seconds(self.totals, job, at)

    def totals_at(self, at: float, *, unfinished: Iterable[Job]) -> Totals:
        """Return the totals, with the accelerator seconds of unfinished jobs up to that moment."""
        totals = Totals()
        totals.add(self.totals)
        for job in unfinished:
            self._add_seconds(totals, job, at)
        return totals

    def _add_seconds(self, totals: Totals, job: Job, at: float) -> None:
        since = max(self.opened_at, self._settled_until.get(job.id, self.opened_at))
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
    period = 0
    if not idle_s(job, until):
        return total
    for minute, idle in idle_minutes(job, until):
        if not idle:
            period, pending = 0, 0.0
            continue
        period += 1
        begin = (job.started_at or 0.0) + minute * MINUTE_S
        pending += held_s(job, since=max(since, begin), until=min(until, begin + MINUTE_S))
        if period * MINUTE_S > IDLE_GRACE_S:
            total, pending = total + pending, 0.0
    return total


def _idle_s(job: Job, *, since: float, until: float) -> float:
    before = idle_s(job, since) if job.started_at is not None and job.started_at < since and not job.series else 0.0
    return max(0.0, idle_s(job, until) - before) * job.accelerators
