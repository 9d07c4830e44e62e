"""Runs the script of each scripted job, and places waiting jobs on free nodes."""

from collections.abc import Callable

from exporter.simulator.world.engine import SimulationEngine
from exporter.simulator.world.job import Incident, Job, JobScript, JobState
from exporter.simulator.world.pool import NodeGroup

_V1_STEPS = ((JobState.IMAGE, 0.3), (JobState.SUBMITTING, 0.7))
"""(state, fraction of the creation time at which a v1 job enters it)."""


class Lifecycle:
    """Runs the scripts of jobs, and places waiting jobs on free nodes."""

    def __init__(self, engine: SimulationEngine) -> None:
        self._engine = engine
        engine.on_nodes_freed = self._nodes_freed

    def begin(self, job: Job) -> None:
        """Begin the script of a new job."""
        create_s = _script(job).create_s
        self._engine.schedule_for(job, create_s, self._created)
        if job.api == "v1":
            for state, share in _V1_STEPS:
                self._engine.schedule_for(job, create_s * share, self._setting(state))

    def place_waiting(self, group: NodeGroup) -> None:
        """Place waiting jobs on free nodes in the order of the queue, until one does not fit."""
        while (job := group.next_waiting()) is not None:
            job.placement = group.place(nodes=job.nodes, slots=job.flavor.slots)
            if job.placement is None:
                return
            self._pull(job)

    def _setting(self, state: JobState) -> Callable[[Job], None]:
        return lambda job: self._engine.set_state(job, state)

    def _created(self, job: Job) -> None:
        script = _script(job)
        if script.outcome is JobState.CREATE_FAILED:
            self._engine.finish(job, JobState.CREATE_FAILED)
            return
        self._engine.set_state(job, JobState.QUEUED)
        if script.cancel_after_s is not None:
            self._engine.schedule_for(job, script.cancel_after_s, self._cancel)
        group = self._engine.project_of(job).pool(job.pool).group(job.flavor)
        if group is None:
            self._pull(job)
        else:
            group.enqueue(job, at=self._engine.now)
            self.place_waiting(group)

    def _cancel(self, job: Job) -> None:
        if job.state is JobState.QUEUED:
            self._engine.finish(job, JobState.TERMINATED)

    def _nodes_freed(self, job: Job) -> None:
        group = self._engine.project_of(job).pool(job.pool).group(job.flavor)
        if group is not None:
            self.place_waiting(group)

    def _pull(self, job: Job) -> None:
        self._engine.set_state(job, JobState.STARTING)
        self._engine.schedule_for(job, _script(job).pull_s, self._run)

    def _run(self, job: Job) -> None:
        script = _script(job)
        self._engine.start(job)
        for incident in script.incidents:
            if incident.after_s < script.run_s:
                self._engine.schedule_for(job, incident.after_s, self._applying(incident))
        self._engine.schedule_for(job, script.run_s, self._end)

    def _applying(self, incident: Incident) -> Callable[[Job], None]:
        apply = {"recover": self._recover, "heal": self._heal, "scale": self._scale}[incident.kind]
        return lambda job: apply(job, incident)

    def _recover(self, job: Job, incident: Incident) -> None:
        if self._engine.now >= job.records[-1].started_at:  # during a recovery nothing runs that could fail
            self._engine.recover(
                job,
                policy=incident.policy,
                scenario=incident.scenario,
                gap_s=incident.gap_s,
                tried=incident.tried,
                task=_failing_task(job),
            )

    def _heal(self, job: Job, incident: Incident) -> None:
        if self._engine.now >= job.records[-1].started_at:
            self._engine.heal(
                job,
                policy=incident.policy,
                scenario=incident.scenario,
                lasts_s=incident.gap_s,
                result="success",
                task=_failing_task(job),
            )

    def _scale(self, job: Job, incident: Incident) -> None:
        if job.api == "v2":
            self._engine.scale(job, incident.nodes)
            return
        self._engine.set_state(job, JobState.SCALING)  # v1 responses show the state only, never the node counts
        self._engine.schedule_for(job, incident.gap_s, self._setting(JobState.RUNNING))

    def _end(self, job: Job) -> None:
        script = _script(job)
        if script.outcome is JobState.FAILED:
            self._engine.fail(job, exit_code=script.exit_code, task=_failing_task(job))
        elif script.outcome is JobState.TERMINATED:
            self._engine.stop(job, grace_s=script.stop_s)
        else:
            self._engine.finish(job, script.outcome)


def _failing_task(job: Job) -> str:
    return job.tasks[job.seed % len(job.tasks)]


def _script(job: Job) -> JobScript:
    if job.script is None:
        raise ValueError(f"job {job.id} has no script")
    return job.script
