"""A second account of a project's totals, computed from what happens in a world and not from what polls report.

It shares no code with the exporter. It is written from the documents alone: docs/accounting.md says what counts, the
API reference what the cloud reports.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(kw_only=True)
class WorldJob:
    """What really happens to one job. Times are seconds since the epoch."""

    job_id: str
    submitted_at: float
    started_at: float
    ended_at: float
    pool_id: str = ""
    user: str = "ann"
    cards: tuple[tuple[float, float], ...] = ((0.0, 8.0),)
    """Cards held from each moment on."""
    earlier_runs: tuple[tuple[float, float], ...] = ()
    """Begin and end of the runs before the one from `started_at` to `ended_at`: it was requeued after each."""
    reported_submission: float | None = None
    """The submission time that the cloud reports; None: none that can be used."""


@dataclass(kw_only=True)
class Book:
    """Totals of a project since the first poll, as known at a later one."""

    submitted: Counter[str] = field(default_factory=Counter)
    started: Counter[str] = field(default_factory=Counter)
    finished: Counter[str] = field(default_factory=Counter)
    held_s: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    """By pool and user."""


def keep_book(jobs: Iterable[WorldJob], *, first_poll_at: float, last_poll_at: float) -> Book:
    """Count what happened between the two polls; of a job that already ran at the first poll, what it held since."""
    book = Book()
    for job in jobs:
        runs = [*job.earlier_runs, (job.started_at, job.ended_at)]
        for happened_at, counter in (
            (job.submitted_at, book.submitted),
            (runs[0][0], book.started),
            (job.ended_at, book.finished),
        ):
            if first_poll_at < happened_at <= last_poll_at:
                counter[job.pool_id] += 1
        changes = [*job.cards, (float("inf"), 0.0)]
        for (since, cards), (until, _) in pairwise(changes):
            for began_at, ended_at in runs:
                begin, end = max(began_at, first_poll_at, since), min(ended_at, last_poll_at, until)
                book.held_s[job.pool_id, job.user] += cards * max(0.0, end - begin)
    return book
