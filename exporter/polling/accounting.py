"""What is counted of waiting, running and holding: one job's account, and the totals of its project."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass

from exporter.domain.accounting import (
    QUEUE_BUCKETS_S,
    RUN_BUCKETS_S,
    RUN_STATUSES,
    Distribution,
    Holder,
    accelerator_seconds,
)
from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.snapshot import Totals
from exporter.domain.usage import MINUTE_S
from exporter.polling.idle import IdleMeter
from exporter.polling.memory import AccountMemory, CountsMemory, RunCount, UsedCount, WaitCount

OTHER = "_other"
"""The user under whom those are counted who came when every place was taken."""


@dataclass(slots=True)
class Used:
    """Accelerator seconds of one holder."""

    held_s: float = 0.0
    idle_s: float = 0.0
    lost_s: float = 0.0

    def add(self, other: "Used") -> None:
        """Count more."""
        self.held_s += other.held_s
        self.idle_s += other.idle_s
        self.lost_s += other.lost_s


class Accounts:
    """Totals of one project, over all its sources; they only ever grow.

    `max_users` have series of their own: whoever comes first, and of those who come in one poll whoever held most.
    The others share one. Nobody's seconds ever move from one series to another, because that would read as if they
    had been used again (ADR 0006).
    """

    def __init__(self, *, max_users: int) -> None:
        self._max_users = max_users
        self._waits: dict[str, Distribution] = {}
        self._runs: dict[tuple[str, JobStatus], Distribution] = {}
        self._used: dict[Holder, Used] = {}
        self._coming: dict[Holder, Used] = {}
        """Holders whose user has no place yet."""
        self._users: set[str] = {"", OTHER}
        """Those who have one; the nameless and the others take none away."""
        self._recoveries: Counter[str] = Counter()

    def observe_pool(self, pool_id: str) -> None:
        """Give a pool its empty distributions, so that the first length observed is an increase."""
        if pool_id in self._waits:
            return
        self._waits[pool_id] = Distribution.empty(QUEUE_BUCKETS_S)
        for status in RUN_STATUSES:
            self._runs[pool_id, status] = Distribution.empty(RUN_BUCKETS_S)

    def observe_wait(self, pool_id: str, wait_s: float) -> None:
        """Count how long a job waited."""
        self.observe_pool(pool_id)
        self._waits[pool_id] = self._waits[pool_id].with_one(wait_s)

    def observe_run(self, pool_id: str, status: JobStatus, run_s: float) -> None:
        """Count how long a job ran that ended so; one of `RUN_STATUSES`."""
        self.observe_pool(pool_id)
        self._runs[pool_id, status] = self._runs[pool_id, status].with_one(run_s)

    def use(self, holder: Holder, used: Used) -> None:
        """Count accelerator seconds; nothing used yet gives a new holder its zeros."""
        books = self._used if holder.user in self._users else self._coming
        books.setdefault(holder, Used()).add(used)

    def recovered(self, policy: str, times: int) -> None:
        """Count recoveries; 0 gives a policy its zero."""
        self._recoveries[policy] += times

    def freeze(self, totals: Totals, *, mask_user: Callable[[str], str]) -> Totals:
        """Complete the totals by what was counted here; `veil` gives the name under which a user is shown."""
        self._seat()
        shown: defaultdict[Holder, Used] = defaultdict(Used)
        for holder, used in self._used.items():
            name = holder.user if holder.user == OTHER else mask_user(holder.user)
            shown[holder._replace(user=name)].add(used)
        return Totals(
            submitted=totals.submitted,
            started=totals.started,
            finished=totals.finished,
            waits=dict(self._waits),
            runs=dict(self._runs),
            held_s={holder: used.held_s for holder, used in shown.items()},
            idle_s={holder: used.idle_s for holder, used in shown.items()},
            lost_s={holder: used.lost_s for holder, used in shown.items()},
            recoveries=dict(self._recoveries),
        )

    def dump(self, counts: CountsMemory) -> CountsMemory:
        """Complete what is remembered of the project by what was counted here."""
        self._seat()
        return CountsMemory(
            submitted=counts.submitted,
            started=counts.started,
            finished=counts.finished,
            waits=tuple(
                WaitCount(pool_id=pool_id, counts=tuple(told.counts), sum_s=told.sum_s)
                for pool_id, told in self._waits.items()
            ),
            runs=tuple(
                RunCount(pool_id=pool_id, status=status, counts=tuple(told.counts), sum_s=told.sum_s)
                for (pool_id, status), told in self._runs.items()
            ),
            used=tuple(
                UsedCount(
                    pool_id=holder.pool_id,
                    user=holder.user,
                    accelerator=holder.accelerator,
                    held_s=used.held_s,
                    idle_s=used.idle_s,
                    lost_s=used.lost_s,
                )
                for holder, used in self._used.items()
            ),
            recoveries=dict(self._recoveries),
        )

    def restore(self, memory: CountsMemory) -> None:
        """Go on from these totals. Lengths that were counted in other buckets cannot be, and begin at zero."""
        for wait in memory.waits:
            self.observe_pool(wait.pool_id)
            self._waits[wait.pool_id] = _recalled(self._waits[wait.pool_id], wait.counts, wait.sum_s)
        for run in memory.runs:
            self.observe_pool(run.pool_id)
            before = self._runs.get((run.pool_id, run.status))
            if before is not None:
                self._runs[run.pool_id, run.status] = _recalled(before, run.counts, run.sum_s)
        for told in memory.used:
            self._users.add(told.user)
            self._used[Holder(told.pool_id, told.user, told.accelerator)] = Used(
                told.held_s, told.idle_s, told.lost_s
            )
        self._recoveries.update(memory.recoveries)

    def _seat(self) -> None:
        """Decide which of the users that came since the last time have series of their own."""
        coming, self._coming = self._coming, {}
        held: defaultdict[str, float] = defaultdict(float)
        for holder, used in coming.items():
            held[holder.user] += used.held_s
        places = self._max_users + len({"", OTHER}) - len(self._users)
        self._users.update(sorted(held, key=lambda user: (-held[user], user))[: max(0, places)])
        for holder, used in coming.items():
            self.use(holder if holder.user in self._users else holder._replace(user=OTHER), used)


_PATIENCE = 10
"""Looks for which the seconds of a job wait for its user's name, where that is told by a call of its own (v1)."""


class Account:
    """One job's account: what of its waiting, running and holding has been counted.

    Everything comes from the cloud's own times, so that it does not matter when, or how often, anybody looked.
    """

    __slots__ = ("_idle", "_kept")

    def __init__(self, memory: AccountMemory) -> None:
        self._kept = copy(memory)
        self._idle = None if memory.idle is None else IdleMeter(memory.idle)

    @classmethod
    def opened(cls, job: Job, *, news: bool, started: bool) -> "Account":
        """Open the account of a job that is met for the first time.

        `news`: it was submitted since the first look, so all of it counts; else what lies behind it does not.
        """
        if news:
            return cls(AccountMemory(since_s=0.0, recoveries={}))
        return cls(
            AccountMemory(
                since_s=job.run_duration_s if started else 0.0,
                past=job.status.finished,
                waited=started,
                ran=job.status.finished,
                recoveries=None if job.recoveries is None else dict(job.recoveries),
                idle_over=job.status.finished,
            )
        )

    def dump(self) -> AccountMemory:
        """Tell it as plain values, which no later event changes."""
        if self._idle is not None:
            self._kept.idle = self._idle.dump()
        return copy(self._kept)

    def update(self, job: Job, accounts: Accounts, *, last: bool = False) -> None:
        """Take in what a look says of the job, and count what is new; `last`: nothing more will be told of it."""
        if self._kept.past:
            if job.status.finished:
                return
            self._kept.past, self._kept.since_s = False, job.run_duration_s  # it was lost, and has come back
        if not self._kept.waited and job.queue_duration_s is not None:
            self._kept.waited = True
            accounts.observe_wait(job.pool_id, job.queue_duration_s)
        if not self._kept.ran and job.status in RUN_STATUSES and job.run_duration_s is not None:
            self._kept.ran = True
            accounts.observe_run(job.pool_id, job.status, job.run_duration_s)
        self._recover(job, accounts)
        self._kept.nameless_looks += not job.user
        if last or not self._awaits_user(job):
            self._hold(job, accounts)  # all that was held so far: waiting for the name loses nothing

    def has_unread_samples(self, job: Job) -> bool:
        """Whether the job has ended, and its last minutes have not been judged yet."""
        return not self._kept.idle_over and not self._kept.past and job.status.finished and _holder(job) is not None

    def read(
        self, job: Job, task: str, samples: Sequence[float | None] | None, *, run_s: float, threshold: float
    ) -> None:
        """Take in one task's minutes of accelerator utilisation; None when it has none. See `IdleMeter.read`."""
        if self._kept.idle_over or self._kept.past or _holder(job) is None:
            return
        if self._idle is None:
            self._idle = IdleMeter()
        self._idle.read(task, samples, run_s=run_s, threshold=threshold)

    def judge(self, job: Job, tasks: Iterable[str], accounts: Accounts, *, grace_s: float, over: bool) -> None:
        """Count what idled in the minutes that all tasks have told of; `over`: no more will come, so judge all."""
        holder = _holder(job)
        if self._awaits_user(job) and not over:
            return
        if self._idle is not None and holder is not None:
            idle_s = self._idle.settle(
                None if over else tasks, held_s=lambda at: self._held_in(job, at), grace_s=grace_s
            )
            if idle_s:
                accounts.use(holder, Used(idle_s=idle_s))
        if over:
            self._idle, self._kept.idle, self._kept.idle_over = None, None, True

    def _awaits_user(self, job: Job) -> bool:
        return not job.user and job.api is Api.V1 and self._kept.nameless_looks <= _PATIENCE

    def _held_in(self, job: Job, minute: int) -> float:
        since_s = max(minute * MINUTE_S, self._kept.since_s or 0.0)
        return accelerator_seconds(job, since_s=since_s, until_s=(minute + 1) * MINUTE_S) or 0.0

    def _hold(self, job: Job, accounts: Accounts) -> None:
        if self._kept.since_s is None:
            self._kept.since_s = job.run_duration_s
        holder = _holder(job)
        if holder is None or self._kept.since_s is None:
            return
        held_s = accelerator_seconds(job, since_s=self._kept.since_s)
        used = Used()
        if (
            held_s is not None and held_s > self._kept.held_s
        ):  # the cloud may take back a little: a counter never does
            used.held_s, self._kept.held_s = held_s - self._kept.held_s, held_s
        if job.status.failure and self._kept.held_s > self._kept.lost_s:
            used.lost_s, self._kept.lost_s = self._kept.held_s - self._kept.lost_s, self._kept.held_s
        accounts.use(holder, used)

    def _recover(self, job: Job, accounts: Accounts) -> None:
        if job.recoveries is None:
            return
        if self._kept.recoveries is None:
            self._kept.recoveries = dict(job.recoveries)
        for policy, times in job.recoveries.items():
            more = times - self._kept.recoveries.get(policy, 0)
            accounts.recovered(policy, max(0, more))
            if more > 0:
                self._kept.recoveries = {**self._kept.recoveries, policy: times}


def _holder(job: Job) -> Holder | None:
    """Under whom its accelerators count; None for a job that has none, or of which nobody tells how many."""
    if job.accelerator is Accelerator.CPU or not job.spec_accelerators:
        return None
    return Holder(job.pool_id, job.user, job.accelerator)


def _recalled(empty: Distribution, counts: Sequence[int], sum_s: float) -> Distribution:
    if len(counts) != len(empty.counts):
        return empty
    return Distribution(bounds_s=empty.bounds_s, counts=tuple(counts), sum_s=sum_s)
