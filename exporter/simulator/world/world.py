"""The living world: jobs come, wait, run, break, recover and end, by themselves or by your hand."""

import random
import uuid
from collections.abc import Sequence
from itertools import count

from exporter.simulator.options import Options
from exporter.simulator.world.engine import SimulationEngine, millisecond
from exporter.simulator.world.flavor import ENGINES, Engine, Flavor, flavor
from exporter.simulator.world.ground_truth import Totals
from exporter.simulator.world.history import fill
from exporter.simulator.world.job import Api, Job, JobScript, JobState, Lineage, Profile, Role
from exporter.simulator.world.job_script import MEAN_LIFE_S, draft, plan
from exporter.simulator.world.lifecycle import Lifecycle
from exporter.simulator.world.pool import Group
from exporter.simulator.world.project import Project

_WARM_UP_LIVES = 4.0
"""How many mean lives of a job are played before the world begins, so that it begins in the middle of things."""
_REPAIR_S = 1_800.0
"""How long a node that broke by itself stays so, on average."""
_SOUND = 3
"""Of so many nodes at most one is broken by chance."""
_PATIENCE = 1.15
"""People hold back when there are this many times the jobs there should be; otherwise a queue might grow for ever."""


class World:
    """Everything that exists, at one moment of simulated time.

    A job submitted by `submit` is moved by hand (`enqueue`, `start`, `fail`, …) unless it is given a plan; jobs that
    arrive by themselves, or through the create calls, have one. Times are seconds since the epoch, in milliseconds.
    """

    def __init__(self, options: Options, *, now: float) -> None:
        self.options = options
        self.born_at = millisecond(now)
        self.ahead_s = 0.0
        """How far `advance` has moved this world ahead of its clock."""
        self.tenants = {
            project.id: Project(project, opened_at=self.born_at, jobs=0 if options.empty else options.jobs)
            for project in options.projects
        }
        self._stage = SimulationEngine(self.tenants, now=self.born_at, forget_after_s=options.forget_after_s)
        self._course = Lifecycle(self._stage)
        self._numbers = count(10_001)
        self._chance = random.Random(f"{options.seed}/chance")
        if not options.empty:
            for tenant in self.tenants.values():
                self._populate(tenant)
                self._next_breakdown(tenant, random.Random(f"{options.seed}/{tenant.project.id}/breakdowns"))

    # Looking

    @property
    def jobs(self) -> list[Job]:
        """Every job of every project and generation, in the order of submission within each."""
        return [job for tenant in self.tenants.values() for job in tenant.jobs()]

    @property
    def unfinished(self) -> list[Job]:
        """The jobs that have not ended."""
        return [job for tenant in self.tenants.values() for job in tenant.unfinished()]

    def job(self, key: str) -> Job:
        """Return the job with that id (uuid, or v1 version id) or, failing that, the newest of that name.

        Raises KeyError.
        """
        for tenant in self.tenants.values():
            if (found := tenant.job(key)) is not None:
                return found
        named = [job for job in self.jobs if job.name == key]
        if not named:
            raise KeyError(f"no job {key!r}")
        return max(named, key=lambda job: job.submitted_at)

    def tenant(self, project: str | None = None) -> Project:
        """Return the project with that id; None means the first one. Raises KeyError."""
        return next(iter(self.tenants.values())) if project is None else self.tenants[project]

    def books(self, project: str | None = None) -> Totals:
        """Return the true totals of one project, or of all."""
        totals = Totals()
        for tenant in [self.tenants[project]] if project else self.tenants.values():
            totals.add(tenant.ledger.read(tenant.unfinished(), self.now))
        return totals

    # Time

    @property
    def now(self) -> float:
        """The world's time, in seconds since the epoch."""
        return self._stage.now

    def advance(self, seconds: float) -> None:
        """Let time pass: this world is that much further ahead of its clock from now on."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self.ahead_s += seconds
        self.advance_to(self.now + seconds)

    def advance_to(self, moment: float) -> None:
        """Let happen what happens until then; a moment in the past changes nothing."""
        self._stage.advance_to(moment)

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
        description: str = "",
        profile: Profile = "steady",
        telling: str | None = None,
        version_of: Job | None = None,
        job_id: str | None = None,
        submitted_at: float | None = None,
        plan: JobScript | None = None,
    ) -> Job:
        """Submit a job, which is then being created. Without a plan it waits for your hand.

        `pool`: an id; an unknown one makes a pool without limits. `telling` overrides how a v2 answer tells the
        accelerators (see pool.TELLINGS). `version_of`: a v1 job whose next version this is. `submitted_at`: a moment
        in the past; None is now. `job_id`: the uuid, or the version id for v1, instead of one that the seed makes.
        """
        tenant = self.tenant(project)
        at = self.now if submitted_at is None else millisecond(submitted_at)
        number = int(job_id) if api == "v1" and job_id else next(self._numbers)
        rng = self._rng(tenant, number)
        place = tenant.pool(pool)
        spec = spec or flavor(accelerator, accelerators_per_node, public=not pool)
        nodes = sum(role.nodes for role in roles) if roles else nodes
        seed = rng.getrandbits(30)
        fresh = str(number) if api == "v1" else str(uuid.UUID(int=rng.getrandbits(128), version=4))
        name = name or f"job-{number}"
        job = Job(
            project=tenant.project.id,
            api=api,
            number=number,
            id=job_id or fresh,
            name=name,
            user=user,
            workspace=workspace,
            pool=pool,
            telling=telling or place.telling,
            flavor=spec,
            nodes=nodes,
            submitted_at=at,
            seed=seed,
            engine=engine,
            description=description,
            kind=kind,
            priority=priority,
            roles=tuple(roles),
            plan=plan,
            profile=profile,
        )
        if api == "v1":
            lineage = version_of.lineage if version_of else None
            job.lineage = lineage or tenant.lineage(
                Lineage(
                    id=number - 1_000,
                    name=name,
                    description=description,
                    workspace=workspace,
                    user=user,
                    created_at=at,
                )
            )
            job.name, job.workspace, job.user = job.lineage.name, job.lineage.workspace, job.lineage.user
            job.lineage.versions.append(job)
        tenant.job_index(api).add(job)
        tenant.ledger.submit(job, at)
        if plan:
            self._course.follow(job)
        return job

    def draw_plan(self, *, nodes: int, api: Api, hetero: bool = False, rng: random.Random | None = None) -> JobScript:
        """Draw a fate for a job that is about to be submitted with these properties."""
        return plan(rng or self._chance, nodes=nodes, api=api, pace=self.options.pace, hetero=hetero)

    # Moving a job by hand

    def enqueue(self, job: Job) -> None:
        """It has been created, and waits."""
        job.epoch += 1
        self._stage.enter(job, JobState.QUEUED)

    def start(self, job: Job, *, at: float | None = None) -> None:
        """It runs, whether its pool has room or not; `at` may lie in the past."""
        job.epoch += 1
        self._stage.begin(job, at=at)

    def scale(self, job: Job, nodes: int) -> None:
        """It has another number of nodes from now on."""
        self._stage.scale(job, nodes)

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
        """A fault stops it now, and it runs again `gap_s` later; its phase does not change.

        `tried`: the policy that was tried first, where it had to be downgraded.
        """
        self._stage.recover(job, policy=policy, scenario=scenario, gap_s=gap_s, tried=tried, task=task)

    def complete(self, job: Job, *, at: float | None = None) -> None:
        """It ends well."""
        self._stage.finish(job, JobState.COMPLETED, at=at)

    def fail(
        self,
        job: Job,
        *,
        exit_code: int = 1,
        task: str | None = None,
        message: str | None = None,
        at: float | None = None,
    ) -> None:
        """Its run fails, a task (the first one) with that exit code; a job that never started fails without one."""
        self._stage.fail(job, exit_code=exit_code, task=task or job.tasks[0], message=message, at=at)

    def create_fail(self, job: Job) -> None:
        """It could not even be created."""
        self._stage.finish(job, JobState.CREATE_FAILED)

    def lose(self, job: Job, *, at: float | None = None) -> None:
        """The cloud loses sight of it."""
        self._stage.finish(job, JobState.LOST, at=at)

    def come_back(self, job: Job) -> None:
        """A lost job turns up again, running as before. Raises ValueError for one that is not lost."""
        self._stage.come_back(job)

    def stop(self, job: Job, *, grace_s: float = 20.0) -> None:
        """Its owner stops it: terminating now, terminated after the grace. One that ended already stays as it is."""
        self._stage.stop(job, grace_s=grace_s)

    def terminate(self, job: Job, *, at: float | None = None) -> None:
        """It is stopped, at once."""
        self._stage.finish(job, JobState.TERMINATED, at=at)

    def delete(self, job: Job) -> None:
        """It is gone, whatever it did."""
        self._stage.delete(job)

    # Nodes

    def break_nodes(
        self, pool: str, nodes: int = 1, *, accelerator: str | None = None, project: str | None = None
    ) -> int:
        """Break so many nodes of a pool, emptiest first: they take nothing new. How many there were to break.

        What runs on them goes on. `accelerator` picks the nodes in a pool that has several kinds. Raises KeyError.
        """
        return sum(len(group.break_down(nodes)) for group in self._groups(pool, accelerator, project)[:1])

    def mend_nodes(self, pool: str, *, project: str | None = None) -> None:
        """Make all nodes of a pool sound; what waits for them is placed. Raises KeyError."""
        for group in self._groups(pool, None, project):
            group.mend(tuple(group.broken))
            self._course.offer(group)

    def _groups(self, pool: str, accelerator: str | None, project: str | None) -> list[Group]:
        groups = self.tenant(project).pools[pool].groups
        return [group for group in groups if accelerator in (None, group.accelerator)]

    def _next_breakdown(self, tenant: Project, rng: random.Random) -> None:
        """Let a node break sooner or later, from dice of its own: whoever does not ask for it gets the same world."""
        if not self.options.breakdowns:
            return

        def strike() -> None:
            groups = [group for pool in tenant.pools.values() if pool.id for group in pool.groups]
            group = rng.choices(groups, [group.nodes for group in groups])[0]
            if _SOUND * (len(group.broken) + 1) <= group.nodes:
                struck = group.break_down(1)
                self._stage.after(rng.expovariate(self.options.pace / _REPAIR_S), lambda: self._mend(group, struck))
            self._next_breakdown(tenant, rng)

        self._stage.after(rng.expovariate(self.options.breakdowns * self.options.pace / 3_600), strike)

    def _mend(self, group: Group, nodes: list[int]) -> None:
        group.mend(nodes)
        self._course.offer(group)

    # Arriving

    def arrive(self, tenant: Project, rng: random.Random | None = None) -> Job:
        """Somebody submits a job of the kind that people submit."""
        rng = rng or self._chance
        drawn = draft(rng, v1_share=self.options.v1_share, room=tenant.room())
        previous = tenant.newest_version() if drawn.api == "v1" and drawn.new_version else None
        return self.submit(
            drawn.name,
            api=drawn.api,
            project=tenant.project.id,
            pool=drawn.pool,
            nodes=drawn.nodes,
            spec=drawn.flavor,
            user=drawn.user,
            workspace=tenant.project.workspaces[-1 if drawn.second_workspace else 0][0],
            kind=drawn.kind,
            roles=drawn.roles,
            engine=drawn.engine,
            priority=drawn.priority,
            profile="",
            version_of=previous,
            plan=self.draw_plan(nodes=drawn.nodes, api=drawn.api, hetero=bool(drawn.roles), rng=rng),
        )

    def _populate(self, tenant: Project) -> None:
        options = self.options
        rate = self._rate()
        self._stage.now = self.born_at - (_WARM_UP_LIVES * MEAN_LIFE_S / options.pace if rate else 0.0)
        fill(tenant, options, numbers=self._numbers, rng=self._rng(tenant, 0), until=self.now, born_at=self.born_at)
        if rate:
            self._next_arrival(tenant, self._rng(tenant, 1), rate)
            self.advance_to(self.born_at)
            tenant.trim(options.history)
        for job in tenant.jobs():
            self._stage.forget(job)

    def _rate(self) -> float:
        """Arrivals a second."""
        if self.options.arrivals is not None:
            return self.options.arrivals / 3_600
        return self.options.jobs / (MEAN_LIFE_S / self.options.pace)

    def _next_arrival(self, tenant: Project, rng: random.Random, rate: float) -> None:
        def arrive() -> None:
            if self.options.arrivals is not None or tenant.unfinished_count < self.options.jobs * _PATIENCE:
                self.arrive(tenant, rng)
            self._next_arrival(tenant, rng, rate)

        self._stage.after(rng.expovariate(rate), arrive)

    def _rng(self, tenant: Project, number: int) -> random.Random:
        return random.Random(f"{self.options.seed}/{tenant.project.id}/{number}")
