"""Reading history: which calls are made, which are not repeated, and when reading stops."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from exporter.backfill.journal import Journal
from exporter.backfill.reader import RETRY_PAUSES_S, Period, Reader
from exporter.domain.history import HistoricJob, HistoryPage
from exporter.domain.job import Api, Job, JobStatus
from exporter.domain.source import PollResult, SourceError, TrackedState
from exporter.domain.usage import TaskSeries
from tests.clock import ManualClock
from tests.unit.backfill.past import T0, job, ran

PERIOD = Period(since=T0, until=T0 + 1000, back_to=T0 - 500)
SERIES = TaskSeries(task="worker-0", cpu=[0.5, 0.5])


class Away(SourceError):
    """A transient error."""


class No(SourceError):
    """An error of one task."""


class Locked(SourceError):
    """A final error."""

    @property
    def is_final(self) -> bool:
        return True


@dataclass
class FakeHistory:
    """A listing of some pages, and a source of samples. `trouble` may raise before a page or a task is returned."""

    listed: Sequence[Sequence[Job]] = ()
    fault: Callable[[str], None] = lambda _: None
    requested: list[str] = field(default_factory=list)
    api: Api = Api.V2

    async def pages(self, *, back_to: float, cursor: str = "") -> AsyncIterator[HistoryPage]:
        assert back_to == PERIOD.back_to
        for number in range(int(cursor or 0), len(self.listed)):
            self.requested.append(f"page {number}")
            self.fault(f"page {number}")
            yield HistoryPage(jobs=tuple(HistoricJob(job=one) for one in self.listed[number]), cursor=str(number + 1))

    async def poll(self, known: TrackedState) -> PollResult:
        raise AssertionError(known)

    async def sweep(self, known: TrackedState) -> PollResult:
        raise AssertionError(known)

    def tasks(self, job: Job) -> tuple[str, ...]:
        return job.tasks

    async def usage(self, job: Job, task: str) -> TaskSeries | None:
        self.requested.append(f"{job.job_id} {task}")
        self.fault(f"{job.job_id} {task}")
        return SERIES


class Harness:
    """A reader, its journal, and its pauses."""

    def __init__(self, journal: Journal, **changed: Any) -> None:
        self.journal = journal
        self.pauses: list[float] = []
        self.reported: list[tuple[str, int]] = []
        facts: dict[str, Any] = {
            "wants_samples": lambda _: True,
            "is_transient": lambda error: isinstance(error, Away),
            **changed,
        }
        self.reader = Reader(
            project="vision",
            journal=journal,
            period=PERIOD,
            retention_s=100.0,
            clock=ManualClock(T0 + 5000),
            progress=self._report,
            sleep=self._sleep,
            **facts,
        )

    def _report(self, stage: str, done: int, total: int | None = None, *, share: float | None = None) -> None:
        assert total is None or done <= total
        assert share is None or 0 <= share <= 1
        self.reported.append((stage, done))

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    @property
    def ids(self) -> list[str]:
        return [reported.job.job_id for reported in self.journal.jobs("vision")]


def twice(what: str, error: SourceError) -> Callable[[str], None]:
    """Errors for one item, the first two times."""
    left = [error, error]

    def strike(requested: str) -> None:
        if requested == what and left:
            raise left.pop()

    return strike


async def test_only_jobs_of_the_period_are_kept(tmp_path: Path) -> None:
    """Jobs that ended before, including retention, or started after are left out; a run across the period is kept."""
    covering = ran("over", begin=-300, run=100)  # kept until -100
    kept = ran("kept", begin=-300, run=250)  # ended at -50, shown until 50
    across = ran("across", begin=-400, run=5000)
    later = ran("later", begin=1000, run=10)
    untimed = job("untimed", status=JobStatus.COMPLETED, submitted_at=T0, started_at=T0)
    history = FakeHistory([[later, across], [kept, covering, untimed]])
    with Journal(tmp_path / "journal") as journal:
        harness = Harness(journal)
        await harness.reader.read_jobs(history)

        assert sorted(harness.ids) == ["across", "kept", "untimed"]
        assert harness.reported == [("jobs", 1), ("jobs", 3)]


async def test_a_listing_continues_at_its_cursor(tmp_path: Path) -> None:
    """A listing that failed on page 1 continues with page 1, and a complete one is not read again."""
    history = FakeHistory([[ran("a", begin=0, run=1)], [ran("b", begin=0, run=1)], []], fault=twice("page 1", No()))
    with Journal(tmp_path / "journal") as journal:
        for _ in range(2):
            with pytest.raises(No):
                await Harness(journal).reader.read_jobs(history)
        await Harness(journal).reader.read_jobs(history)
        await Harness(journal).reader.read_jobs(history)

        assert history.requested == ["page 0", "page 1", "page 1", "page 1", "page 2"]
        assert Harness(journal).ids == ["a", "b"]


async def test_an_outage_is_waited_out(tmp_path: Path) -> None:
    """A temporary outage costs the first pauses, not the data read so far."""
    history = FakeHistory([[], [ran("a", begin=0, run=1)]], fault=twice("page 1", Away()))
    with Journal(tmp_path / "journal") as journal:
        harness = Harness(journal)
        await harness.reader.read_jobs(history)

        assert harness.pauses == list(RETRY_PAUSES_S[:2])
        assert harness.ids == ["a"]


async def test_an_outage_without_end_is_given_up(tmp_path: Path) -> None:
    """After the last pause the error is raised."""

    def away(_: str) -> None:
        raise Away

    with Journal(tmp_path / "journal") as journal:
        harness = Harness(journal)
        with pytest.raises(Away):
            await harness.reader.read_jobs(FakeHistory([[]], fault=away))

        assert harness.pauses == list(RETRY_PAUSES_S)


async def test_samples_are_requested_for_jobs_that_ran_in_the_period(tmp_path: Path) -> None:
    """One call per task for jobs that ran and are wanted; none for a job that waited, ran before, or is hidden."""
    two = ("worker-0", "worker-1")
    jobs = [
        ran("ran", begin=0, run=100, tasks=two),
        ran("before", begin=-300, run=250, tasks=two),
        ran("hidden", begin=0, run=100, tasks=two),
        job("waits", status=JobStatus.QUEUED, submitted_at=T0, tasks=two),
    ]
    history = FakeHistory([jobs])
    with Journal(tmp_path / "journal") as journal:
        harness = Harness(journal, wants_samples=lambda one: one.job_id != "hidden", workers=3)
        await harness.reader.read_jobs(history)
        await harness.reader.read_samples(history)
        await harness.reader.read_samples(history)

        assert sorted(history.requested) == ["page 0", "ran worker-0", "ran worker-1"]
        lengths = {reported.job.job_id: len(reported.series) for reported in journal.jobs("vision", samples=True)}
        assert lengths == {"ran": 2, "before": 0, "hidden": 0, "waits": 0}


async def test_one_refused_task_is_skipped(tmp_path: Path) -> None:
    """The samples of one task may have expired: the other tasks and jobs have theirs."""
    jobs = [ran(name, begin=0, run=100, tasks=("w0", "w1")) for name in ("a", "b")]
    history = FakeHistory([jobs], fault=twice("a w0", No()))
    with Journal(tmp_path / "journal") as journal:
        harness = Harness(journal)
        await harness.reader.read_jobs(history)
        await harness.reader.read_samples(history)

        lengths = {reported.job.job_id: len(reported.series) for reported in journal.jobs("vision", samples=True)}
        assert lengths == {"a": 1, "b": 2}


async def test_a_final_error_ends_the_reading(tmp_path: Path) -> None:
    """A locked key would refuse the next task too: no more calls are made, and what was read stays."""
    jobs = [ran(name, begin=0, run=100, tasks=("w0",)) for name in ("a", "b", "c")]
    history = FakeHistory([jobs], fault=twice("b w0", Locked()))
    with Journal(tmp_path / "journal") as journal:
        harness = Harness(journal)
        await harness.reader.read_jobs(history)
        with pytest.raises(Locked):
            await harness.reader.read_samples(history)

        assert history.requested == ["page 0", "a w0", "b w0"]
        assert [one.job_id for one in journal.pending("vision", Api.V2, limit=9)] == ["b", "c"]
