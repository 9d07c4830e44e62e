"""Queue time, run time and accelerator seconds: the account of one job, and the totals of its project."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import replace

import msgspec

from exporter.domain import recovery
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
from exporter.domain.usage import MINUTE_S, TaskSeries
from exporter.polling.detach import detach
from exporter.polling.idle import IdleMeter, IdleState

OTHER = "_other"
"""The user that stands for all users beyond the limit."""

_NO_RECOVERY = Distribution.empty(recovery.BUCKETS_S)
_SHARED_USERS = frozenset({"", OTHER})
"""Users that do not count towards the limit."""


class Used(msgspec.Struct, gc=False):
    """Accelerator seconds of one holder."""

    holder: Holder
    held_s: float = 0.0
    idle_s: float = 0.0
    lost_s: float = 0.0

    def add(self, *, held_s: float, idle_s: float, lost_s: float) -> None:
        """Count more."""
        self.held_s += held_s
        self.idle_s += idle_s
        self.lost_s += lost_s


class AccountsState(msgspec.Struct, kw_only=True):
    """Totals of one project that survive a restart."""

    waits: dict[str, Distribution] = msgspec.field(default_factory=dict)
    """Queue times by pool."""
    runs: dict[str, dict[JobStatus, Distribution]] = msgspec.field(default_factory=dict)
    """Run times by pool and the status the job ended in."""
    used: list[Used] = msgspec.field(default_factory=list)
    """One for each holder."""
    recoveries: dict[str, int] = msgspec.field(default_factory=dict)
    """By policy."""
    faults: dict[str, dict[str, dict[str, int]]] = msgspec.field(default_factory=dict)
    """By pool, scenario and result."""
    recovery_times: dict[str, Distribution] = msgspec.field(default_factory=dict)
    """By policy."""


class Accounts:
    """Totals of one project over all its sources; they never decrease.

    The first `max_users` users have series of their own; of users first seen in the same poll, those with the most
    accelerator seconds. The others share the series of `OTHER`. Seconds never move from one series to another,
    because that would look like further use (ADR 0006).
    """

    def __init__(self, *, max_users: int) -> None:
        self._max_users = max_users
        self._state = AccountsState()
        self._used: dict[Holder, Used] = {}
        """The rows of the state, by their holders."""
        self._pending: dict[Holder, Used] = {}
        """Rows of users that have no series yet."""
        self._users = set(_SHARED_USERS)
        """Users that have series of their own."""

    def observe_pool(self, pool_id: str) -> None:
        """Give a pool empty distributions, and zeros for faults, so that increase() sees the first event in it."""
        if pool_id not in self._state.waits:
            self._state.waits[pool_id] = Distribution.empty(QUEUE_BUCKETS_S)
            self._state.runs[pool_id] = dict.fromkeys(RUN_STATUSES, Distribution.empty(RUN_BUCKETS_S))

    def observe_wait(self, pool_id: str, wait_s: float) -> None:
        """Count the queue time of a job."""
        self.observe_pool(pool_id)
        self._state.waits[pool_id] = self._state.waits[pool_id].with_one(wait_s)

    def observe_run(self, pool_id: str, status: JobStatus, run_s: float) -> None:
        """Count the run time of a job that ended in this status, one of `RUN_STATUSES`."""
        self.observe_pool(pool_id)
        self._state.runs[pool_id][status] = self._state.runs[pool_id][status].with_one(run_s)

    def use(self, holder: Holder, *, held_s: float = 0.0, idle_s: float = 0.0, lost_s: float = 0.0) -> None:
        """Count accelerator seconds. A holder that has used nothing yet gets its zeros."""
        rows = self._used if holder.user in self._users else self._pending
        used = rows.get(holder)
        if used is None:
            used = rows[holder] = Used(holder)
            if rows is self._used:
                self._state.used.append(used)
        used.add(held_s=held_s, idle_s=idle_s, lost_s=lost_s)

    def recovered(self, policy: str, times: int) -> None:
        """Count recoveries; 0 gives a policy its zero."""
        self._state.recoveries[policy] = self._state.recoveries.get(policy, 0) + times

    def failed(self, pool_id: str, scenario: str, result: str, times: int) -> None:
        """Count faults of a pool."""
        self.observe_pool(pool_id)
        results = self._state.faults.setdefault(pool_id, {}).setdefault(scenario, {})
        results[result] = results.get(result, 0) + times

    def observe_recovery(self, policy: str, lasted_s: float) -> None:
        """Count the length of a recovery."""
        times = self._state.recovery_times
        times[policy] = times.get(policy, _NO_RECOVERY).with_one(lasted_s)

    def freeze(self, totals: Totals, *, mask_user: Callable[[str], str]) -> Totals:
        """Add what was counted here to the totals. `mask_user` gives the name under which a user is exported."""
        self._assign_series()
        shown: dict[Holder, Used] = {}
        times = self._state.recovery_times
        for used in self._used.values():
            user = used.holder.user if used.holder.user == OTHER else mask_user(used.holder.user)
            holder = used.holder._replace(user=user)
            shown.setdefault(holder, Used(holder)).add(held_s=used.held_s, idle_s=used.idle_s, lost_s=used.lost_s)
        return replace(
            totals,
            waits=dict(self._state.waits),
            runs={(pool, status): run for pool, runs in self._state.runs.items() for status, run in runs.items()},
            held_s={holder: used.held_s for holder, used in shown.items()},
            idle_s={holder: used.idle_s for holder, used in shown.items()},
            lost_s={holder: used.lost_s for holder, used in shown.items()},
            recoveries=dict(self._state.recoveries),
            faults={
                (pool, scenario, result): self._state.faults.get(pool, {}).get(scenario, {}).get(result, 0)
                for pool in self._state.waits
                for scenario in recovery.SCENARIOS
                for result in recovery.RESULTS
            },
            recovery_times={policy: times.get(policy, _NO_RECOVERY) for policy in recovery.POLICIES},
        )

    def dump(self) -> AccountsState:
        """Copy the state."""
        self._assign_series()
        return detach(self._state)

    def restore(self, state: AccountsState) -> None:
        """Continue from a state. Distributions with other bucket bounds than today's start at zero."""
        self._state = detach(state)
        for pool_id in (*state.waits, *state.runs):
            self._state.waits[pool_id] = _usable(state.waits.get(pool_id), QUEUE_BUCKETS_S)
            runs = state.runs.get(pool_id, {})
            self._state.runs[pool_id] = {status: _usable(runs.get(status), RUN_BUCKETS_S) for status in RUN_STATUSES}
        for policy, times in state.recovery_times.items():
            self._state.recovery_times[policy] = _usable(times, recovery.BUCKETS_S)
        self._used = {used.holder: used for used in self._state.used}
        self._users.update(holder.user for holder in self._used)

    def _assign_series(self) -> None:
        """Decide which of the users that are new since the last call have series of their own."""
        pending, self._pending = self._pending, {}
        held: defaultdict[str, float] = defaultdict(float)
        for holder, used in pending.items():
            held[holder.user] += used.held_s
        free = self._max_users + len(_SHARED_USERS) - len(self._users)
        self._users.update(sorted(held, key=lambda user: (-held[user], user))[: max(0, free)])
        for holder, used in pending.items():
            self.use(
                holder if holder.user in self._users else holder._replace(user=OTHER),
                held_s=used.held_s,
                idle_s=used.idle_s,
                lost_s=used.lost_s,
            )


_NAMELESS_POLLS = 10
"""For so many polls the seconds of a v1 job wait for its user's name, which takes a call of its own."""

_CORRECTION_S = 5.0
"""By so much two answers about the same run may differ."""

_POOLLESS_POLLS = 20
"""For so many polls everything of a v1 job waits for the record that names its pool: a poll reads 50 records."""


class StretchState(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A part of a run in which the number of accelerators asked for stays the same."""

    since_s: float
    """Second of the run at which it begins."""
    before_s: float = 0.0
    """Accelerator seconds before it."""
    accelerators: float
    spec_nodes: int | None = None
    started_at: float | None = None
    run_s: float
    """How long the run had lasted at the newest poll."""


class AccountState(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """What has been counted of one job."""

    since_s: float | None = None
    """Use before this second of the run does not count; None: set as soon as the run time is known."""
    past: bool = False
    """It ended before the first poll: nothing of it counts."""
    waited: bool = False
    """Its queue time was observed, or lies before the first poll."""
    ran: bool = False
    """Its run time was observed, or lies before the first poll."""
    nameless_polls: int = 0
    """Polls so far that did not know its user."""
    poolless_polls: int = 0
    """Polls so far that did not know its pool."""
    held_s: float = 0.0
    """Accelerator seconds so far, of the whole job."""
    booked_s: float = 0.0
    """Those of them that were counted; the others wait for a name."""
    stretch: StretchState | None = None
    """The part of the run that `held_s` is still computed for; None: its accelerators are not known yet."""
    lost_s: float = 0.0
    recoveries: dict[str, int] | None = None
    """Recoveries counted, by policy; None: the cloud has not reported any list yet."""
    faults: dict[str, dict[str, int]] | None = None
    """Faults counted, by scenario and result; None likewise."""
    recovery_times: dict[str, int] | None = None
    """Number of recoveries whose length was counted, by policy; None likewise."""
    idle: IdleState | None = None
    """None: no samples yet, or the last ones have been judged."""
    idle_over: bool = False
    """Its final samples have been judged."""


class Account:
    """One job's account: what of its queue time, run time and accelerator seconds has been counted.

    Everything derives from the cloud's own times, so the number and the moments of the polls do not matter.
    """

    __slots__ = ("_idle", "state")

    def __init__(self, state: AccountState) -> None:
        """Continue from a state, which is changed in place."""
        self.state = state
        self._idle = None if state.idle is None else IdleMeter(state.idle)

    @classmethod
    def opened(cls, job: Job, *, is_new: bool, started: bool) -> "Account":
        """Open the account of a job that is seen for the first time.

        `is_new`: it was submitted since the first poll, so all of it counts; otherwise only what follows.
        """
        if is_new:
            return cls(AccountState(since_s=0.0, recoveries={}, faults={}, recovery_times={}))
        return cls(
            AccountState(
                since_s=job.run_duration_s if started else 0.0,
                past=job.status.finished,
                waited=started,
                ran=job.status.finished,
                # Before its start it had no fault, whether or not the listing has an empty list of records.
                recoveries=dict(job.recoveries or {}) if job.recoveries is not None or not started else None,
                faults=_counted_faults(job) if started else {},
                recovery_times=_counted_times(job) if started else {},
                idle_over=job.status.finished,
            )
        )

    def dump(self) -> AccountState:
        """Copy the state."""
        state = copy(self.state)
        if state.idle is not None:
            state.idle = copy(state.idle)
        return state

    def update(self, job: Job, accounts: Accounts, *, last: bool = False) -> None:
        """Count what a poll reports of the job that is new; `last`: no further poll will report it."""
        state = self.state
        if state.past:
            if job.status.finished:
                return
            state.past, state.since_s = False, job.run_duration_s  # it was lost and has come back
        self._count_recoveries(job, accounts)
        self._integrate(job)
        state.nameless_polls += not job.user
        state.poolless_polls += not job.pool_known
        if self.expects_pool(job) and not last:
            return  # waiting for a name loses nothing: the times of the job stay the same
        if not state.waited and job.queue_duration_s is not None:
            state.waited = True
            accounts.observe_wait(job.pool_id, job.queue_duration_s)
        if not state.ran and job.status in RUN_STATUSES and job.run_duration_s is not None:
            state.ran = True
            accounts.observe_run(job.pool_id, job.status, job.run_duration_s)
        self._count_faults(job, accounts)
        if last or not self._expects_user(job):
            self._count_held(job, accounts)

    def expects_pool(self, job: Job) -> bool:
        """Whether a later poll may still name the pool, so that no event of the job is counted yet."""
        return not job.pool_known and self.state.poolless_polls <= _POOLLESS_POLLS

    def has_unread_samples(self, job: Job) -> bool:
        """Whether the job has ended and its final samples have not been judged."""
        state = self.state
        return not state.idle_over and not state.past and job.status.finished and _holder(job) is not None

    def read(self, job: Job, task: str, series: TaskSeries | None, *, run_s: float, threshold: float) -> None:
        """Take one task's samples of accelerator utilisation; None when it has none. See `IdleMeter.read`."""
        if self.state.idle_over or self.state.past or _holder(job) is None:
            return
        if self._idle is None:
            self.state.idle = IdleState()
            self._idle = IdleMeter(self.state.idle)
        samples, padding = (None, 0) if series is None else (series.accelerator, series.padding)
        self._idle.read(task, samples, run_s=run_s, threshold=threshold, padding=padding)

    def has_last_samples(self, job: Job, tasks: Iterable[str]) -> bool:
        """Whether each of these tasks has a sample of the last whole minute of an ended run; True if none counts."""
        if self.state.idle_over or self._idle is None:
            return True
        return self._idle.has_all(tasks, run_s=job.run_duration_s or 0.0)

    def judge(self, job: Job, tasks: Iterable[str], accounts: Accounts, *, grace_s: float, over: bool) -> None:
        """Count the idle time of the minutes that are over and that all tasks have reported.

        `over`: no more samples will come, judge every minute.
        """
        holder = _holder(job)
        if (self._expects_user(job) or self.expects_pool(job)) and not over:
            return
        if self._idle is not None and holder is not None:
            idle_s = self._idle.settle(
                None if over else tasks,
                run_s=job.run_duration_s or 0.0,
                held_s=lambda minute: self._held_in(job, minute),
                grace_s=grace_s,
            )
            if idle_s:
                accounts.use(holder, idle_s=idle_s)
        if over:
            self._idle, self.state.idle, self.state.idle_over = None, None, True

    def _expects_user(self, job: Job) -> bool:
        """Whether a later poll may still give the user's name."""
        return not job.user and job.api is Api.V1 and self.state.nameless_polls <= _NAMELESS_POLLS

    def _held_in(self, job: Job, minute: int) -> float:
        since_s = max(minute * MINUTE_S, self.state.since_s or 0.0)
        return accelerator_seconds(job, since_s=since_s, until_s=(minute + 1) * MINUTE_S) or 0.0

    def _integrate(self, job: Job) -> None:
        """Add what the job has held since the last poll, with the cards that it has now."""
        state = self.state
        if state.since_s is None:
            state.since_s = job.run_duration_s
        stretch = self._stretch(job) if state.since_s is not None else None
        held_s = None if stretch is None else accelerator_seconds(job, since_s=stretch.since_s)
        if stretch is not None and held_s is not None:
            state.held_s = max(state.held_s, stretch.before_s + held_s)  # a correction downwards: a counter must not

    def _count_held(self, job: Job, accounts: Accounts) -> None:
        """Count what was integrated and not counted yet."""
        state = self.state
        holder = _holder(job)
        if holder is None or state.since_s is None:
            return
        more_held_s = more_lost_s = 0.0
        if state.held_s > state.booked_s:
            more_held_s, state.booked_s = state.held_s - state.booked_s, state.held_s
        if job.status.failure and state.held_s > state.lost_s:
            more_lost_s, state.lost_s = state.held_s - state.lost_s, state.held_s
        accounts.use(holder, held_s=more_held_s, lost_s=more_lost_s)

    def _stretch(self, job: Job) -> StretchState | None:
        """Continue the current stretch of the run, or begin the next one where the cards or the run itself changed.

        A new stretch leaves what was counted as it is: neither a larger flavor nor a second run re-rates the past.
        """
        state, before = self.state, self.state.stretch
        if job.spec_accelerators is None or job.run_duration_s is None:
            return None
        since_s = state.since_s or 0.0 if before is None else before.since_s
        before_s = 0.0 if before is None else before.before_s
        if before is not None and _restarted(job, before):
            since_s = state.since_s = max(0.0, _overlap_s(job, before))
            before_s = state.held_s
        elif before is not None and _resized(job, before):
            since_s, before_s = before.run_s, state.held_s
        state.stretch = StretchState(
            since_s=since_s,
            before_s=before_s,
            accelerators=job.spec_accelerators,
            spec_nodes=job.spec_nodes,
            started_at=job.started_at,
            run_s=job.run_duration_s,
        )
        return state.stretch

    def _count_recoveries(self, job: Job, accounts: Accounts) -> None:
        if job.recoveries is None:
            return
        if self.state.recoveries is None:
            self.state.recoveries = dict(job.recoveries)
        for policy, times in job.recoveries.items():
            more = times - self.state.recoveries.get(policy, 0)
            accounts.recovered(policy, max(0, more))
            if more > 0:  # a new dict: `dump` shares it with its copies
                self.state.recoveries = {**self.state.recoveries, policy: times}

    def _count_faults(self, job: Job, accounts: Accounts) -> None:
        """Count each fault once its recovery has a result, and the length of each successful recovery."""
        state = self.state
        faults, times = _counted_faults(job), job.recovery_times
        if faults is None or times is None:
            return
        if state.faults is None or state.recovery_times is None:
            state.faults, state.recovery_times = faults, _counted_times(job)
            return
        for scenario, results in faults.items():
            counted = state.faults.get(scenario, {})
            for result, number in results.items():
                if number > counted.get(result, 0):  # new dicts: `dump` shares them with its copies
                    accounts.failed(job.pool_id, scenario, result, number - counted.get(result, 0))
                    counted = {**counted, result: number}
                    state.faults = {**state.faults, scenario: counted}
        for policy, lengths in times.items():
            known = state.recovery_times.get(policy, 0)
            for lasted_s in lengths[known:]:
                accounts.observe_recovery(policy, lasted_s)
            if len(lengths) > known:
                state.recovery_times = {**state.recovery_times, policy: len(lengths)}


def _counted_faults(job: Job) -> dict[str, dict[str, int]] | None:
    """Faults by scenario and result. One that is being recovered has no result yet, unless the job has ended."""
    if job.fault_results is None:
        return None
    over = job.status.finished and job.status is not JobStatus.LOST  # a lost job may come back
    return {
        scenario: {result: number for result, number in results.items() if over or result != recovery.RECOVERING}
        for scenario, results in job.fault_results.items()
    }


def _counted_times(job: Job) -> dict[str, int] | None:
    if job.recovery_times is None:
        return None
    return {policy: len(lengths) for policy, lengths in job.recovery_times.items()}


def _resized(job: Job, before: StretchState) -> bool:
    """Whether the job asks for another number of cards than before.

    Without the number of nodes, the earlier number came from a listing that may count one node: it was wrong, and the
    seconds since then are computed again.
    """
    return before.spec_nodes is not None and job.spec_accelerators != before.accelerators


def _restarted(job: Job, before: StretchState) -> bool:
    """Whether the run time began again: the job was started once more, and reports its newest run only.

    A duration that is a little shorter is a correction. A start that moves while the run becomes no shorter, too.
    """
    run_s = job.run_duration_s or 0.0
    if job.started_at is not None and before.started_at is not None and job.started_at > before.started_at:
        return job.started_at + _CORRECTION_S >= before.started_at + before.run_s or run_s < before.run_s / 2
    return run_s < before.run_s / 2 and before.run_s > _CORRECTION_S


def _overlap_s(job: Job, before: StretchState) -> float:
    """Seconds of a new run that the earlier one had reached already, by the start times."""
    if job.started_at is None or before.started_at is None or job.started_at == before.started_at:
        return 0.0
    return before.started_at + before.run_s - job.started_at


def _holder(job: Job) -> Holder | None:
    """Return the key under which its accelerators count; None when it has none, or their number is unknown."""
    if job.accelerator is Accelerator.CPU or not job.spec_accelerators:
        return None
    return Holder(job.pool_id, job.user, job.accelerator)


def _usable(distribution: Distribution | None, bounds_s: Sequence[float]) -> Distribution:
    empty = Distribution.empty(bounds_s)
    if (
        distribution is None
        or distribution.bounds_s != empty.bounds_s
        or len(distribution.counts) != len(empty.counts)
    ):
        return empty
    return distribution
