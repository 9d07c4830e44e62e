"""What is accounted is what the cloud's own books say: every second, every wait, every run, once."""

import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from exporter.polling.statefile import StateFile
from exporter.simulator import Options, Simulator
from exporter.simulator.world.ground_truth import Totals
from exporter.simulator.world.job import Api
from tests.clock import ManualClock
from tests.e2e.harness import Rig, rig_for, settings_for

DAY_S = 86_400.0
POLL_S = 600.0
"""Long, so that many a job starts and ends between two polls."""
USAGE_S = 3_600.0
JOBS_A_DAY = 300
PACE = 3.0
LAID_OUT_S = 3 * USAGE_S
"""No job is deleted sooner after its end: how one ended that nobody could look at is not to be known."""

Key = TypeVar("Key", bound=tuple[str, ...])


class Day:
    """A simulated day, with jobs that arrive, outages, and an exporter that dies and lives again from its state."""

    def __init__(self, cloud: Simulator, clock: ManualClock, *, folder: Path, seed: int) -> None:
        self.cloud = cloud
        self.clock = clock
        self._file = StateFile(folder / "state.json")
        self._dice = random.Random(seed)
        self._arrives_s = 0.0
        self.restarts = 0
        self.outages = 0

    @asynccontextmanager
    async def lived(self) -> AsyncIterator[Rig]:
        """Go through the day, and give its last life, in which everything that happened has been told."""
        polls = int(DAY_S / POLL_S)
        while polls > 0:
            async with self._life() as rig:
                for _ in range(self._dice.randint(10, 40)):
                    await self._pass(POLL_S)
                    await self._poll(rig)
                    polls -= 1
            self.restarts += 1
        await self.cloud.come_back()
        self.clock.turn(400)  # longer than any circuit stays open
        async with self._life() as rig:
            yield rig

    @asynccontextmanager
    async def _life(self) -> AsyncIterator[Rig]:
        settings = settings_for(self.cloud, api="both", collection={"timeout": "3s"})
        async with rig_for(settings, self.clock) as rig:
            memory, warning = self._file.load()
            assert not warning
            if memory:
                rig.pollers[0].restore(memory["vision"])
            await self._poll(rig, usage=True)
            yield rig

    async def _poll(self, rig: Rig, *, usage: bool = False) -> None:
        await rig.poll(usage=usage or self.clock.monotonic() % USAGE_S < POLL_S)
        self._file.save({"vision": rig.pollers[0].dump()})

    async def _pass(self, seconds: float) -> None:
        """Let time pass; the cloud may go down, or come back."""
        while seconds > 0:
            step_s = min(10.0, seconds)
            self._arrives_s -= step_s
            while self._arrives_s <= 0:
                self._arrive()
                self._arrives_s += self._dice.expovariate(JOBS_A_DAY / DAY_S)
            self.clock.turn(step_s)
            seconds -= step_s
        self.cloud.state.catch_up()
        if self._dice.random() < 0.1:
            await self.cloud.go_down()
            self.outages += 1
        else:
            await self.cloud.come_back()

    def _arrive(self) -> None:
        world = self.cloud.world
        job = world.submit_random(world.project(), self._dice)
        if job.script is not None and job.script.delete_after_s is not None:
            job.script = replace(job.script, delete_after_s=max(job.script.delete_after_s, LAID_OUT_S))


def by(rig: Rig, name: str, *labels: str, zeros: bool = False) -> Mapping[tuple[str, ...], float]:
    """Samples of one name by the values of these labels; those that are 0 are left out, unless asked for."""
    found = {
        tuple(dict(rest)[label] for label in labels): value
        for rest, value in rig.samples(name, project="vision").items()
    }
    return {key: value for key, value in found.items() if value or zeros}


def seconds(books: Mapping[Key, float]) -> Mapping[Key, float]:
    """What the books say, to the millisecond as the cloud tells its times."""
    return {key: round(value, 3) for key, value in books.items() if round(value, 3)}


HOLDER = ("pool_id", "user", "accelerator")


QUEUE_S = (30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 86_400, 172_800)
RUN_S = (60, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 57_600, 86_400, 172_800, 345_600, 604_800, 1_209_600)


def lengths(rig: Rig, name: str, *labels: str) -> Mapping[tuple[str, ...], tuple[float, float, list[float]]]:
    """Count, sum and cumulative buckets of a histogram that has counted anything, by the values of these labels."""
    buckets: defaultdict[tuple[str, ...], dict[float, float]] = defaultdict(dict)
    for (*key, bound), value in by(rig, f"{name}_bucket", *labels, "le", zeros=True).items():
        buckets[tuple(key)][float(bound)] = value
    sums = by(rig, f"{name}_sum", *labels)
    return {
        key: (count, sums[key], [buckets[key][bound] for bound in sorted(buckets[key])])
        for key, count in by(rig, f"{name}_count", *labels).items()
    }


def observed(
    books: Mapping[Key, list[float]], bounds: Sequence[float]
) -> Mapping[Key, tuple[float, Any, list[float]]]:
    """What the histogram of these lengths must say; lengths are told in milliseconds."""
    return {
        key: (
            float(len(told)),
            pytest.approx(sum(told), abs=0.001 * len(told)),
            [float(sum(round(length, 3) <= bound for length in told)) for bound in (*bounds, float("inf"))],
        )
        for key, told in books.items()
        if told
    }


def now(cloud: Simulator) -> Mapping[tuple[str, ...], float]:
    """Accelerators held and queued for at this moment, by pool, kind and state, where there are any."""
    sums: Counter[tuple[str, ...]] = Counter()
    for job in cloud.world.unfinished:
        kind = (job.pool, job.flavor.accelerator)
        if job.started_at is not None:
            sums[*kind, "held"] += job.accelerators_at(job.nodes_now)
        elif job.state.value in {"queued", "starting"}:
            sums[*kind, "queued"] += job.accelerators
    return {key: float(value) for key, value in sums.items() if value}


def jobs_sums(rig: Rig) -> Mapping[str, float]:
    """What the jobs' own series say is held and queued for."""
    queued = {job_id for job_id, status in rig.statuses().items() if status == "queued"}
    held = by(rig, "modelarts_training_job_status_accelerators", "job_id")
    asked = by(rig, "modelarts_training_job_spec_accelerators", "job_id")
    return {"held": sum(held.values()), "queued": sum(asked.get((job_id,), 0.0) for job_id in queued)}


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_day_with_restarts_and_outages(seed: int, tmp_path: Path) -> None:
    """Totals equal the simulator's own books to the second: used, idle and lost, waits, runs and recoveries."""
    clock = ManualClock()
    options = Options(jobs=20, history=30, arrivals=0, pace=PACE, seed=seed)
    async with Simulator(options, clock=clock) as cloud:
        day = Day(cloud, clock, folder=tmp_path, seed=seed)
        async with day.lived() as rig:
            books: Totals = cloud.ground_truth

            assert rig.value("modelarts_up", project="vision") == 1
            assert (day.restarts > 3, day.outages > 5) == (True, True)
            assert by(rig, "modelarts_training_accelerator_seconds_total", *HOLDER) == seconds(books.held_s)
            assert by(rig, "modelarts_training_lost_accelerator_seconds_total", *HOLDER) == seconds(books.lost_s)
            assert by(rig, "modelarts_training_idle_accelerator_seconds_total", *HOLDER) == seconds(
                books.sampled_idle_s
            )
            assert by(rig, "modelarts_training_recoveries_total", "policy") == {
                (policy,): float(times) for policy, times in books.recoveries.items()
            }
            assert lengths(rig, "modelarts_training_queue_duration_seconds", "pool_id") == observed(
                {(pool,): waits for pool, waits in books.queue_s.items()}, QUEUE_S
            )
            assert lengths(rig, "modelarts_training_run_duration_seconds", "pool_id", "status") == observed(
                books.run_s, RUN_S
            )
            assert by(rig, "modelarts_training_accelerators", "pool_id", "accelerator", "state") == now(cloud)
            assert jobs_sums(rig) == {
                state: sum(value for key, value in now(cloud).items() if key[-1] == state)
                for state in ("held", "queued")
            }


@asynccontextmanager
async def looking(
    clock: ManualClock, *, metrics: Mapping[str, Any] | None = None, **target: Any
) -> AsyncIterator[tuple[Simulator, Rig]]:
    """An empty cloud, and an exporter that has had its first look."""
    async with Simulator(Options(empty=True), clock=clock) as cloud:
        settings = settings_for(cloud, api="both", workspaces=["0"], metrics=metrics, **target)
        async with rig_for(settings, clock) as rig:
            await rig.poll(usage=True)
            yield cloud, rig


def idled(rig: Rig) -> float:
    """Idle accelerator seconds over everybody."""
    return sum(by(rig, "modelarts_training_idle_accelerator_seconds_total", "user").values())


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_the_last_minutes_cost_one_call_a_task(clock: ManualClock, api: Api) -> None:
    """A job nobody read while it ran is read once after its end: minutes 1 to 29 of two nodes of 8 idled."""
    async with looking(clock) as (cloud, rig):
        job = cloud.world.submit("idler", api=api, nodes=2, profile="idle")
        cloud.world.start(job)
        clock.turn(30 * 60)
        cloud.world.complete(job)
        await rig.poll()
        cloud.requests.clear()
        await rig.poll(usage=True)
        calls = {"v1": cloud.requests.count("v1.version"), "v2": cloud.requests.count("v2.metrics")}
        await rig.poll(usage=True)

        assert idled(rig) == 29 * 60 * 16
        assert calls[api] == {"v1": 1, "v2": 2}[api]
        assert cloud.requests.count("v1.version") + cloud.requests.count("v2.metrics") == calls[api]


@pytest.mark.parametrize(
    "fault, up_then, up_later, total",
    [
        pytest.param("echo:", 1, 1, 0, id="refused: final samples unavailable"),
        pytest.param("500:", 0, 1, 29 * 60 * 8, id="broken: asked again"),
        pytest.param("html-502:status=200,", 0, 1, 0, id="unintelligible: told once"),
    ],
)
async def test_last_minutes_that_cannot_be_had(
    clock: ManualClock, fault: str, up_then: int, up_later: int, total: float
) -> None:
    """A refusal ends the asking, and no job that has ended keeps the usage collector failing for ever."""
    async with looking(clock) as (cloud, rig):
        job = cloud.world.submit("idler", profile="idle")
        cloud.world.start(job)
        clock.turn(30 * 60)
        cloud.world.complete(job)
        cloud.faults.add(f"{fault}operation=v2.metrics")
        await rig.poll(usage=True)
        assert rig.value("modelarts_collector_up", collector="usage") == up_then
        cloud.faults.clear()
        clock.turn(60)
        await rig.poll(usage=True)

        assert rig.value("modelarts_collector_up", collector="usage") == up_later
        assert idled(rig) == total


async def test_a_deleted_job_stays_counted(clock: ManualClock) -> None:
    """What a job had used when it was last seen stays, whether it ran or had ended; nothing is counted twice."""
    async with looking(clock) as (cloud, rig):
        ended, running = cloud.world.submit("ended"), cloud.world.submit("running")
        cloud.world.start(ended)
        cloud.world.start(running)
        clock.turn(100)
        cloud.world.complete(ended)
        await rig.poll(usage=True)
        cloud.world.delete(ended)
        cloud.world.delete(running)
        for _ in range(3):
            clock.turn(86_400)
            await rig.poll(usage=True, sweep=True)

        assert rig.statuses() == {}
        assert sum(by(rig, "modelarts_training_accelerator_seconds_total", "user").values()) == 2 * 8 * 100


async def test_history_counts_nothing(clock: ManualClock) -> None:
    """At the first look jobs wait, run and have ended: every total is 0, and the distributions are empty."""
    options = Options(jobs=30, history=50, seed=3)
    async with Simulator(options, clock=clock) as cloud, rig_for(settings_for(cloud, api="both"), clock) as rig:
        await rig.poll(usage=True, sweep=True)
        running = now(cloud)

        for kind in ("", "idle_", "lost_"):
            name = f"modelarts_training_{kind}accelerator_seconds_total"
            assert set(by(rig, name, *HOLDER, zeros=True).values()) == {0.0}
        assert by(rig, "modelarts_training_queue_duration_seconds_count", "pool_id") == {}
        assert by(rig, "modelarts_training_run_duration_seconds_count", "pool_id", "status") == {}
        assert by(rig, "modelarts_training_recoveries_total", "policy") == {}
        assert by(rig, "modelarts_training_accelerators", "pool_id", "accelerator", "state") == running


async def test_a_job_that_stands_still_is_suspected(clock: ManualClock) -> None:
    """Alive for ten minutes and flat for 30: suspected after `hang_after`, and not before; one that works is not."""
    async with looking(clock) as (cloud, rig):
        hung, busy = cloud.world.submit("hung", profile="hang"), cloud.world.submit("busy", profile="steady")
        for job in (hung, busy):
            cloud.world.start(job)
        clock.turn(35 * 60)
        await rig.poll(usage=True)
        early = rig.samples("modelarts_training_job_suspected_hang")
        clock.turn(10 * 60)
        await rig.poll(usage=True)

        assert set(early.values()) == {0.0}
        assert rig.value("modelarts_training_job_suspected_hang", job_id=hung.id) == 1
        assert rig.value("modelarts_training_job_flat_seconds", job_id=hung.id) == 34 * 60  # minutes 10 to 44
        assert rig.value("modelarts_training_job_suspected_hang", job_id=busy.id) == 0


async def test_a_crash_loop_and_what_broke(clock: ManualClock) -> None:
    """Three faults within minutes of each start are three runs that got nothing done; each is counted once."""
    async with looking(clock) as (cloud, rig):
        job = cloud.world.submit("looping", nodes=2)
        cloud.world.start(job)
        for tried in ("", "proc_restart", "proc_restart"):
            clock.turn(120)
            cloud.world.recover(job, policy="pod_reschedule", scenario="node_fault", gap_s=30, tried=tried)
            clock.turn(30)
        recovered_at = clock.time()
        clock.turn(60)
        await rig.poll()

        assert rig.value("modelarts_training_job_crash_loop_runs") == 3
        assert rig.value("modelarts_training_job_faults", scenario="node_fault") == 3
        assert rig.value("modelarts_training_job_degraded_recoveries", policy="proc_restart") == 2
        assert rig.value("modelarts_training_job_last_recovery_timestamp_seconds") == recovered_at
        assert rig.value("modelarts_training_recoveries_total", policy="pod_reschedule") == 3


@pytest.mark.parametrize(
    "metrics, users",
    [
        pytest.param({}, {"ann": 80.0, "bob": 160.0}, id="kept"),
        pytest.param({"user_label": "drop"}, {"": 240.0}, id="dropped"),
        pytest.param({"max_users_per_project": 1}, {"bob": 160.0, "_other": 80.0}, id="the top one, and the others"),
    ],
)
async def test_users_as_the_settings_want_them(
    clock: ManualClock, metrics: Mapping[str, Any], users: Mapping[str, float]
) -> None:
    """Names are shown, dropped or put together; a filter that hides every job takes away no second."""
    async with looking(clock, metrics=metrics, filters={"names": "nothing"}) as (cloud, rig):
        for user, nodes in (("ann", 1), ("bob", 2)):
            cloud.world.start(cloud.world.submit(user=user, nodes=nodes))
        clock.turn(10)
        await rig.poll()

        assert rig.statuses() == {}
        assert by(rig, "modelarts_training_accelerator_seconds_total", "user") == {
            (user,): seconds for user, seconds in users.items()
        }


async def test_the_price_list_is_shown(clock: ManualClock) -> None:
    """Each price of the settings is a series; they are the exporter's, not a project's."""
    async with looking(clock) as (_, rig):
        rig.self_metrics.priced({("f", ""): 1.5, ("", "m"): 2.0}, currency="EUR")

        assert rig.samples("modelarts_accelerator_price", currency="EUR") == {
            (("accelerator_model", ""), ("flavor", "f")): 1.5,
            (("accelerator_model", "m"), ("flavor", "")): 2.0,
        }
