"""Simulated time, its events, and the state changes of a job."""

import heapq
from collections.abc import Callable, Mapping
from itertools import count

from exporter.simulator.world.job import Exit, Job, JobState, Record, Recovery
from exporter.simulator.world.job_script import MESSAGES
from exporter.simulator.world.project import Project


class SimulationEngine:
    """The current time, a queue of events, and the state changes of a job.

    `retention_s`: finished jobs are deleted that long after their end; None means never.
    """

    def __init__(self, projects: Mapping[str, Project], *, now: float, retention_s: float | None) -> None:
        self.now = now
        self.projects = projects
        self.on_nodes_freed: Callable[[Job], None] = lambda _: None
        """Called with each job that has released its nodes."""
        self._retention_s = retention_s
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    # Time

    def advance_to(self, moment: float) -> None:
        """Run every event up to that moment; a moment in the past changes nothing."""
        while self._events and self._events[0][0] <= moment:
            at, _, run = heapq.heappop(self._events)
            self.now = max(self.now, at)
            run()
        self.now = max(self.now, millisecond(moment))

    def schedule(self, delay_s: float, event: Callable[[], None]) -> None:
        """Run an event later."""
        heapq.heappush(self._events, (millisecond(self.now + delay_s), next(self._order), event))

    def schedule_for(self, job: Job, delay_s: float, event: Callable[[Job], None]) -> None:
        """Run an event of a job later, unless the job's epoch has changed by then."""
        epoch = job.epoch

        def run() -> None:
            if job.epoch == epoch:
                event(job)

        self.schedule(delay_s, run)

    # State changes

    def project_of(self, job: Job) -> Project:
        """The project of the job."""
        return self.projects[job.project]

    def set_state(self, job: Job, state: JobState) -> None:
        """Change the state, and nothing else."""
        job.state = state
        self.project_of(job).job_index(job.api).update(job)

    def start(self, job: Job, *, at: float | None = None) -> None:
        """Start the first run."""
        at = self.now if at is None else millisecond(at)
        job.started_at = at
        job.node_counts = [(at, job.nodes)]
        job.records = [Record(started_at=at)]
        self.set_state(job, JobState.RUNNING)
        self.project_of(job).ledger.start(job, at)

    def preempt(self, job: Job) -> None:
        """Queue a running job again; it holds no nodes. Raises ValueError for a job that does not run."""
        if job.state is not JobState.RUNNING:
            raise ValueError(f"job {job.id} is {job.state.value}, not running")
        job.epoch += 1
        job.node_counts = [*job.node_counts, (self.now, 0)]
        job.records[-1].ended_at, job.records[-1].reason = self.now, "preempted"
        self.set_state(job, JobState.QUEUED)
        self._release(job)

    def resume(self, job: Job) -> None:
        """Let a preempted job run on. Raises ValueError for a job that is not queued or has never run."""
        if job.state is not JobState.QUEUED or job.started_at is None:
            raise ValueError(f"job {job.id} was not preempted")
        job.epoch += 1
        job.node_counts = [*job.node_counts, (self.now, job.nodes)]
        job.records = [*job.records, Record(started_at=self.now)]
        self.set_state(job, JobState.RUNNING)

    def scale(self, job: Job, nodes: int) -> None:
        """Change the number of nodes, from now on."""
        job.node_counts = [*job.node_counts, (self.now, nodes)]

    def recover(self, job: Job, *, policy: str, scenario: str, gap_s: float, tried: str, task: str) -> None:
        """Stop the run by a fault now and restart it after the gap; the state does not change."""
        last = job.records[-1]
        recovery = self._recovery(job, last, policy=policy, scenario=scenario, lasts_s=gap_s, task=task)
        recovery.result = "downgrade" if tried else "success"
        last.ended_at, last.reason, last.task = self.now, recovery.reason, task
        last.policy, last.tried = policy, tried
        start_type = "restarted" if policy.endswith("proc_restart") else "init_or_rescheduled"
        job.records = [*job.records, Record(started_at=recovery.ends_at, start_type=start_type)]
        self.project_of(job).ledger.recover(policy, self.now)

    def heal(self, job: Job, *, policy: str, scenario: str, lasts_s: float, result: str, task: str) -> None:
        """Let a fault occur now from which the job recovers in place: the run goes on, and its record too."""
        recovery = self._recovery(job, job.records[-1], policy=policy, scenario=scenario, lasts_s=lasts_s, task=task)
        recovery.result = result

    def _recovery(
        self, job: Job, record: Record, *, policy: str, scenario: str, lasts_s: float, task: str
    ) -> Recovery:
        recovery = Recovery(
            began_at=self.now,
            ends_at=millisecond(self.now + lasts_s),
            policy=policy,
            scenario=scenario,
            task=task,
            result="success",
        )
        record.recoveries.append(recovery)

        def end() -> None:
            if recovery.ends_at == self.now:  # the job has not ended before
                self._count(job, record, recovery)

        self.schedule(lasts_s, end)
        return recovery

    def _count(self, job: Job, record: Record, recovery: Recovery) -> None:
        ledger = self.project_of(job).ledger
        ledger.fault(job, recovery.scenario, recovery.result, self.now)
        if recovery.result == "success":
            ledger.recovery_time(recovery.policy, recovery.began_at, recovery.ends_at)
            if not record.policy or recovery is not record.recoveries[-1]:
                ledger.recover(recovery.policy, self.now)

    def fail(
        self, job: Job, *, exit_code: int, task: str, message: str | None = None, at: float | None = None
    ) -> None:
        """End a job as failed, a task with that exit code; a job that never started has no exit code."""
        if job.started_at is not None:
            text = MESSAGES.get(exit_code, "the task failed") if message is None else message
            job.exits = (*job.exits, Exit(task=task, code=exit_code, message=text))
        self.finish(job, JobState.FAILED, at=at)

    def stop(self, job: Job, *, grace_s: float) -> None:
        """Terminating now, terminated after the grace; a job that has ended does not change."""
        if job.state.finished or job.state is JobState.TERMINATING:
            return
        job.epoch += 1
        self.set_state(job, JobState.TERMINATING)
        self.schedule_for(job, grace_s, lambda job: self.finish(job, JobState.TERMINATED))

    def finish(self, job: Job, state: JobState, *, at: float | None = None) -> None:
        """End a job in that state and release its nodes."""
        job.epoch += 1
        at = self.now if at is None else millisecond(at)
        job.ended_at = at
        if job.node_counts:
            job.node_counts = [*job.node_counts, (at, 0)]
        if job.records:
            last = job.records[-1]
            for record in job.records[-2:]:
                for recovery in record.recoveries:
                    if recovery.ends_at > at:
                        recovery.ends_at, recovery.result = at, "terminated"
                        self._count(job, record, recovery)
            last.ended_at = at
            last.reason = "job completed" if state is JobState.COMPLETED else _reason(job)
            last.task = job.exits[-1].task if job.exits else ""
        self.set_state(job, state)
        self.project_of(job).ledger.finish(job, at)
        self._release(job)
        if job.script and job.script.delete_after_s is not None:
            self.schedule_for(job, job.script.delete_after_s, self.delete)
        self.schedule_expiry(job)

    def come_back(self, job: Job) -> None:
        """Return a lost job to running. Raises ValueError for a job that is not lost."""
        if job.state is not JobState.LOST:
            raise ValueError(f"job {job.id} is {job.state.value}, not lost")
        job.epoch += 1
        job.ended_at = None
        if job.records:
            last = job.records[-1]
            last.ended_at, last.reason = None, ""
            job.node_counts = [*job.node_counts, (self.now, job.nodes)]
        self.set_state(job, JobState.RUNNING)

    def delete(self, job: Job) -> None:
        """Delete a job, in any state; a job that is already deleted is no error."""
        project = self.project_of(job)
        if project.job_index(job.api).get(job.id) is None:
            return
        job.epoch += 1
        project.ledger.remove(job, self.now)
        project.remove(job)
        self._release(job)

    def schedule_expiry(self, job: Job) -> None:
        """Schedule the deletion of a finished job at the end of its retention, if there is one."""
        if self._retention_s is not None and job.ended_at is not None:
            self.schedule_for(job, max(0.0, job.ended_at + self._retention_s - self.now), self.delete)

    def _release(self, job: Job) -> None:
        group = self.project_of(job).pool(job.pool).group(job.flavor)
        if group is None or job.placement is None:
            return
        group.release(job.placement)
        job.placement = None
        self.on_nodes_freed(job)


def _reason(job: Job) -> str:
    return f"exit with {job.exits[-1].code}" if job.exits else "job stopped"


def millisecond(moment: float) -> float:
    """Round a moment to the millisecond, the resolution of the API."""
    return round(moment, 3)
