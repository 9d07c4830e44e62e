"""The course of planned jobs: what fate has in store for them, carried out on the stage."""

from collections.abc import Callable

from exporter.simulator.world.engine import SimulationEngine
from exporter.simulator.world.job import Incident, Job, JobScript, JobState
from exporter.simulator.world.pool import Group

_V1_STEPS = ((JobState.IMAGE, 0.3), (JobState.SUBMITTING, 0.7))
"""What an old job goes through while it is created, and when, as a part of that time."""


class Lifecycle:
    """Carries jobs through their plans, and hands free nodes to those that wait."""

    def __init__(self, stage: SimulationEngine) -> None:
        self._stage = stage
        stage.on_free = self._freed

    def follow(self, job: Job) -> None:
        """Let a new job with a plan take its course."""
        create_s = _fate(job).create_s
        self._stage.later(job, create_s, self._created)
        if job.api == "v1":
            for state, share in _V1_STEPS:
                self._stage.later(job, create_s * share, self._entering(state))

    def _entering(self, state: JobState) -> Callable[[Job], None]:
        return lambda job: self._stage.enter(job, state)

    def _created(self, job: Job) -> None:
        fate = _fate(job)
        if fate.outcome is JobState.CREATE_FAILED:
            self._stage.finish(job, JobState.CREATE_FAILED)
            return
        self._stage.enter(job, JobState.QUEUED)
        if fate.cancel_after_s is not None:
            self._stage.later(job, fate.cancel_after_s, self._give_up)
        group = self._stage.tenant_of(job).pool(job.pool).group(job.flavor)
        if group is None:
            self._pull(job)
        else:
            group.enqueue(job, at=self._stage.now)
            self._dispatch(group)

    def _give_up(self, job: Job) -> None:
        if job.state is JobState.QUEUED:
            self._stage.finish(job, JobState.TERMINATED)

    def _freed(self, job: Job) -> None:
        group = self._stage.tenant_of(job).pool(job.pool).group(job.flavor)
        if group is not None:
            self._dispatch(group)

    def offer(self, group: Group) -> None:
        """Nodes of the group are sound again: hand them to those that wait."""
        self._dispatch(group)

    def _dispatch(self, group: Group) -> None:
        while (job := group.head()) is not None:
            job.placement = group.place(nodes=job.nodes, slots=job.flavor.slots)
            if job.placement is None:
                return
            self._pull(job)

    def _pull(self, job: Job) -> None:
        self._stage.enter(job, JobState.STARTING)
        self._stage.later(job, _fate(job).pull_s, self._run)

    def _run(self, job: Job) -> None:
        fate = _fate(job)
        self._stage.begin(job)
        for incident in fate.incidents:
            if incident.after_s < fate.run_s:
                self._stage.later(job, incident.after_s, self._striking(incident))
        self._stage.later(job, fate.run_s, self._conclude)

    def _striking(self, incident: Incident) -> Callable[[Job], None]:
        strike = self._break if incident.kind == "recover" else self._rescale
        return lambda job: strike(job, incident)

    def _break(self, job: Job, incident: Incident) -> None:
        if self._stage.now >= job.records[-1].started_at:  # while it recovers, nothing runs that could break
            self._stage.recover(
                job,
                policy=incident.policy,
                scenario=incident.scenario,
                gap_s=incident.gap_s,
                tried=incident.tried,
                task=_unlucky(job),
            )

    def _rescale(self, job: Job, incident: Incident) -> None:
        if job.api == "v2":
            self._stage.scale(job, incident.nodes)
            return
        self._stage.enter(job, JobState.SCALING)  # all that the old generation tells of it
        self._stage.later(job, incident.gap_s, self._entering(JobState.RUNNING))

    def _conclude(self, job: Job) -> None:
        fate = _fate(job)
        if fate.outcome is JobState.FAILED:
            self._stage.fail(job, exit_code=fate.exit_code, task=_unlucky(job))
        elif fate.outcome is JobState.TERMINATED:
            self._stage.stop(job, grace_s=fate.stop_s)
        else:
            self._stage.finish(job, fate.outcome)


def _unlucky(job: Job) -> str:
    return job.tasks[job.seed % len(job.tasks)]


def _fate(job: Job) -> JobScript:
    if job.plan is None:
        raise ValueError(f"job {job.id} has no plan")
    return job.plan
