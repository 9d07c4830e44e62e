"""The living world: jobs come, wait, run, break, recover and end, as a sequence of events in simulated time."""

import heapq
import random
import uuid
from collections.abc import Callable, Sequence
from itertools import count

from exporter.simulator.books import Totals
from exporter.simulator.flavor import ENGINES, Engine, Flavor, flavor
from exporter.simulator.history import fill
from exporter.simulator.job import Api, Exit, Job, Lineage, Plan, Profile, Record, Role, State
from exporter.simulator.options import Options
from exporter.simulator.plan import MEAN_LIFE_S, MESSAGES, draft, plan
from exporter.simulator.tenant import Tenant

_WARM_UP_LIVES = 4.0
_PATIENCE = 1.15
"""People hold back when there are this many times the jobs there should be; otherwise a queue might grow for ever."""
_V1_STEPS = ((State.IMAGE, 0.3), (State.SUBMITTING, 0.7))


class World:
    """Everything that exists, at one moment of simulated time.

    A job submitted by `submit` is moved by hand (`enqueue`, `start`, `fail`, …) unless it is given a plan; jobs that
    arrive by themselves, or through the create calls, have one. Times are seconds since the epoch, in milliseconds.
    """

    def __init__(self, options: Options, *, now: float) -> None:
        self.options = options
        self.born_at = _ms(now)
        self.now = self.born_at
        self.ahead_s = 0.0
        """How far `advance` has moved this world ahead of its clock."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._event_order = count()
        self._numbers = count(10_001)
        self._chance = random.Random(f"{options.seed}/chance")
        self.tenants = {
            project.id: Tenant(project, opened_at=self.born_at, jobs=0 if options.empty else options.jobs)
            for project in options.projects
        }
        if not options.empty:
            for tenant in self.tenants.values():
                self._populate(tenant)

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

    def tenant(self, project: str | None = None) -> Tenant:
        """Return the project with that id; None means the first one. Raises KeyError."""
        return next(iter(self.tenants.values())) if project is None else self.tenants[project]

    def books(self, project: str | None = None) -> Totals:
        """Return the true totals of one project, or of all."""
        totals = Totals()
        for tenant in [self.tenants[project]] if project else self.tenants.values():
            totals.add(tenant.ledger.read(tenant.unfinished(), self.now))
        return totals

    # Time

    def advance(self, seconds: float) -> None:
        """Let time pass: this world is that much further ahead of its clock from now on."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self.ahead_s += seconds
        self.advance_to(self.now + seconds)

    def advance_to(self, moment: float) -> None:
        """Let happen what happens until then; a moment in the past changes nothing."""
        while self._events and self._events[0][0] <= moment:
            at, _, happen = heapq.heappop(self._events)
            self.now = max(self.now, at)
            happen()
        self.now = max(self.now, _ms(moment))

    def _at(self, moment: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (_ms(moment), next(self._event_order), happen))

    def _later(self, job: Job, delay_s: float, happen: Callable[[Job], None]) -> None:
        """Schedule the next step of a job, void once somebody has moved the job by hand."""
        epoch = job.epoch

        def step() -> None:
            if job.epoch == epoch:
                happen(job)

        self._at(self.now + delay_s, step)

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
        plan: Plan | None = None,
    ) -> Job:
        """Submit a job, which is then being created. Without a plan it waits for your hand.

        `pool`: an id; an unknown one makes a pool without limits. `telling` overrides how a v2 answer tells the
        accelerators (see pool.TELLINGS). `version_of`: a v1 job whose next version this is. `submitted_at`: a moment
        in the past; None is now. `job_id`: the uuid, or the version id for v1, instead of one that the seed makes.
        """
        tenant = self.tenant(project)
        at = self.now if submitted_at is None else _ms(submitted_at)
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
            job.name, job.workspace = job.lineage.name, job.lineage.workspace
            job.lineage.versions.append(job)
        tenant.shelf(api).add(job)
        tenant.ledger.submit(job, at)
        if plan:
            self._later(job, plan.create_s, self._created)
            if api == "v1":
                for state, share in _V1_STEPS:
                    self._later(job, plan.create_s * share, lambda job, state=state: self._enter(job, state))  # type: ignore[misc] # mypy cannot infer a lambda with a default
        return job

    def draw_plan(self, *, nodes: int, api: Api, hetero: bool = False, rng: random.Random | None = None) -> Plan:
        """Draw a fate for a job that is about to be submitted with these properties."""
        return plan(rng or self._chance, nodes=nodes, api=api, pace=self.options.pace, hetero=hetero)

    # Moving a job by hand

    def enqueue(self, job: Job) -> None:
        """It has been created, and waits."""
        self._by_hand(job)
        self._enter(job, State.QUEUED)

    def start(self, job: Job, *, at: float | None = None) -> None:
        """It runs, whether its pool has room or not; `at` may lie in the past."""
        self._by_hand(job)
        self._begin(job, at=at)

    def scale(self, job: Job, nodes: int) -> None:
        """It has another number of nodes from now on."""
        job.node_counts = [*job.node_counts, (self.now, nodes)]

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
        """A fault stops it now, and it runs again `gap_s` later; its phase does not change."""
        last = job.records[-1]
        last.ended_at, last.reason, last.task = self.now, "exit with 137", task
        last.policy, last.tried, last.scenario = policy, tried, scenario
        last.recovered_at, last.result = _ms(self.now + gap_s), "downgrade" if tried else "success"
        start_type = "restarted" if policy.endswith("proc_restart") else "init_or_rescheduled"
        job.records = [*job.records, Record(started_at=_ms(self.now + gap_s), start_type=start_type)]
        self.tenants[job.project].ledger.recover(policy, self.now)

    def complete(self, job: Job, *, at: float | None = None) -> None:
        """It ends well."""
        self._finish(job, State.COMPLETED, at=at)

    def fail(
        self,
        job: Job,
        *,
        exit_code: int = 1,
        task: str | None = None,
        message: str | None = None,
        at: float | None = None,
    ) -> None:
        """Its run fails with that exit code. A job that never started fails without one."""
        if job.started_at is not None:
            text = MESSAGES.get(exit_code, "the task failed") if message is None else message
            job.exits = (*job.exits, Exit(task=job.tasks[0] if task is None else task, code=exit_code, message=text))
        self._finish(job, State.FAILED, at=at)

    def create_fail(self, job: Job) -> None:
        """It could not even be created."""
        self._finish(job, State.CREATE_FAILED)

    def lose(self, job: Job, *, at: float | None = None) -> None:
        """The cloud loses sight of it."""
        self._finish(job, State.LOST, at=at)

    def come_back(self, job: Job) -> None:
        """A lost job turns up again, running."""
        if job.state is not State.LOST:
            raise ValueError(f"job {job.id} is {job.state.value}, not lost")
        job.ended_at = None
        job.node_counts = [*job.node_counts, (self.now, job.nodes)]
        self._enter(job, State.RUNNING)

    def stop(self, job: Job, *, grace_s: float = 20.0) -> None:
        """Its owner stops it: terminating now, terminated after the grace. One that ended already stays as it is."""
        if job.state.finished or job.state is State.TERMINATING:
            return
        job.epoch += 1
        self._enter(job, State.TERMINATING)
        self._later(job, grace_s, lambda job: self._finish(job, State.TERMINATED))

    def terminate(self, job: Job, *, at: float | None = None) -> None:
        """It is stopped, at once."""
        self._finish(job, State.TERMINATED, at=at)

    def delete(self, job: Job) -> None:
        """It is gone, whatever it did."""
        tenant = self.tenants[job.project]
        if tenant.shelf(job.api).get(job.id) is None:
            return
        self._by_hand(job)
        tenant.ledger.drop(job, self.now)
        tenant.drop(job)
        self._release(job)

    # The course of planned jobs

    def _populate(self, tenant: Tenant) -> None:
        options = self.options
        rate = self._rate()
        life_s = MEAN_LIFE_S / options.pace
        self.now = self.born_at - (_WARM_UP_LIVES * life_s if rate else 0.0)
        fill(tenant, options, numbers=self._numbers, rng=self._rng(tenant, 0), until=self.now, born_at=self.born_at)
        if rate:
            self._next_arrival(tenant, self._rng(tenant, 1), rate)
            self.advance_to(self.born_at)
            tenant.trim(options.history)
        if options.forget_after_s is not None:
            for job in list(tenant.jobs()):
                if job.state.finished and job.ended_at is not None:
                    self._forget(job)

    def _rate(self) -> float:
        """Arrivals a second."""
        if self.options.arrivals is not None:
            return self.options.arrivals / 3_600
        return self.options.jobs / (MEAN_LIFE_S / self.options.pace)

    def _next_arrival(self, tenant: Tenant, rng: random.Random, rate: float) -> None:
        def arrive() -> None:
            if self.options.arrivals is not None or tenant.unfinished_count < self.options.jobs * _PATIENCE:
                self.arrive(tenant, rng)
            self._next_arrival(tenant, rng, rate)

        self._at(self.now + rng.expovariate(rate), arrive)

    def arrive(self, tenant: Tenant, rng: random.Random | None = None) -> Job:
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

    def _created(self, job: Job) -> None:
        fate = _fate(job)
        if fate.outcome is State.CREATE_FAILED:
            self.create_fail(job)
            return
        self._enter(job, State.QUEUED)
        if fate.cancel_after_s is not None:
            self._later(job, fate.cancel_after_s, self._give_up)
        tenant = self.tenants[job.project]
        group = tenant.pool(job.pool).group(job.flavor)
        if group is None:
            self._start_pulling(job)
            return
        group.enqueue(job, at=self.now)
        self._dispatch(job.project, job.group_key)

    def _give_up(self, job: Job) -> None:
        if job.state is State.QUEUED:
            self._finish(job, State.TERMINATED)

    def _dispatch(self, project: str, key: tuple[str, str]) -> None:
        tenant = self.tenants[project]
        group = next((each for each in tenant.pool(key[0]).groups if each.accelerator == key[1]), None)
        while group is not None and (job := group.head()) is not None:
            placement = group.place(nodes=job.nodes, slots=job.flavor.slots)
            if placement is None:
                return
            job.placement = placement
            self._start_pulling(job)

    def _start_pulling(self, job: Job) -> None:
        self._enter(job, State.STARTING)
        self._later(job, _fate(job).pull_s, self._run)

    def _run(self, job: Job) -> None:
        fate = _fate(job)
        self._begin(job)
        for incident in fate.incidents:
            if incident.after_s >= fate.run_s:
                continue
            if incident.kind == "recover":
                self._later(
                    job,
                    incident.after_s,
                    lambda job, incident=incident: (
                        self.recover(  # type: ignore[misc] # a lambda with a default
                            job,
                            policy=incident.policy,
                            scenario=incident.scenario,
                            gap_s=incident.gap_s,
                            tried=incident.tried,
                            task=job.tasks[job.seed % len(job.tasks)],
                        )
                        if self.now >= job.records[-1].started_at
                        else None
                    ),
                )
            else:
                self._later(
                    job,
                    incident.after_s,
                    lambda job, incident=incident: self._rescale(job, incident.nodes, incident.gap_s),  # type: ignore[misc] # as above
                )
        self._later(job, fate.run_s, self._conclude)

    def _rescale(self, job: Job, nodes: int, settle_s: float) -> None:
        if job.state is not State.RUNNING:
            return
        if job.api == "v1":
            self._enter(job, State.SCALING)
            self._later(
                job, settle_s, lambda job: self._enter(job, State.RUNNING) if job.state is State.SCALING else None
            )
        else:
            self.scale(job, nodes)

    def _conclude(self, job: Job) -> None:
        fate = _fate(job)
        if fate.outcome is State.FAILED:
            self.fail(job, exit_code=fate.exit_code, task=job.tasks[job.seed % len(job.tasks)])
        elif fate.outcome is State.TERMINATED:
            self.stop(job, grace_s=fate.stop_s)
        else:
            self._finish(job, fate.outcome)

    # Steps that both hands take

    def _begin(self, job: Job, *, at: float | None = None) -> None:
        at = self.now if at is None else _ms(at)
        job.started_at = at
        job.node_counts = [(at, job.nodes)]
        job.records = [Record(started_at=at)]
        self._enter(job, State.RUNNING)
        self.tenants[job.project].ledger.start(job, at)

    def _finish(self, job: Job, state: State, *, at: float | None = None) -> None:
        self._by_hand(job)
        at = self.now if at is None else _ms(at)
        job.ended_at = at
        if job.node_counts:
            job.node_counts = [*job.node_counts, (at, 0)]
        if job.records:
            last = job.records[-1]
            last.ended_at = at
            last.reason = "job completed" if state is State.COMPLETED else _reason(job)
            last.task = job.exits[-1].task if job.exits else ""
        self._enter(job, state)
        self.tenants[job.project].ledger.finish(job, at)
        self._release(job)
        if job.plan and job.plan.delete_after_s is not None:
            self._later(job, job.plan.delete_after_s, self.delete)
        self._forget(job)

    def _forget(self, job: Job) -> None:
        if self.options.forget_after_s is not None and job.ended_at is not None:
            self._later(job, max(0.0, job.ended_at + self.options.forget_after_s - self.now), self.delete)

    def _release(self, job: Job) -> None:
        if job.placement is None:
            return
        group = self.tenants[job.project].pool(job.pool).group(job.flavor)
        if group is not None:
            group.release(job.placement)
        job.placement = None
        self._dispatch(job.project, job.group_key)

    def _by_hand(self, job: Job) -> None:
        job.epoch += 1

    def _enter(self, job: Job, state: State) -> None:
        job.state = state
        self.tenants[job.project].shelf(job.api).note(job)

    # Chance

    def _rng(self, tenant: Tenant, number: int) -> random.Random:
        return random.Random(f"{self.options.seed}/{tenant.project.id}/{number}")


def _fate(job: Job) -> Plan:
    if job.plan is None:
        raise ValueError(f"job {job.id} has no plan")
    return job.plan


def _reason(job: Job) -> str:
    return f"exit with {job.exits[-1].code}" if job.exits else "job stopped"


def _ms(moment: float) -> float:
    return round(moment, 3)
