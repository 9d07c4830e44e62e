"""Time, and the steps that move a job from one state to the next, whoever takes them."""

import heapq
from collections.abc import Callable, Mapping
from itertools import count

from exporter.simulator.world.job import Exit, Job, JobState, Record
from exporter.simulator.world.job_script import MESSAGES
from exporter.simulator.world.project import Project


class SimulationEngine:
    """The projects at one moment, what is going to happen to them, and the steps of a job.

    `forget_after_s`: finished jobs are deleted that long after their end; None means never.
    """

    def __init__(self, tenants: Mapping[str, Project], *, now: float, forget_after_s: float | None) -> None:
        self.now = now
        self.tenants = tenants
        self.on_free: Callable[[Job], None] = lambda _: None
        """Told of each job that has given back its nodes."""
        self._forget_after_s = forget_after_s
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    # Time

    def advance_to(self, moment: float) -> None:
        """Let happen what happens until then; a moment in the past changes nothing."""
        while self._events and self._events[0][0] <= moment:
            at, _, happen = heapq.heappop(self._events)
            self.now = max(self.now, at)
            happen()
        self.now = max(self.now, millisecond(moment))

    def after(self, delay_s: float, happen: Callable[[], None]) -> None:
        """Let something happen later."""
        heapq.heappush(self._events, (millisecond(self.now + delay_s), next(self._order), happen))

    def later(self, job: Job, delay_s: float, happen: Callable[[Job], None]) -> None:
        """Let the next thing happen to a job, unless something else has moved it by then."""
        epoch = job.epoch

        def step() -> None:
            if job.epoch == epoch:
                happen(job)

        self.after(delay_s, step)

    # Steps

    def tenant_of(self, job: Job) -> Project:
        """The project that the job belongs to."""
        return self.tenants[job.project]

    def enter(self, job: Job, state: JobState) -> None:
        """It is in another state."""
        job.state = state
        self.tenant_of(job).job_index(job.api).note(job)

    def begin(self, job: Job, *, at: float | None = None) -> None:
        """It runs for the first time."""
        at = self.now if at is None else millisecond(at)
        job.started_at = at
        job.node_counts = [(at, job.nodes)]
        job.records = [Record(started_at=at)]
        self.enter(job, JobState.RUNNING)
        self.tenant_of(job).ledger.start(job, at)

    def scale(self, job: Job, nodes: int) -> None:
        """It has another number of nodes from now on."""
        job.node_counts = [*job.node_counts, (self.now, nodes)]

    def recover(self, job: Job, *, policy: str, scenario: str, gap_s: float, tried: str, task: str) -> None:
        """A fault stops it now, and it runs again after the gap; its state does not change."""
        last = job.records[-1]
        last.ended_at, last.reason, last.task = self.now, "exit with 137", task
        last.policy, last.tried, last.scenario = policy, tried, scenario
        last.recovered_at, last.result = millisecond(self.now + gap_s), "downgrade" if tried else "success"
        start_type = "restarted" if policy.endswith("proc_restart") else "init_or_rescheduled"
        job.records = [*job.records, Record(started_at=millisecond(self.now + gap_s), start_type=start_type)]
        self.tenant_of(job).ledger.recover(policy, self.now)

    def fail(
        self, job: Job, *, exit_code: int, task: str, message: str | None = None, at: float | None = None
    ) -> None:
        """Its run fails, a task with that exit code; a job that never started fails without one."""
        if job.started_at is not None:
            text = MESSAGES.get(exit_code, "the task failed") if message is None else message
            job.exits = (*job.exits, Exit(task=task, code=exit_code, message=text))
        self.finish(job, JobState.FAILED, at=at)

    def stop(self, job: Job, *, grace_s: float) -> None:
        """It is terminating now, and terminated after the grace; what has ended already stays as it is."""
        if job.state.finished or job.state is JobState.TERMINATING:
            return
        job.epoch += 1
        self.enter(job, JobState.TERMINATING)
        self.later(job, grace_s, lambda job: self.finish(job, JobState.TERMINATED))

    def finish(self, job: Job, state: JobState, *, at: float | None = None) -> None:
        """It has ended, and gives back its nodes."""
        job.epoch += 1
        at = self.now if at is None else millisecond(at)
        job.ended_at = at
        if job.node_counts:
            job.node_counts = [*job.node_counts, (at, 0)]
        if job.records:
            last = job.records[-1]
            last.ended_at = at
            last.reason = "job completed" if state is JobState.COMPLETED else _reason(job)
            last.task = job.exits[-1].task if job.exits else ""
        self.enter(job, state)
        self.tenant_of(job).ledger.finish(job, at)
        self._release(job)
        if job.plan and job.plan.delete_after_s is not None:
            self.later(job, job.plan.delete_after_s, self.delete)
        self.forget(job)

    def come_back(self, job: Job) -> None:
        """A lost job turns up again, running as before. Raises ValueError for one that is not lost."""
        if job.state is not JobState.LOST:
            raise ValueError(f"job {job.id} is {job.state.value}, not lost")
        job.epoch += 1
        job.ended_at = None
        if job.records:
            last = job.records[-1]
            last.ended_at, last.reason = None, ""
            job.node_counts = [*job.node_counts, (self.now, job.nodes)]
        self.enter(job, JobState.RUNNING)

    def delete(self, job: Job) -> None:
        """It is gone, whatever it did."""
        tenant = self.tenant_of(job)
        if tenant.job_index(job.api).get(job.id) is None:
            return
        job.epoch += 1
        tenant.ledger.drop(job, self.now)
        tenant.drop(job)
        self._release(job)

    def forget(self, job: Job) -> None:
        """Delete a finished job in due time, where the world forgets."""
        if self._forget_after_s is not None and job.ended_at is not None:
            self.later(job, max(0.0, job.ended_at + self._forget_after_s - self.now), self.delete)

    def _release(self, job: Job) -> None:
        group = self.tenant_of(job).pool(job.pool).group(job.flavor)
        if group is None or job.placement is None:
            return
        group.release(job.placement)
        job.placement = None
        self.on_free(job)


def _reason(job: Job) -> str:
    return f"exit with {job.exits[-1].code}" if job.exits else "job stopped"


def millisecond(moment: float) -> float:
    """The moment to the millisecond, as the API tells it."""
    return round(moment, 3)
