"""What is known of one source's jobs, and what was counted about them. Pure: time and sightings come as arguments."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from exporter.domain.job import Job, JobStatus
from exporter.domain.snapshot import Totals
from exporter.domain.source import PollResult, TrackedState
from exporter.polling.accounting import Account, Accounts
from exporter.polling.memory import CountsMemory, EntryMemory, FinishedCount, LedgerMemory

LATE_S = 3600.0
"""How much later than its submission a job may first turn up in a listing and still be counted as new."""

_PATIENCE_S = 6 * LATE_S
"""The same, while a part of the source does not answer: it may come back with jobs nobody has seen."""

_SEED_LOOKS = 3
"""Looks after which the seeding ends although a part of the source still does not answer."""

_UNKNOWN_ASKED = 5
"""Jobs of unknown status asked one by one in each look: enough to see them end, too few to cost much."""

_NEVER = float("inf")

_STAYS = (
    "user",
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
"""What is true of a job for good once the cloud has told it. Some of it stands in records only that are not asked for
again at each look, or cannot be had: a job must not move to another pool for that, between its start and its end."""

_FINISHED = tuple(status for status in JobStatus if status.finished)


class Counts:
    """Running totals of one project, over all its sources; they only ever grow.

    `max_users`: how many users have accelerator seconds of their own.
    """

    def __init__(self, *, max_users: int = 100) -> None:
        self.accounts = Accounts(max_users=max_users)
        self.submitted: Counter[str] = Counter({"": 0})
        self.started: Counter[str] = Counter({"": 0})
        self.finished: Counter[tuple[str, JobStatus]] = Counter()
        self.observe_pool("")

    def observe_pool(self, pool_id: str) -> None:
        """Give a pool its zeros, so that the first event in it is an increase a query can see."""
        if (pool_id, JobStatus.UNKNOWN) in self.finished:
            return
        self.submitted[pool_id] += 0
        self.started[pool_id] += 0
        for status in (*_FINISHED, JobStatus.UNKNOWN):
            self.finished[pool_id, status] += 0
        self.accounts.observe_pool(pool_id)

    def freeze(self, *, mask_user: Callable[[str], str] = str) -> Totals:
        """Copy what has been counted so far; `veil` gives the name under which a user is shown."""
        totals = Totals(submitted=dict(self.submitted), started=dict(self.started), finished=dict(self.finished))
        return self.accounts.freeze(totals, mask_user=mask_user)

    def dump(self) -> CountsMemory:
        """Tell the totals as plain values."""
        counts = CountsMemory(
            submitted=dict(self.submitted),
            started=dict(self.started),
            finished=tuple(
                FinishedCount(pool_id=pool_id, status=status, count=count)
                for (pool_id, status), count in self.finished.items()
            ),
        )
        return self.accounts.dump(counts)

    def restore(self, memory: CountsMemory) -> None:
        """Go on from these totals."""
        for pool_id in memory.submitted:
            self.observe_pool(pool_id)
        self.submitted.update(memory.submitted)
        self.started.update(memory.started)
        self.finished.update({(told.pool_id, told.status): told.count for told in memory.finished})
        self.accounts.restore(memory)


@dataclass(slots=True)
class Entry:
    """One tracked job and what has been counted about it."""

    job: Job
    seen_at: float
    """When a look last had word of it."""
    started: bool
    """Its start was counted, or lies before the first look."""
    finished: bool
    """Its end was counted, or lies before the first look."""
    account: Account
    """What of its waiting, running and holding was counted."""
    finished_seen_at: float | None = None
    """When its end was first seen, whenever that end was."""
    confirmed_at: float | None = None
    """When a look last had word of it, by the monotonic clock; None: not since the start of this process."""
    gone: bool = False
    """The cloud has deleted it; it is kept a little longer because its end is news."""
    mean_ratio: float | None = None
    """Mean accelerator utilisation that was remembered from before a restart; None: there was none."""


class Ledger:
    """Tracks the jobs of one source: active ones, and finished ones for the retention.

    `retention_s`: how long a finished job stays. `linger_s`: how long a job that was deleted right after its end
    stays, so that a slow scraper still sees how it ended.

    The first wholly good look seeds: it counts nothing. When a part of the source fails in three looks on end, the
    third one seeds without it, for a workspace that may never be read must not keep the others from being counted.
    After that a job counts as submitted when it was submitted after everything the seed had seen; each job counts at
    most once as submitted, started and finished. "Now" is our
    clock; which job is new is decided by the cloud's own submission times alone, so that skew between the clocks
    cannot make history count.
    """

    def __init__(self, *, counts: Counts, retention_s: float, linger_s: float) -> None:
        self._counts = counts
        self._retention_s = retention_s
        self._linger_s = linger_s
        self._entries: dict[str, Entry] = {}
        self._seeded = False
        self._watermark = 0.0  # submission time at or below which nothing is news
        self._seen: dict[str, float] = {}  # submission times of accounted jobs above the watermark; inf: unknown
        self._lost: dict[str, float] = {}  # jobs that were dropped because they were gone, and when
        self._torn: frozenset[str] = frozenset()
        self._swept = False
        self._looks = 0

    @property
    def entries(self) -> Iterator[Entry]:
        """Every tracked job, in the order of first sight."""
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, job_id: str) -> Entry | None:
        """Return the entry of a job; None when it is not tracked."""
        return self._entries.get(job_id)

    def known(self, *, answer_by: float | None = None) -> TrackedState:
        """Tell a source what it need not ask again, and by when (monotonic) it should be back."""
        tracked = {job_id: entry.job for job_id, entry in self._entries.items()}
        unfinished = {job_id: job for job_id, job in tracked.items() if job.status.active}
        unclear = [job_id for job_id, job in tracked.items() if job.status is JobStatus.UNKNOWN]
        if unclear:
            turn = self._looks * _UNKNOWN_ASKED % len(unclear)
            for job_id in islice(unclear[turn:] + unclear[:turn], _UNKNOWN_ASKED):
                unfinished[job_id] = tracked[job_id]
        times = [job.submitted_at for job in tracked.values() if job.submitted_at is not None]
        return TrackedState(
            unfinished=unfinished,
            tracked=tracked,
            is_new=lambda job: job.job_id in self._torn or self.is_new(job),
            incomplete=self._torn,
            bootstrapping=not self._seeded,
            answer_by=answer_by,
            oldest_at=min(times, default=self._watermark) if self._swept else None,
        )

    def is_new(self, job: Job) -> bool:
        """Whether a job was never accounted for: not tracked, not counted before, not older than the first look."""
        if job.job_id in self._entries or job.job_id in self._seen:
            return False
        return job.submitted_at is None or job.submitted_at > self._watermark

    @property
    def seeded(self) -> bool:
        """Whether what is new from now on counts."""
        return self._seeded

    def update(self, sighting: PollResult, *, now: float, at: float) -> None:
        """Take in one look, `at` by the monotonic clock. What did not answer changes nothing: no job disappears."""
        self._looks += 1
        for job in sighting.jobs:
            self._observe(job, now=now)
            if entry := self._entries.get(job.job_id):
                entry.confirmed_at = at
        for job_id in sighting.gone:
            self._mark_deleted(job_id)
        self._torn = sighting.incomplete
        if self._seeded or not sighting.failures or self._looks >= _SEED_LOOKS:
            self._raise_watermark(late_s=_PATIENCE_S if sighting.failures else LATE_S)
            self._seeded = True
        self._expire(now=now)

    def sweep(self, sighting: PollResult, *, now: float) -> None:
        """Take in a sweep: it started long ago, so it adds old jobs and removes deleted ones, but changes none."""
        for job in sighting.jobs:
            if not job.status.active and job.job_id not in self._entries and not self.is_new(job):
                self._observe(job, now=now)
        for job_id in sighting.gone:
            self._mark_deleted(job_id)
        if not sighting.failures:
            self._swept = True
        self._expire(now=now)

    def dump(self, *, means: Mapping[str, float]) -> LedgerMemory:
        """Tell everything as plain values; `means` has the mean utilisation of jobs by id."""
        return LedgerMemory(
            seeded=self._seeded,
            swept=self._swept,
            watermark=self._watermark,
            seen={job_id: None if at == _NEVER else at for job_id, at in self._seen.items()},
            lost=dict(self._lost),
            looks=self._looks,
            incomplete=tuple(sorted(self._torn)),
            entries=tuple(
                EntryMemory(
                    job=entry.job,
                    seen_at=entry.seen_at,
                    started=entry.started,
                    finished=entry.finished,
                    finished_seen_at=entry.finished_seen_at,
                    gone=entry.gone,
                    mean_ratio=means.get(entry.job.job_id, entry.mean_ratio),
                    account=entry.account.dump(),
                )
                for entry in self._entries.values()
            ),
        )

    def restore(self, memory: LedgerMemory) -> None:
        """Go on from there, as if the time in between had been one long interval between two looks."""
        self._seeded, self._swept, self._watermark = memory.seeded, memory.swept, memory.watermark
        self._seen = {job_id: _NEVER if at is None else at for job_id, at in memory.seen.items()}
        self._lost = dict(memory.lost)
        self._looks = memory.looks
        self._torn = frozenset(memory.incomplete)
        for told in memory.entries:
            self._entries[told.job.job_id] = Entry(
                job=told.job,
                seen_at=told.seen_at,
                started=told.started,
                finished=told.finished,
                account=(
                    Account.opened(told.job, news=False, started=told.started)
                    if told.account is None
                    else Account(told.account)
                ),
                finished_seen_at=told.finished_seen_at,
                gone=told.gone,
                mean_ratio=told.mean_ratio,
            )

    def _observe(self, job: Job, *, now: float) -> None:
        entry = self._entries.get(job.job_id)
        if entry is not None and job != entry.job:
            job = _completed(job, entry.job)
        self._counts.observe_pool(job.pool_id)
        if entry is None:
            self._observe_first(job, now=now)
            return
        entry.seen_at = now
        entry.gone = False
        if not entry.started and _has_started(job):
            entry.started = True
            self._counts.started[job.pool_id] += 1
        if job.status.finished:
            saw_it_end = not entry.job.status.finished
            if saw_it_end:
                entry.finished_seen_at = now
            if not entry.finished:
                entry.finished = True
                self._counts.finished[job.pool_id, job.status] += 1
            if job.ended_at is None:
                job = replace(job, ended_at=now if saw_it_end else entry.job.ended_at)
        if job != entry.job:
            entry.job = job
        entry.account.update(entry.job, self._counts.accounts)

    def _observe_first(self, job: Job, *, now: float) -> None:
        news = self._seeded and self.is_new(job)
        forgotten = (
            job.job_id in self._seen and not job.status.active
        )  # its retention is over, and it is still listed
        if job.submitted_at is None:
            self._seen[job.job_id] = _NEVER
        elif job.submitted_at > self._watermark:
            self._seen[job.job_id] = job.submitted_at
        if forgotten or (not news and self._is_past(job, since=job.ended_at or job.submitted_at, now=now)):
            return
        ended_before = job.job_id in self._lost  # it was reported gone, and turns up again
        entry = Entry(
            job=job,
            seen_at=now,
            started=ended_before or _has_started(job),
            finished=ended_before or job.status.finished,
            account=Account.opened(job, news=news, started=ended_before or _has_started(job)),
        )
        self._entries[job.job_id] = entry
        if job.status.finished:
            entry.finished_seen_at = now
        entry.account.update(job, self._counts.accounts)
        if not news:
            return
        self._counts.submitted[job.pool_id] += 1
        if entry.started:
            self._counts.started[job.pool_id] += 1
        if entry.finished:
            self._counts.finished[job.pool_id, job.status] += 1
            if job.ended_at is None:
                entry.job = replace(job, ended_at=now)

    def _mark_deleted(self, job_id: str) -> None:
        entry = self._entries.get(job_id)
        if entry is None:
            return
        if not entry.finished:
            entry.finished = True
            self._counts.finished[entry.job.pool_id, JobStatus.UNKNOWN] += 1
        entry.gone = True

    def _raise_watermark(self, *, late_s: float) -> None:
        newest = max((at for at in self._seen.values() if at < _NEVER), default=0.0)
        # The seed saw one page of the newest jobs only, so nothing below its newest job may count later.
        self._watermark = max(self._watermark, newest - late_s if self._seeded else newest)
        self._seen = {job_id: at for job_id, at in self._seen.items() if at > self._watermark}

    def _expire(self, *, now: float) -> None:
        self._lost = {job_id: at for job_id, at in self._lost.items() if now - at < _PATIENCE_S}
        for job_id, entry in list(self._entries.items()):
            if entry.gone:
                seen = entry.finished_seen_at
                if seen is None or now - seen >= self._linger_s:
                    self._drop(entry)
                    self._lost[job_id] = now
            elif not entry.job.status.active:
                ended = entry.job.ended_at or entry.finished_seen_at or entry.seen_at
                if self._is_past(entry.job, since=ended, now=now):
                    self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        entry.account.update(entry.job, self._counts.accounts, last=True)
        del self._entries[entry.job.job_id]

    def _is_past(self, job: Job, *, since: float | None, now: float) -> bool:
        """Whether the retention of a job that is not active is over; an undated one counts from its first sight."""
        return not job.status.active and since is not None and now - since >= self._retention_s


def _completed(job: Job, before: Job) -> Job:
    """Return the job with what was told of it before and is not any more."""
    kept = {
        name: value
        for name in _STAYS
        if getattr(job, name) in {None, ""} and (value := getattr(before, name)) not in {None, ""}
    }
    return replace(job, **kept) if kept else job


def _has_started(job: Job) -> bool:
    """Whether a job has ever run: the start time alone does not tell (API reference §4.3)."""
    return (
        job.started_at is not None or job.status in {JobStatus.RUNNING, JobStatus.SCALING} or bool(job.run_duration_s)
    )
