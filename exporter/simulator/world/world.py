"""The simulated world: jobs are submitted, wait, run, fail, recover and end, by a random script or moved manually."""

import random
import uuid
from collections.abc import Sequence
from itertools import count

from exporter.simulator.options import Options
from exporter.simulator.world.engine import SimulationEngine, millisecond
from exporter.simulator.world.flavor import ENGINES, Engine, Flavor, flavor
from exporter.simulator.world.ground_truth import Totals
from exporter.simulator.world.history import add_history
from exporter.simulator.world.job import Api, Job, JobScript, JobState, Profile, Role, V1Job
from exporter.simulator.world.job_script import MEAN_LIFETIME_S, draft, draw_script
from exporter.simulator.world.lifecycle import Lifecycle
from exporter.simulator.world.pool import NodeGroup
from exporter.simulator.world.project import Project

_WARM_UP_LIFETIMES = 4.0
"""Mean lifetimes of a job that are simulated before the world starts, so that it starts in a steady state."""
_REPAIR_S = 1_800.0
"""Mean time until a node that broke by chance is repaired."""
_MIN_NODES_PER_BROKEN = 3
"""Of every three nodes of a group at most one is broken by chance."""
_MAX_OVERLOAD = 1.15
"""Arrivals stop above this multiple of `Options.jobs`; otherwise a queue could grow without limit."""


class World:
    """All projects, pools and jobs at one moment of simulated time.

    A job submitted by `submit` is moved manually (`enqueue`, `start`, `fail`, …) unless it has a script; random jobs
    and jobs of the create calls have one. Times are seconds since the epoch, rounded to milliseconds.
    """

    def __init__(self, options: Options, *, now: float) -> None:
        self.options = options
        self.created_at = millisecond(now)
        self.ahead_s = 0.0
        """How far `advance` has moved this world ahead of its clock."""
        self.projects = {
            each.id: Project(each, opened_at=self.created_at, jobs=0 if options.empty else options.jobs)
            for each in options.projects
        }
        """By project id."""
        self._engine = SimulationEngine(self.projects, now=self.created_at, retention_s=options.retention_s)
        self._lifecycle = Lifecycle(self._engine)
        self._numbers = count(10_001)
        self._rng = random.Random(f"{options.seed}/chance")
        if not options.empty:
            for project in self.projects.values():
                self._populate(project)
                self._schedule_breakdown(project, random.Random(f"{options.seed}/{project.options.id}/breakdowns"))

    # Reading

    @property
    def jobs(self) -> list[Job]:
        """Every job of every project and generation, in the order of submission within each."""
        return [job for project in self.projects.values() for job in project.jobs()]

    @property
    def unfinished(self) -> list[Job]:
        """The jobs that have not ended."""
        return [job for project in self.projects.values() for job in project.unfinished()]

    def job(self, key: str) -> Job:
        """Return the job with that id (uuid, or v1 version id), else the newest job of that name.

        Raises KeyError.
        """
        for project in self.projects.values():
            if (found := project.job(key)) is not None:
                return found
        named = [job for job in self.jobs if job.name == key]
        if not named:
            raise KeyError(f"no job {key!r}")
        return max(named, key=lambda job: job.submitted_at)

    def project(self, project_id: str | None = None) -> Project:
        """Return the project with that id; None means the first one. Raises KeyError."""
        return next(iter(self.projects.values())) if project_id is None else self.projects[project_id]

    def ground_truth(self, project_id: str | None = None) -> Totals:
        """Return the true totals of one project, or of all."""
        totals = Totals()
        for project in [self.projects[project_id]] if project_id else self.projects.values():
            totals.add(project.ledger.totals_at(self.now, unfinished=project.unfinished()))
        return totals

    # Time

    @property
    def now(self) -> float:
        """The simulated time, in seconds since the epoch."""
        return self._engine.now

    def advance(self, seconds: float) -> None:
        """Let time pass: from now on this world is ahead of its clock by that much more."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self.ahead_s += seconds
        self.advance_to(self.now + seconds)

    def advance_to(self, moment: float) -> None:
        """Run every event up to that moment; a moment in the past changes nothing."""
        self._engine.advance_to(moment)

    # Submitting

    def submit(
        self,
        name: str = "",
        *,
        api: Api = "v2",
        project: str | None = None,
        pool: str = "",
        nodes: int = 1,
        accelerators_per_node: int = 8,
        accelerator: str = "gpu",
        spec: Flavor | None = None,
        user: str = "vision-train",
        workspace: str = "0",
        kind: str = "job",
        roles: Sequence[Role] = (),
        engine: Engine = ENGINES[0],
        priority: int = 1,
        preemptible: bool = False,
        runtime_type: str = "production",
        description: str = "",
        profile: Profile = "steady",
        accelerator_field: str | None = None,
        version_of: Job | None = None,
        job_id: str | None = None,
        submitted_at: float | None = None,
        script: JobScript | None = None,
    ) -> Job:
        """Submit a job in state CREATING. Without a script it stays there until it is moved manually.

        `project`: an id; None is the first project. `pool`: an id; an unknown id creates a pool without limits.
        `accelerator_field`: the v2 field that states the accelerators (see pool.ACCELERATOR_FIELDS); None
        is the pool's. `version_of`: a v1 job whose next version this is. `submitted_at`: a moment in the past; None
        is now. `job_id`: the uuid, or the version id for v1; None draws one from the seed.
        """
        parent = self.project(project)
        at = self.now if submitted_at is None else millisecond(submitted_at)
        number = int(job_id) if api == "v1" and job_id else next(self._numbers)
        rng = self._seeded_rng(parent, number)
        its_pool = parent.pool(pool)
        spec = spec or flavor(accelerator, accelerators_per_node, public=not pool)
        nodes = sum(role.nodes for role in roles) if roles else nodes
        seed = rng.getrandbits(30)
        drawn_id = str(number) if api == "v1" else str(uuid.UUID(int=rng.getrandbits(128), version=4))
        name = name or f"job-{number}"
        job = Job(
            project=parent.options.id,
            api=api,
            number=number,
            id=job_id or drawn_id,
            name=name,
            user=user,
            workspace=workspace,
            pool=pool,
            accelerator_field=accelerator_field or its_pool.accelerator_field,
            flavor=spec,
            nodes=nodes,
            submitted_at=at,
            seed=seed,
            engine=engine,
            description=description,
            kind=kind,
            priority=priority,
            preemptible=preemptible,
            runtime_type=runtime_type,
            roles=tuple(roles),
            script=script,
            profile=profile,
        )
        if api == "v1":
            v1_job = version_of.v1_job if version_of else None
            job.v1_job = v1_job or parent.add_v1_job(
                V1Job(
                    id=number - 1_000,
                    name=name,
                    description=description,
                    workspace=workspace,
                    user=user,
                    created_at=at,
                )
            )
            job.name, job.workspace, job.user = job.v1_job.name, job.v1_job.workspace, job.v1_job.user
            job.v1_job.versions.append(job)
        parent.job_index(api).add(job)
        parent.ledger.submit(job, at)
        if script:
            self._lifecycle.begin(job)
        return job

    def draw_script(
        self, *, nodes: int, api: Api, hetero: bool = False, rng: random.Random | None = None
    ) -> JobScript:
        """Draw a script for a job with these properties, to be passed to `submit`."""
        return draw_script(rng or self._rng, nodes=nodes, api=api, pace=self.options.pace, hetero=hetero)

    # Moving a job manually

    def enqueue(self, job: Job) -> None:
        """Move a created job to its queue."""
        job.epoch += 1
        self._engine.set_state(job, JobState.QUEUED)

    def start(self, job: Job, *, at: float | None = None) -> None:
        """Start a job, whether its pool has free nodes or not; `at` may lie in the past."""
        job.epoch += 1
        self._engine.start(job, at=at)

    def preempt(self, job: Job) -> None:
        """Take its nodes from a running job: it is queued again, with its old start time."""
        self._engine.preempt(job)

    def resume(self, job: Job) -> None:
        """Give a preempted job nodes again: it runs on."""
        self._engine.resume(job)

    def scale(self, job: Job, nodes: int) -> None:
        """Change the number of nodes, from now on."""
        self._engine.scale(job, nodes)

    def recover(
        self,
        job: Job,
        *,
        policy: str = "job_reschedule",
        scenario: str = "node_fault",
        gap_s: float = 60.0,
        tried: str = "",
        task: str = "worker-0",
    ) -> None:
        """Stop a run by a fault now and restart it `gap_s` later; its phase does not change.

        `tried`: the policy that was tried first, where it had to be downgraded.
        """
        self._engine.recover(job, policy=policy, scenario=scenario, gap_s=gap_s, tried=tried, task=task)

    def heal(
        self,
        job: Job,
        *,
        policy: str = "npu_step_retry",
        scenario: str = "chip_fault",
        lasts_s: float = 5.0,
        result: str = "success",
        task: str = "worker-0",
    ) -> None:
        """Let a fault occur now from which a job recovers in place within `lasts_s`: its run is not interrupted."""
        self._engine.heal(job, policy=policy, scenario=scenario, lasts_s=lasts_s, result=result, task=task)

    def complete(self, job: Job, *, at: float | None = None) -> None:
        """End a job as completed."""
        self._engine.finish(job, JobState.COMPLETED, at=at)

    def fail(
        self,
        job: Job,
        *,
        exit_code: int = 1,
        task: str | None = None,
        message: str | None = None,
        at: float | None = None,
    ) -> None:
        """End a job as failed; a task (the first one) has that exit code. A job that never started has none."""
        self._engine.fail(job, exit_code=exit_code, task=task or job.tasks[0], message=message, at=at)

    def create_fail(self, job: Job) -> None:
        """End a job whose creation failed."""
        self._engine.finish(job, JobState.CREATE_FAILED)

    def lose(self, job: Job, *, at: float | None = None) -> None:
        """End a job as lost."""
        self._engine.finish(job, JobState.LOST, at=at)

    def come_back(self, job: Job) -> None:
        """Return a lost job to running. Raises ValueError for a job that is not lost."""
        self._engine.come_back(job)

    def stop(self, job: Job, *, grace_s: float = 20.0) -> None:
        """Stop a job: terminating now, terminated after the grace. A job that has ended does not change."""
        self._engine.stop(job, grace_s=grace_s)

    def terminate(self, job: Job, *, at: float | None = None) -> None:
        """End a job as terminated, without grace."""
        self._engine.finish(job, JobState.TERMINATED, at=at)

    def delete(self, job: Job) -> None:
        """Delete a job, in any state."""
        self._engine.delete(job)

    # Nodes

    def break_nodes(
        self, pool: str, nodes: int = 1, *, accelerator: str | None = None, project: str | None = None
    ) -> int:
        """Break that many nodes of a pool, emptiest first, and return how many were broken. Raises KeyError.

        Broken nodes take no new jobs; jobs that run on them continue. `accelerator` selects the nodes in a pool that
        has several kinds.
        """
        return sum(len(group.break_down(nodes)) for group in self._groups(pool, accelerator, project)[:1])

    def repair_nodes(self, pool: str, *, project: str | None = None) -> None:
        """Repair all nodes of a pool and place the jobs that wait for them. Raises KeyError."""
        for group in self._groups(pool, None, project):
            self._repair(group, list(group.broken))

    def _groups(self, pool: str, accelerator: str | None, project: str | None) -> list[NodeGroup]:
        groups = self.project(project).pools[pool].groups
        return [group for group in groups if accelerator in (None, group.accelerator)]

    def _schedule_breakdown(self, project: Project, rng: random.Random) -> None:
        """Schedule the next random breakdown. `rng` serves breakdowns only: without them the world is the same."""
        if not self.options.breakdowns:
            return

        def break_one() -> None:
            groups = [group for pool in project.pools.values() if pool.id for group in pool.groups]
            group = rng.choices(groups, [group.nodes for group in groups])[0]
            if _MIN_NODES_PER_BROKEN * (len(group.broken) + 1) <= group.nodes:
                broken = group.break_down(1)
                repair_s = rng.expovariate(self.options.pace / _REPAIR_S)
                self._engine.schedule(repair_s, lambda: self._repair(group, broken))
            self._schedule_breakdown(project, rng)

        self._engine.schedule(rng.expovariate(self.options.breakdowns * self.options.pace / 3_600), break_one)

    def _repair(self, group: NodeGroup, nodes: list[int]) -> None:
        group.repair(nodes)
        self._lifecycle.place_waiting(group)

    # Random jobs

    def submit_random(self, project: Project, rng: random.Random | None = None) -> Job:
        """Submit a random job with a random script."""
        rng = rng or self._rng
        drawn = draft(rng, v1_share=self.options.v1_share, capacity=project.capacity())
        previous = project.newest_version() if drawn.api == "v1" and drawn.new_version else None
        return self.submit(
            drawn.name,
            api=drawn.api,
            project=project.options.id,
            pool=drawn.pool,
            nodes=drawn.nodes,
            spec=drawn.flavor,
            user=drawn.user,
            workspace=project.options.workspaces[-1 if drawn.second_workspace else 0][0],
            kind=drawn.kind,
            roles=drawn.roles,
            engine=drawn.engine,
            priority=drawn.priority,
            profile="",
            version_of=previous,
            script=self.draw_script(nodes=drawn.nodes, api=drawn.api, hetero=bool(drawn.roles), rng=rng),
        )

    def _populate(self, project: Project) -> None:
        options = self.options
        rate = self._arrival_rate()
        self._engine.now = self.created_at - (_WARM_UP_LIFETIMES * MEAN_LIFETIME_S / options.pace if rate else 0.0)
        add_history(
            project,
            options,
            numbers=self._numbers,
            rng=self._seeded_rng(project, 0),
            until=self.now,
            created_at=self.created_at,
        )
        if rate:
            self._schedule_arrival(project, self._seeded_rng(project, 1), rate)
            self.advance_to(self.created_at)
            project.trim(options.history)
        for job in project.jobs():
            self._engine.schedule_expiry(job)

    def _arrival_rate(self) -> float:
        """Random jobs a second, in each project."""
        if self.options.arrivals is not None:
            return self.options.arrivals / 3_600
        return self.options.jobs / (MEAN_LIFETIME_S / self.options.pace)

    def _schedule_arrival(self, project: Project, rng: random.Random, rate: float) -> None:
        def arrive() -> None:
            if self.options.arrivals is not None or project.unfinished_count < self.options.jobs * _MAX_OVERLOAD:
                self.submit_random(project, rng)
            self._schedule_arrival(project, rng, rate)

        self._engine.schedule(rng.expovariate(rate), arrive)

    def _seeded_rng(self, project: Project, number: int) -> random.Random:
        return random.Random(f"{self.options.seed}/{project.options.id}/{number}")
