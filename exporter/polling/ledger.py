"""Which jobs of one source are tracked, and what was counted about them. Pure: time and results come as arguments."""

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice

import msgspec

from exporter.domain.job import Job, JobStatus
from exporter.domain.snapshot import Totals
from exporter.domain.source import PollResult, TrackedState
from exporter.polling.accounting import Account, Accounts, AccountsState, AccountState
from exporter.polling.detach import detach

LATE_S = 3600.0
"""A job counts as new although a job submitted up to this much later was seen before it."""

_LATE_WHILE_FAILING_S = 6 * LATE_S
"""The same while a part of the source fails: it may come back with jobs that were never listed."""

_UNDATED_S = 7 * 86_400.0
"""A job without a time is remembered for so long after it was last listed: longer than from one sweep to the next."""

_MIN_REMEMBERED = 1_000
_REMEMBERED_PER_TRACKED = 2
"""Jobs remembered although they are no longer tracked: so many, or so many for each tracked one, whichever is more.
The size of the state follows from the tracked jobs then, and not from the rate of submissions."""

_BOOTSTRAP_POLLS = 3
"""Bootstrapping ends after so many polls, although a part of the source still fails."""

_UNKNOWN_PER_POLL = 5
"""Jobs of unknown status whose detail each poll requests: enough to see them end, few enough to cost little."""

_PERMANENT = (
    "user",
    "parent_job_id",
    "pool_id",
    "flavor",
    "accelerator",
    "accelerator_model",
    "engine",
    "submitted_at",
    "started_at",
    "spec_nodes",
    "spec_accelerators",
)
"""Fields of a job that never change once the cloud has reported them. Some come from records that not every poll
requests or gets: a job must not move to another pool for that between its start and its end."""

_COUNTED_STATUSES = (*(status for status in JobStatus if status.finished), JobStatus.UNKNOWN)


class CountsState(msgspec.Struct, kw_only=True):
    """Totals of one project that survive a restart, by pool ("" is the public pool)."""

    submitted: dict[str, int] = msgspec.field(default_factory=dict)
    started: dict[str, int] = msgspec.field(default_factory=dict)
    finished: dict[str, dict[JobStatus, int]] = msgspec.field(default_factory=dict)
    """By the status the job ended in; `unknown` when it was deleted before its end was seen."""
    accounts: AccountsState = msgspec.field(default_factory=AccountsState)


class Counts:
    """Totals of one project over all its sources; they never decrease.

    `max_users`: how many users have accelerator seconds of their own.
    """

    def __init__(self, *, max_users: int) -> None:
        self.accounts = Accounts(max_users=max_users)
        self._state = CountsState()
        self.observe_pool("")

    def observe_pool(self, pool_id: str) -> None:
        """Give a pool its zeros, so that increase() sees the first event in it."""
        if pool_id not in self._state.submitted:
            self._add_zeros(pool_id)

    def submitted(self, job: Job) -> None:
        """Count a submission."""
        self._state.submitted[job.pool_id] += 1

    def started(self, job: Job) -> None:
        """Count a start."""
        self._state.started[job.pool_id] += 1

    def finished(self, job: Job, status: JobStatus) -> None:
        """Count an end; `status` is that of a finished job, or `unknown`."""
        self._state.finished[job.pool_id][status] += 1

    def freeze(self, *, mask_user: Callable[[str], str] = str) -> Totals:
        """Copy the totals. `mask_user` gives the name under which a user is exported."""
        state = self._state
        totals = Totals(
            submitted=dict(state.submitted),
            started=dict(state.started),
            finished={
                (pool, status): count for pool, counts in state.finished.items() for status, count in counts.items()
            },
        )
        return self.accounts.freeze(totals, mask_user=mask_user)

    def dump(self) -> CountsState:
        """Copy the state."""
        return msgspec.structs.replace(detach(self._state), accounts=self.accounts.dump())

    def restore(self, state: CountsState) -> None:
        """Continue from a state."""
        self._state = detach(state)
        self.accounts.restore(state.accounts)
        for pool_id in ("", *state.submitted):
            self._add_zeros(pool_id)

    def _add_zeros(self, pool_id: str) -> None:
        state = self._state
        state.submitted.setdefault(pool_id, 0)
        state.started.setdefault(pool_id, 0)
        state.finished[pool_id] = dict.fromkeys(_COUNTED_STATUSES, 0) | state.finished.get(pool_id, {})
        self.accounts.observe_pool(pool_id)


class EntryState(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """What survives of one tracked job.

    A struct, because every publication copies that of every job while the event loop waits.
    """

    job: Job
    seen_at: float
    """When a poll last reported it."""
    submitted: bool = True
    """Its submission was counted, or lies before the first poll."""
    started: bool
    """Its start was counted, or lies before the first poll."""
    finished: bool
    """Its end was counted, or lies before the first poll."""
    account: AccountState
    finished_seen_at: float | None = None
    """When its end was first seen, whenever that end was."""
    gone: bool = False
    """The cloud has deleted it; it stays a little longer, so that scrapes see how it ended."""
    mean_ratio: float | None = None
    """Mean accelerator utilisation over the run so far, which no later call returns once the job has ended."""


@dataclass(slots=True)
class Entry:
    """One tracked job."""

    state: EntryState
    account: Account
    """Changes `state.account`."""
    confirmed_at: float | None = None
    """When a poll last reported it, by the monotonic clock; None: not since the start of this process."""

    @property
    def job(self) -> Job:
        """The job as last reported."""
        return self.state.job


class LedgerState(msgspec.Struct, kw_only=True):
    """What survives of one source's ledger."""

    bootstrapping: bool = True
    """No poll has ended that all later ones can be compared with: nothing counts yet."""
    swept: bool = False
    """A sweep has walked the whole listing."""
    watermark: float = 0.0
    """Submission time at or below which no job is new."""
    seen: dict[str, float] = msgspec.field(default_factory=dict)
    """Submission times of seen jobs above the watermark."""
    undated: dict[str, float] = msgspec.field(default_factory=dict)
    """Seen jobs without a usable submission or start time, and when each was last listed."""
    deleted: dict[str, float] = msgspec.field(default_factory=dict)
    """Jobs that were dropped because they were gone, and when: one that is listed again has been counted."""
    incomplete: frozenset[str] = frozenset()
    """Jobs above a gap in the listing, at which no later listing may stop."""
    polls: int = 0
    entries: list[EntryState] = msgspec.field(default_factory=list)


class Ledger:
    """Tracks the jobs of one source: active ones, and finished ones for the retention.

    `retention_s`: how long a finished job stays. `linger_s`: how long a job that was deleted right after its end
    stays, so that a slow scraper still sees how it ended.

    The first poll without failures ends the bootstrapping; until then nothing counts. When a part of the source fails
    in three polls in a row, the third ends it all the same: a workspace that can never be read must not keep the
    others from being counted. From then on a job counts as submitted when it was submitted after all jobs seen while
    bootstrapping. Each job counts at most once as submitted, started and finished. "Now" is our clock. It does not
    decide which job is new, so that skew between the clocks cannot make history count; it only keeps a submission
    time in the future from raising the watermark above the jobs that are still to come (ADR 0002).
    """

    def __init__(self, *, counts: Counts, retention_s: float, linger_s: float) -> None:
        self._counts = counts
        self._retention_s = retention_s
        self._linger_s = linger_s
        self._state = LedgerState()
        """Its `entries` are empty; they are filled in at each dump."""
        self._entries: dict[str, Entry] = {}

    @property
    def entries(self) -> Iterator[Entry]:
        """Every tracked job, in the order in which they were first seen."""
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, job_id: str) -> Entry | None:
        """Return the entry of a job; None when it is not tracked."""
        return self._entries.get(job_id)

    def known(self, *, answer_by: float | None = None) -> TrackedState:
        """Return what a source need not request again. `answer_by`: when (monotonic) its poll has to end."""
        tracked = {job_id: entry.job for job_id, entry in self._entries.items()}
        unfinished = {job_id: job for job_id, job in tracked.items() if job.status.active}
        unclear = [job_id for job_id, job in tracked.items() if job.status is JobStatus.UNKNOWN]
        if unclear:
            start = self._state.polls * _UNKNOWN_PER_POLL % len(unclear)
            for job_id in islice(unclear[start:] + unclear[:start], _UNKNOWN_PER_POLL):
                unfinished[job_id] = tracked[job_id]
        times = [job.submitted_at for job in tracked.values() if job.submitted_at is not None]
        incomplete = self._state.incomplete
        return TrackedState(
            unfinished=unfinished,
            tracked=tracked,
            is_new=lambda job: job.job_id in incomplete or self.is_new(job),
            incomplete=incomplete,
            bootstrapping=self.bootstrapping,
            answer_by=answer_by,
            oldest_at=min(times, default=self._state.watermark) if self._state.swept else None,
        )

    def is_new(self, job: Job) -> bool:
        """Whether a job is neither tracked nor counted, and was submitted after the watermark."""
        if job.job_id in self._entries or job.job_id in self._state.seen or job.job_id in self._state.undated:
            return False
        at = _submitted_by(job)
        return at is None or at > self._state.watermark

    @property
    def bootstrapping(self) -> bool:
        """Whether new jobs do not count yet."""
        return self._state.bootstrapping

    def update(self, result: PollResult, *, now: float, at: float) -> None:
        """Take the result of a poll, `at` by the monotonic clock. A part that failed changes nothing of its jobs."""
        self._state.polls += 1
        for job in result.jobs:
            self._observe(job, now=now)
            if entry := self._entries.get(job.job_id):
                entry.confirmed_at = at
        for job_id in result.gone:
            self._mark_deleted(job_id)
        self._state.incomplete = result.incomplete
        if not self.bootstrapping or not result.failures or self._state.polls >= _BOOTSTRAP_POLLS:
            self._raise_watermark(late_s=_LATE_WHILE_FAILING_S if result.failures else LATE_S, now=now)
            self._state.bootstrapping = False
        self._expire(now=now)

    def sweep(self, result: PollResult, *, now: float) -> None:
        """Take the result of a sweep. It began long ago: it adds old jobs and removes deleted ones, changes none."""
        for job in result.jobs:
            if not job.status.active and job.job_id not in self._entries and not self.is_new(job):
                self._observe(job, now=now)
        for job_id in result.gone:
            self._mark_deleted(job_id)
        if not result.failures:
            self._state.swept = True
        self._expire(now=now)

    def disregard(self, job: Job) -> None:
        """Neither track nor count a job, which another source lists too, and counts."""
        at = _submitted_by(job)
        if at is not None and at > self._state.watermark:
            self._state.seen[job.job_id] = at
        self._entries.pop(job.job_id, None)

    def dump(self, *, means: Mapping[str, float]) -> LedgerState:
        """Copy the state. `means`: newest mean utilisation of jobs by id."""
        state = detach(self._state)
        for job_id, entry in self._entries.items():
            copied = copy(entry.state)
            copied.account = entry.account.dump()
            copied.mean_ratio = means.get(job_id, copied.mean_ratio)
            state.entries.append(copied)
        return state

    def restore(self, state: LedgerState) -> None:
        """Continue from a state, as if the time since then were one long interval between two polls."""
        self._state = detach(msgspec.structs.replace(state, entries=[]))
        for saved in state.entries:
            entry = copy(saved)
            entry.account = Account(saved.account).dump()
            self._entries[entry.job.job_id] = Entry(state=entry, account=Account(entry.account))

    def _observe(self, job: Job, *, now: float) -> None:
        entry = self._entries.get(job.job_id)
        if job.job_id in self._state.undated:
            self._state.undated[job.job_id] = now
        if entry is not None and job != entry.job:
            job = _with_permanent(job, entry.job)
        if job.pool_known:
            self._counts.observe_pool(job.pool_id)
        if entry is None:
            self._observe_first(job, now=now)
            return
        state = entry.state
        state.seen_at = now
        state.gone = False
        if job.status.finished:
            saw_it_end = not state.job.status.finished
            if saw_it_end:
                state.finished_seen_at = now
            if job.ended_at is None:
                job = replace(job, ended_at=now if saw_it_end else state.job.ended_at)
        if job != state.job:
            state.job = job
        self._count(entry)

    def _observe_first(self, job: Job, *, now: float) -> None:
        seen, undated = self._state.seen, self._state.undated
        reappeared = job.job_id in self._state.deleted  # it has been counted, whatever the cloud says of it now
        is_new = not self.bootstrapping and not reappeared and self.is_new(job)
        known = job.job_id in seen or job.job_id in undated
        expired = known and not job.status.active  # its retention is over, and it is still listed
        at = _submitted_by(job)
        if at is None:
            undated[job.job_id] = now
        elif at > self._state.watermark:
            seen[job.job_id] = at
        if expired or (not is_new and self._is_past(job, since=job.ended_at or job.submitted_at, now=now)):
            return
        started, finished = reappeared or _has_started(job), reappeared or job.status.finished
        account = Account.opened(job, is_new=is_new, started=started)
        if is_new and finished and job.ended_at is None:
            job = replace(job, ended_at=now)
        state = EntryState(
            job=job,
            seen_at=now,
            submitted=not is_new,
            started=started and not is_new,
            finished=finished and not is_new,
            account=account.state,
        )
        entry = self._entries[job.job_id] = Entry(state=state, account=account)
        if job.status.finished:
            entry.state.finished_seen_at = now
        self._count(entry)

    def _count(self, entry: Entry, *, last: bool = False) -> None:
        """Count each event of a job that was not counted before, once its pool is known; `last`: in any case."""
        state, job = entry.state, entry.job
        entry.account.update(job, self._counts.accounts, last=last)
        if entry.account.expects_pool(job) and not last:
            return
        if not state.submitted:
            state.submitted = True
            self._counts.submitted(job)
        if not state.started and _has_started(job):
            state.started = True
            self._counts.started(job)
        if not state.finished and job.status.finished:
            state.finished = True
            self._counts.finished(job, job.status)

    def _mark_deleted(self, job_id: str) -> None:
        entry = self._entries.get(job_id)
        if entry is None:
            return
        self._count(entry, last=True)
        if not entry.state.finished:
            entry.state.finished = True
            self._counts.finished(entry.job, JobStatus.UNKNOWN)
        entry.state.gone = True

    def _raise_watermark(self, *, late_s: float, now: float) -> None:
        state = self._state
        times = sorted(at for at in state.seen.values() if at <= now)  # without jobs from the future
        newest = times[-1] if times else 0.0
        # The first poll saw one page of the newest jobs only, so nothing older than its newest job may count later.
        state.watermark = max(state.watermark, newest if state.bootstrapping else newest - late_s)
        if len(times) > self._max_remembered:
            state.watermark = max(state.watermark, times[-self._max_remembered - 1])
        state.seen = {job_id: at for job_id, at in state.seen.items() if at > state.watermark}

    @property
    def _max_remembered(self) -> int:
        return max(_MIN_REMEMBERED, _REMEMBERED_PER_TRACKED * len(self._entries))

    def _expire(self, *, now: float) -> None:
        state = self._state
        state.deleted = _newest(state.deleted, since=now - _LATE_WHILE_FAILING_S, limit=self._max_remembered)
        state.undated = {job_id: at for job_id, at in state.undated.items() if now - at < _UNDATED_S}
        for job_id, entry in list(self._entries.items()):
            if entry.state.gone:
                seen = entry.state.finished_seen_at
                if seen is None or now - seen >= self._linger_s:
                    self._drop(entry)
                    state.deleted[job_id] = now
            elif not entry.job.status.active:
                ended = entry.job.ended_at or entry.state.finished_seen_at or entry.state.seen_at
                if self._is_past(entry.job, since=ended, now=now):
                    self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        self._count(entry, last=True)
        del self._entries[entry.job.job_id]

    def _is_past(self, job: Job, *, since: float | None, now: float) -> bool:
        """Whether the retention of a job that is not active is over; without any time it counts from first sight."""
        return not job.status.active and since is not None and now - since >= self._retention_s


def _newest(times: dict[str, float], *, since: float, limit: int) -> dict[str, float]:
    """Return the entries after `since`; with more than `limit`, the last ones in their order."""
    kept = {key: at for key, at in times.items() if at > since}
    return dict(islice(kept.items(), max(0, len(kept) - limit), None))


def _submitted_by(job: Job) -> float | None:
    """When it was submitted; when it started, where the submission time is unusable; None: neither is known."""
    return job.started_at if job.submitted_at is None else job.submitted_at


def _with_permanent(job: Job, before: Job) -> Job:
    """Return the job with the permanent fields that were reported before and are missing now."""
    kept = {
        name: value
        for name in _PERMANENT
        if getattr(job, name) in {None, ""} and (value := getattr(before, name)) not in {None, ""}
    }
    if before.pool_known and not job.pool_known:
        kept["pool_known"] = True
    return replace(job, **kept) if kept else job


def _has_started(job: Job) -> bool:
    """Whether a job has ever run: the start time alone is not enough (API reference §4.3)."""
    return (
        job.started_at is not None or job.status in {JobStatus.RUNNING, JobStatus.SCALING} or bool(job.run_duration_s)
    )
