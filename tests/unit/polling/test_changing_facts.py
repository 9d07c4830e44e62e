"""Facts of a job that change while it is tracked, against a small computation that shares no code with the ledger."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from exporter.domain.accounting import Holder
from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.source import PollResult
from exporter.polling.ledger import Counts, Ledger

T0 = 1_700_000_000.0

KEPT: Mapping[str, tuple[Any, ...]] = {
    "user": ("", "ann", "bob"),
    "parent_job_id": ("", "100", "200"),
    "pool_id": ("", "pool-a", "pool-b"),
    "flavor": ("", "modelarts.p3.large", "modelarts.p3.small"),
    "accelerator": (None, Accelerator.GPU, Accelerator.NPU),
    "accelerator_model": ("", "nvidia-a100", "nvidia-v100"),
    "engine": ("", "pytorch", "mindspore"),
    "submitted_at": (None, T0 + 10, T0 + 20),
    "started_at": (None, T0 + 30, T0 + 40),
    "spec_nodes": (None, 2, 4),
    "spec_accelerators": (None, 16.0, 32.0, 0.0),
}
"""Facts that are kept while a later poll does not report them, and values of each; the first one means unknown."""

CHANGING: Mapping[str, tuple[Any, ...]] = {
    "name": ("", "first", "second"),
    "version": ("", "V0001"),
    "workspace_id": ("", "0", "w1"),
    "kind": ("", "job"),
    "reason": ("", "Retrying"),
    "runtime_type": ("", "debug"),
    "preemptible": (None, True, False),
    "priority": (None, 1.0, 3.0),
    "requeued_at": (None, T0 + 55),
    "run_duration_s": (None, 60.0, 30.0),
    "reported_nodes": (None, 1, 3),
    "node_steps": ((), ((T0, 1),), ((T0, 1), (T0 + 60, 3))),
    "tasks": ((), ("worker-0",), ("worker-0", "worker-1")),
    "task_exit_codes": ({}, {"worker-0": 137}),
    "recoveries": (None, {}, {"restart": 2}),
    "degraded_recoveries": (None, {"restart": 1}),
    "faults": (None, {"node": 1}),
    "fault_results": (None, {"node": {"success": 1}}),
    "recovery_times": (None, {"restart": (30.0,)}),
    "task_faults": ({}, {"worker-0": 1}),
    "last_recovery_at": (None, T0 + 50),
    "crash_loop_runs": (None, 0, 3),
    "quality": ({}, {"f1": 0.5}),
}
"""Facts of which the newest poll alone is right, and values of each."""

DERIVED = {"job_id", "api", "status", "ended_at", "pool_known"}

reports = st.fixed_dictionaries(
    {name: st.sampled_from(values) for name, values in (*KEPT.items(), *CHANGING.items())}
)


class Bench:
    """A ledger after its first poll, with its counts."""

    def __init__(self) -> None:
        self._open()
        self._polls = 0
        self.update()

    def _open(self) -> None:
        self.counts = Counts(max_users=100)
        self.ledger = Ledger(counts=self.counts, retention_s=86_400.0, linger_s=300.0)

    def update(self, *jobs: Job) -> None:
        now = T0 + 30 * self._polls
        self.ledger.update(PollResult(jobs=jobs), now=now, at=now)
        self._polls += 1

    def restart(self) -> None:
        counts, ledger = self.counts.dump(), self.ledger.dump(means={})
        self._open()
        self.counts.restore(counts)
        self.ledger.restore(ledger)

    @property
    def job(self) -> Job:
        (entry,) = self.ledger.entries
        return entry.job


def test_every_fact_is_either_kept_or_changing() -> None:
    """A new field of a job needs a decision: does a poll that does not report it make it unknown?"""
    assert {field.name for field in fields(Job)} == KEPT.keys() | CHANGING.keys() | DERIVED


@given(polls=st.lists(reports, min_size=1, max_size=6), restarts=st.sets(st.integers(0, 5)))
def test_a_job_is_exported_as_it_was_last_reported(polls: list[dict[str, Any]], restarts: set[int]) -> None:
    """The newest reported value of a fact holds; a fact that is no longer reported stays, or becomes unknown."""
    bench = Bench()
    expected: dict[str, Any] = {}
    for number, report in enumerate(polls):
        if number in restarts:
            bench.restart()
        bench.update(Job(job_id="a", api=Api.V2, status=JobStatus.RUNNING, **report))
        expected |= {name: value for name, value in report.items() if name in CHANGING or value != KEPT[name][0]}

        exported = {name: getattr(bench.job, name) for name in (*KEPT, *CHANGING)}
        assert exported == {name: values[0] for name, values in KEPT.items()} | expected


@given(first=reports, second=reports, order=st.permutations(["a", "b", "c"]))
def test_a_job_never_has_the_facts_of_another(
    first: dict[str, Any], second: dict[str, Any], order: list[str]
) -> None:
    """The facts of a job do not depend on other jobs in the same poll, nor on their order."""
    alone, together = Bench(), Bench()
    for number, report in enumerate((first, second)):
        job = Job(job_id="a", api=Api.V2, status=JobStatus.RUNNING, **report)
        other = [replace(job, name=f"{name}{number}", pool_id=f"pool-{name}") for name in "bc"]
        jobs = {"a": job, "b": replace(other[0], job_id="b"), "c": replace(other[1], job_id="c")}
        alone.update(job)
        together.update(*(jobs[job_id] for job_id in order))

    found = together.ledger.entry("a")
    assert found is not None
    assert found.job == alone.job


SPEC_NODES = 2


@dataclass(frozen=True)
class Poll:
    """What one poll reports of a running job; empty and None: not reported."""

    run_s: int
    """Seconds run since the previous poll."""
    nodes: int
    """Nodes held in these seconds."""
    pool_id: str = ""
    user: str = ""
    kind: Accelerator | None = None
    cards: float | None = None
    """Accelerators requested; the number never changes once it is known."""


polls_of_a_run = st.lists(
    st.builds(
        Poll,
        run_s=st.integers(0, 90),
        nodes=st.integers(1, 4),
        pool_id=st.sampled_from(KEPT["pool_id"]),
        user=st.sampled_from(KEPT["user"]),
        kind=st.sampled_from(KEPT["accelerator"]),
        cards=st.sampled_from((None, 16.0)),
    ),
    min_size=1,
    max_size=6,
)


def lifecycle(polls: list[Poll], end: JobStatus) -> Iterator[Job]:
    """The job as polls report it: queued, then running as in `polls`, then ended with the last facts once more."""
    job = Job(job_id="a", api=Api.V2, spec_nodes=SPEC_NODES, submitted_at=T0)
    steps: list[tuple[float, int]] = []
    run_s = 0
    for poll in polls:
        job = replace(job, pool_id=poll.pool_id, user=poll.user, accelerator=poll.kind, spec_accelerators=poll.cards)
        if not steps:
            yield replace(job, status=JobStatus.QUEUED)
        steps.append((T0 + 45 + run_s, poll.nodes))
        run_s += poll.run_s
        elastic = any(nodes != SPEC_NODES for _, nodes in steps)
        job = replace(
            job,
            status=JobStatus.RUNNING,
            started_at=T0 + 45,
            run_duration_s=float(run_s),
            node_steps=tuple(steps) if elastic else (),
            reported_nodes=poll.nodes if elastic else None,
        )
        yield job
    yield replace(job, status=end, ended_at=T0 + 45 + run_s)


class Book:
    """The same totals, second by second."""

    def __init__(self) -> None:
        self.pool_id, self.user = "", ""
        self.kind: Accelerator | None = None
        self.cards: float | None = None
        self.nodes_in_second: list[int] = []
        self.counted_s = 0.0
        self.held_s: Counter[Holder] = Counter()

    def learn(self, poll: Poll) -> None:
        """Keep what is known and not reported."""
        self.pool_id = poll.pool_id or self.pool_id
        self.user = poll.user or self.user
        self.kind = poll.kind or self.kind
        self.cards = poll.cards or self.cards

    def run(self, poll: Poll) -> None:
        """Count the seconds that are new, under the holder known by now."""
        self.nodes_in_second += [poll.nodes] * poll.run_s
        used_s = sum(self.nodes_in_second) * (self.cards or 0.0) / SPEC_NODES
        if used_s > self.counted_s:
            self.held_s[self.holder] += used_s - self.counted_s  # type: ignore[assignment]  # a Counter of floats
            self.counted_s = used_s

    @property
    def holder(self) -> Holder:
        return Holder(self.pool_id, self.user, self.kind)


@given(
    polls=polls_of_a_run,
    end=st.sampled_from([JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.TERMINATED]),
    restarts=st.sets(st.integers(0, 7)),
)
@example([Poll(60, 2, cards=16.0), Poll(60, 1, pool_id="pool-a", user="ann")], JobStatus.FAILED, set())
@example([Poll(60, 2), Poll(60, 4, cards=16.0), Poll(60, 4, pool_id="pool-a")], JobStatus.COMPLETED, {2})
def test_totals_follow_the_facts_of_each_moment(polls: list[Poll], end: JobStatus, restarts: set[int]) -> None:
    """Events count under the pool known when they happen, seconds under the holder known when they are reported."""
    bench, book = Bench(), Book()
    pools: list[str] = []
    for number, job in enumerate(lifecycle(polls, end)):
        if number in restarts:
            bench.restart()
        bench.update(job)
        if 1 <= number <= len(polls):
            book.learn(polls[number - 1])
            book.run(polls[number - 1])
            assert bench.job.status_accelerators == (
                None if book.cards is None else book.cards * (job.reported_nodes or SPEC_NODES) / SPEC_NODES
            )
        pools.append(bench.job.pool_id)
    totals = bench.counts.freeze()
    at_submission, at_start, at_end = polls[0].pool_id, polls[0].pool_id, book.pool_id

    assert pools[-1] == at_end
    assert {pool: count for pool, count in totals.submitted.items() if count} == {at_submission: 1}
    assert {pool: count for pool, count in totals.started.items() if count} == {at_start: 1}
    assert {key: count for key, count in totals.finished.items() if count} == {(at_end, end): 1}
    assert {pool: wait.sum_s for pool, wait in totals.waits.items() if sum(wait.counts)} == {at_start: 45.0}
    run_s = float(sum(poll.run_s for poll in polls))
    assert {key: run.sum_s for key, run in totals.runs.items() if sum(run.counts)} == {(at_end, end): run_s}
    assert {holder: seconds for holder, seconds in totals.held_s.items() if seconds} == dict(book.held_s)
    lost_s = book.counted_s if end is JobStatus.FAILED else 0.0
    assert {holder: seconds for holder, seconds in totals.lost_s.items() if seconds} == (
        {book.holder: lost_s} if lost_s else {}
    )


def test_a_deleted_job_ends_in_the_pool_known_by_then() -> None:
    """A job whose pool became known after its start, and which is deleted unseen, counts in that pool."""
    bench = Bench()
    job = Job(job_id="a", api=Api.V2, status=JobStatus.RUNNING, submitted_at=T0 + 1, started_at=T0 + 2)
    bench.update(job)
    bench.update(replace(job, pool_id="pool-a"))
    bench.ledger.update(PollResult(jobs=(), gone=frozenset({"a"})), now=T0 + 90, at=T0 + 90)

    totals = bench.counts.freeze()
    assert {key: count for key, count in totals.finished.items() if count} == {("pool-a", JobStatus.UNKNOWN): 1}
    assert totals.started == {"": 1, "pool-a": 0}


def test_a_deleted_job_without_a_user_loses_no_second() -> None:
    """Seconds of a v1 job that wait for its user's name are counted without one when the job is dropped."""
    bench = Bench()
    job = Job(
        job_id="a",
        api=Api.V1,
        status=JobStatus.RUNNING,
        submitted_at=T0 + 1,
        started_at=T0 + 2,
        run_duration_s=60.0,
        accelerator=Accelerator.GPU,
        spec_accelerators=8.0,
        spec_nodes=1,
    )
    bench.update(job)
    assert bench.counts.freeze().held_s == {}
    bench.ledger.update(PollResult(jobs=(), gone=frozenset({"a"})), now=T0 + 90, at=T0 + 90)

    assert bench.counts.freeze().held_s == {Holder("", "", Accelerator.GPU): 480.0}
