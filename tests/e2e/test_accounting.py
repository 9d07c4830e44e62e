"""Accounting equals the simulator's ground truth: each accelerator second, wait and run counts once."""

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
from tests.e2e.harness import Harness, harness_for, settings_for

DAY_S = 86_400.0
POLL_S = 600.0
"""Long, so that many jobs start and end between two polls."""
USAGE_S = 3_600.0
JOBS_A_DAY = 300
PACE = 3.0
MIN_KEPT_S = 3 * USAGE_S
"""Time from end to deletion at least: the end of a job that is deleted before a poll cannot be known."""

Key = TypeVar("Key", bound=tuple[str, ...])


class SimulatedDay:
    """A simulated day with arrivals, outages, and restarts of the exporter from its state file."""

    def __init__(self, cloud: Simulator, clock: ManualClock, *, folder: Path, seed: int) -> None:
        self.cloud = cloud
        self.clock = clock
        self._file = StateFile(folder / "state.json")
        self._random = random.Random(seed)
        self._next_arrival_s = 0.0
        self.restarts = 0
        self.outages = 0

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Harness]:
        """Simulate the day. Yields the last exporter after its final poll."""
        polls = int(DAY_S / POLL_S)
        while polls > 0:
            async with self._process() as harness:
                for _ in range(self._random.randint(10, 40)):
                    await self._advance(POLL_S)
                    await self._poll(harness)
                    polls -= 1
            self.restarts += 1
        await self.cloud.come_back()
        self.clock.turn(400)  # longer than the circuit stays open
        async with self._process() as harness:
            yield harness

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[Harness]:
        settings = settings_for(self.cloud, api="both", collection={"timeout": "3s"})
        async with harness_for(settings, self.clock) as harness:
            states, warning = self._file.load()
            assert not warning
            if states:
                harness.pollers[0].restore(states["vision"])
            await self._poll(harness, usage=True)
            yield harness

    async def _poll(self, harness: Harness, *, usage: bool = False) -> None:
        await harness.poll(usage=usage or self.clock.monotonic() % USAGE_S < POLL_S)
        self._file.save({"vision": harness.pollers[0].dump()})

    async def _advance(self, seconds: float) -> None:
        """Advance time, with arrivals, then start or end an outage at random."""
        while seconds > 0:
            step_s = min(10.0, seconds)
            self._next_arrival_s -= step_s
            while self._next_arrival_s <= 0:
                self._arrive()
                self._next_arrival_s += self._random.expovariate(JOBS_A_DAY / DAY_S)
            self.clock.turn(step_s)
            seconds -= step_s
        self.cloud.state.catch_up()
        if self._random.random() < 0.1:
            await self.cloud.go_down()
            self.outages += 1
        else:
            await self.cloud.come_back()

    def _arrive(self) -> None:
        world = self.cloud.world
        job = world.submit_random(world.project(), self._random)
        if job.script is not None and job.script.delete_after_s is not None:
            job.script = replace(job.script, delete_after_s=max(job.script.delete_after_s, MIN_KEPT_S))


def by_labels(harness: Harness, name: str, *labels: str, zeros: bool = False) -> Mapping[tuple[str, ...], float]:
    """Samples of one name by the values of these labels. Without zeros by default."""
    found = {
        tuple(dict(rest)[label] for label in labels): value
        for rest, value in harness.samples(name, project="vision").items()
    }
    return {key: value for key, value in found.items() if value or zeros}


def to_milliseconds(totals: Mapping[Key, float]) -> Mapping[Key, float]:
    """Totals rounded to milliseconds, the resolution of the API's times, without zeros."""
    return {key: round(value, 3) for key, value in totals.items() if round(value, 3)}


HOLDER = ("pool_id", "user", "accelerator")


QUEUE_S = (30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 86_400, 172_800)
RUN_S = (60, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 57_600, 86_400, 172_800, 345_600, 604_800, 1_209_600)


RECOVERY_S = (10, 30, 60, 120, 180, 300, 600, 900, 1_800, 3_600, 7_200)


def histograms(
    harness: Harness, name: str, *labels: str
) -> Mapping[tuple[str, ...], tuple[float, float, list[float]]]:
    """Count, sum and cumulative buckets of the histograms with observations, by the values of these labels."""
    buckets: defaultdict[tuple[str, ...], dict[float, float]] = defaultdict(dict)
    for (*key, bound), value in by_labels(harness, f"{name}_bucket", *labels, "le", zeros=True).items():
        buckets[tuple(key)][float(bound)] = value
    sums = by_labels(harness, f"{name}_sum", *labels)
    return {
        key: (count, sums[key], [buckets[key][bound] for bound in sorted(buckets[key])])
        for key, count in by_labels(harness, f"{name}_count", *labels).items()
    }


def expected_histograms(
    durations: Mapping[Key, list[float]], bounds: Sequence[float]
) -> Mapping[Key, tuple[float, Any, list[float]]]:
    """Expected histograms of these durations, which the API rounds to milliseconds."""
    return {
        key: (
            float(len(lengths)),
            pytest.approx(sum(lengths), abs=0.001 * len(lengths)),
            [float(sum(round(length, 3) <= bound for length in lengths)) for bound in (*bounds, float("inf"))],
        )
        for key, lengths in durations.items()
        if lengths
    }


def true_accelerators(cloud: Simulator) -> Mapping[tuple[str, ...], float]:
    """Accelerators held and queued now, by pool, kind and state, without zeros."""
    sums: Counter[tuple[str, ...]] = Counter()
    for job in cloud.world.unfinished:
        kind = (job.pool, job.flavor.accelerator)
        if job.started_at is not None:
            sums[*kind, "held"] += job.accelerators_at(job.nodes_now)
        elif job.state.value in {"queued", "starting"}:
            sums[*kind, "queued"] += job.accelerators
    return {key: float(value) for key, value in sums.items() if value}


def sums_of_job_series(harness: Harness) -> Mapping[str, float]:
    """Accelerators held and queued according to the per-job series."""
    queued = {job_id for job_id, status in harness.statuses().items() if status == "queued"}
    held = by_labels(harness, "modelarts_training_job_status_accelerators", "job_id")
    requested = by_labels(harness, "modelarts_training_job_spec_accelerators", "job_id")
    return {"held": sum(held.values()), "queued": sum(requested.get((job_id,), 0.0) for job_id in queued)}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.endurance
async def test_a_day_with_restarts_and_outages(seed: int, tmp_path: Path) -> None:
    """Totals equal the ground truth to the second: held, idle and lost time, waits, runs and recoveries."""
    clock = ManualClock()
    options = Options(jobs=20, history=30, arrivals=0, pace=PACE, seed=seed)
    async with Simulator(options, clock=clock) as cloud:
        day = SimulatedDay(cloud, clock, folder=tmp_path, seed=seed)
        async with day.run() as harness:
            truth: Totals = cloud.ground_truth

            assert harness.value("modelarts_up", project="vision") == 1
            assert (day.restarts > 3, day.outages > 5) == (True, True)
            for kind, true_s in (("", truth.held_s), ("lost_", truth.lost_s), ("idle_", truth.sampled_idle_s)):
                name = f"modelarts_training_{kind}accelerator_seconds_total"
                assert by_labels(harness, name, *HOLDER) == to_milliseconds(true_s)
            assert by_labels(harness, "modelarts_training_recoveries_total", "policy") == {
                (policy,): float(times) for policy, times in truth.recoveries.items()
            }
            counted = by_labels(harness, "modelarts_training_faults_total", "pool_id", "scenario", "result")
            assert counted == truth.faults
            name = "modelarts_training_recovery_duration_seconds"
            assert histograms(harness, name, "policy") == expected_histograms(
                {(policy,): times for policy, times in truth.recovery_s.items()}, RECOVERY_S
            )
            assert histograms(harness, "modelarts_training_queue_duration_seconds", "pool_id") == expected_histograms(
                {(pool,): waits for pool, waits in truth.queue_s.items()}, QUEUE_S
            )
            assert histograms(
                harness, "modelarts_training_run_duration_seconds", "pool_id", "status"
            ) == expected_histograms(truth.run_s, RUN_S)
            assert by_labels(
                harness, "modelarts_training_accelerators", "pool_id", "accelerator", "state"
            ) == true_accelerators(cloud)
            assert sums_of_job_series(harness) == {
                state: sum(value for key, value in true_accelerators(cloud).items() if key[-1] == state)
                for state in ("held", "queued")
            }


@asynccontextmanager
async def exporter_of_empty_cloud(
    clock: ManualClock, *, metrics: Mapping[str, Any] | None = None, **target: Any
) -> AsyncIterator[tuple[Simulator, Harness]]:
    """An empty simulator and an exporter after its first poll."""
    async with Simulator(Options(empty=True), clock=clock) as cloud:
        settings = settings_for(cloud, api="both", workspaces=["0"], metrics=metrics, **target)
        async with harness_for(settings, clock) as harness:
            await harness.poll(usage=True)
            yield cloud, harness


def idle_seconds(harness: Harness) -> float:
    """Idle accelerator seconds of all users."""
    return sum(by_labels(harness, "modelarts_training_idle_accelerator_seconds_total", "user").values())


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_final_samples_take_one_call_per_task(clock: ManualClock, api: Api) -> None:
    """A job first read after its end takes one call per task: minutes 1 to 29 of two nodes of 8 idled."""
    async with exporter_of_empty_cloud(clock) as (cloud, harness):
        job = cloud.world.submit("idler", api=api, nodes=2, profile="idle")
        cloud.world.start(job)
        clock.turn(30 * 60)
        cloud.world.complete(job)
        await harness.poll()
        cloud.requests.clear()
        await harness.poll(usage=True)
        calls = {"v1": cloud.requests.count("v1.version"), "v2": cloud.requests.count("v2.metrics")}
        await harness.poll(usage=True)

        assert idle_seconds(harness) == 29 * 60 * 16
        assert calls[api] == {"v1": 1, "v2": 2}[api]
        assert cloud.requests.count("v1.version") + cloud.requests.count("v2.metrics") == calls[api]


@pytest.mark.parametrize(
    "fault, up_then, up_later, total",
    [
        pytest.param("echo:", 1, 1, 0, id="refused: final samples unavailable"),
        pytest.param("500:", 0, 1, 29 * 60 * 8, id="server_error: requested again"),
        pytest.param("html-502:status=200,", 0, 1, 0, id="invalid_response: reported once"),
    ],
)
async def test_final_samples_unavailable(
    clock: ManualClock, fault: str, up_then: int, up_later: int, total: float
) -> None:
    """After a final refusal no usage is requested again, and no ended job keeps the usage collector failing."""
    async with exporter_of_empty_cloud(clock) as (cloud, harness):
        job = cloud.world.submit("idler", profile="idle")
        cloud.world.start(job)
        clock.turn(30 * 60)
        cloud.world.complete(job)
        cloud.faults.add(f"{fault}operation=v2.metrics")
        await harness.poll(usage=True)
        assert harness.value("modelarts_collector_up", collector="usage") == up_then
        cloud.faults.clear()
        clock.turn(60)
        await harness.poll(usage=True)

        assert harness.value("modelarts_collector_up", collector="usage") == up_later
        assert idle_seconds(harness) == total


async def test_a_deleted_job_stays_counted(clock: ManualClock) -> None:
    """The accelerator time of a deleted job stays, running or ended, and nothing is counted twice."""
    async with exporter_of_empty_cloud(clock) as (cloud, harness):
        ended, running = cloud.world.submit("ended"), cloud.world.submit("running")
        cloud.world.start(ended)
        cloud.world.start(running)
        clock.turn(100)
        cloud.world.complete(ended)
        await harness.poll(usage=True)
        cloud.world.delete(ended)
        cloud.world.delete(running)
        for _ in range(3):
            clock.turn(86_400)
            await harness.poll(usage=True, sweep=True)

        assert harness.statuses() == {}
        assert sum(by_labels(harness, "modelarts_training_accelerator_seconds_total", "user").values()) == 2 * 8 * 100


async def test_history_counts_nothing(clock: ManualClock) -> None:
    """At the first poll jobs wait, run and have ended: every total is 0 and every histogram is empty."""
    options = Options(jobs=30, history=50, seed=3)
    async with (
        Simulator(options, clock=clock) as cloud,
        harness_for(settings_for(cloud, api="both"), clock) as harness,
    ):
        await harness.poll(usage=True, sweep=True)
        running = true_accelerators(cloud)

        for kind in ("", "idle_", "lost_"):
            name = f"modelarts_training_{kind}accelerator_seconds_total"
            assert set(by_labels(harness, name, *HOLDER, zeros=True).values()) == {0.0}
        assert by_labels(harness, "modelarts_training_queue_duration_seconds_count", "pool_id") == {}
        assert by_labels(harness, "modelarts_training_run_duration_seconds_count", "pool_id", "status") == {}
        assert by_labels(harness, "modelarts_training_recoveries_total", "policy") == {}
        assert by_labels(harness, "modelarts_training_accelerators", "pool_id", "accelerator", "state") == running


async def test_a_job_without_change_is_a_suspected_hang(clock: ManualClock) -> None:
    """Usage for ten minutes, then flat for 30: suspected after `hang_after` and not before; a busy job is not."""
    async with exporter_of_empty_cloud(clock) as (cloud, harness):
        hung, busy = cloud.world.submit("hung", profile="hang"), cloud.world.submit("busy", profile="steady")
        for job in (hung, busy):
            cloud.world.start(job)
        clock.turn(35 * 60)
        await harness.poll(usage=True)
        early = harness.samples("modelarts_training_job_suspected_hang")
        clock.turn(10 * 60)
        await harness.poll(usage=True)

        assert set(early.values()) == {0.0}
        assert harness.value("modelarts_training_job_suspected_hang", job_id=hung.id) == 1
        assert harness.value("modelarts_training_job_flat_seconds", job_id=hung.id) == 34 * 60  # minutes 10 to 44
        assert harness.value("modelarts_training_job_suspected_hang", job_id=busy.id) == 0


async def test_a_crash_loop_and_its_faults(clock: ManualClock) -> None:
    """Three faults shortly after each start are three runs without progress; each is counted once."""
    async with exporter_of_empty_cloud(clock) as (cloud, harness):
        job = cloud.world.submit("looping", nodes=2)
        cloud.world.start(job)
        for tried in ("", "proc_restart", "proc_restart"):
            clock.turn(120)
            cloud.world.recover(job, policy="pod_reschedule", scenario="node_fault", gap_s=30, tried=tried)
            clock.turn(30)
        recovered_at = clock.time()
        clock.turn(60)
        await harness.poll()
        await harness.poll()  # the total of a new policy is 0 for one poll

        assert harness.value("modelarts_training_job_crash_loop_runs") == 3
        assert harness.value("modelarts_training_job_faults", scenario="node_fault") == 3
        assert harness.value("modelarts_training_job_degraded_recoveries", policy="proc_restart") == 2
        assert harness.value("modelarts_training_job_last_recovery_timestamp_seconds") == recovered_at
        assert harness.value("modelarts_training_recoveries_total", policy="pod_reschedule") == 3


async def test_a_fault_healed_in_place(clock: ManualClock) -> None:
    """Its run goes on, so only the nested record shows it: the recovery, its result, its length and the task."""
    async with exporter_of_empty_cloud(clock) as (cloud, harness):
        job = cloud.world.submit("retrying", nodes=4, accelerator="npu", pool="pool-x")
        cloud.world.start(job)
        healed_at = 0.0
        for _ in range(3):
            clock.turn(3_600)
            cloud.world.heal(job, policy="npu_step_retry", scenario="chip_fault", lasts_s=8, task="worker-3")
            await harness.poll()  # during the recovery: nothing counts yet
            clock.turn(8)
            healed_at = clock.time()
            await harness.poll()

        assert harness.value("modelarts_training_job_recoveries", policy="npu_step_retry") == 3
        assert harness.value("modelarts_training_job_faults", scenario="chip_fault") == 3
        assert harness.value("modelarts_training_job_task_faults", task="worker-3") == 3
        assert harness.value("modelarts_training_job_last_recovery_timestamp_seconds") == int(healed_at)
        assert harness.value("modelarts_training_recoveries_total", policy="npu_step_retry") == 3
        counted = by_labels(harness, "modelarts_training_faults_total", "pool_id", "scenario", "result")
        assert counted == {("pool-x", "chip_fault", "success"): 3}
        assert harness.value("modelarts_training_recovery_duration_seconds_sum", policy="npu_step_retry") == 24


@pytest.mark.parametrize(
    "metrics, users",
    [
        pytest.param({}, {"ann": 80.0, "bob": 160.0}, id="kept"),
        pytest.param({"user_label": "drop"}, {"": 240.0}, id="dropped"),
        pytest.param({"max_users_per_project": 1}, {"bob": 160.0, "_other": 80.0}, id="top user and others"),
    ],
)
async def test_user_label_settings(
    clock: ManualClock, metrics: Mapping[str, Any], users: Mapping[str, float]
) -> None:
    """User names are kept, dropped or merged; a filter that hides every job removes no second."""
    async with exporter_of_empty_cloud(clock, metrics=metrics, filters={"names": "nothing"}) as (cloud, harness):
        for user, nodes in (("ann", 1), ("bob", 2)):
            cloud.world.start(cloud.world.submit(user=user, nodes=nodes))
        clock.turn(10)
        await harness.poll()
        await harness.poll()  # the totals of new users are 0 for one poll

        assert harness.statuses() == {}
        assert by_labels(harness, "modelarts_training_accelerator_seconds_total", "user") == {
            (user,): seconds for user, seconds in users.items()
        }


async def test_the_price_list_is_shown(clock: ManualClock) -> None:
    """Each configured price is a series of the exporter, not of a project."""
    async with exporter_of_empty_cloud(clock) as (_, harness):
        harness.self_metrics.priced({("f", ""): 1.5, ("", "m"): 2.0}, currency="EUR")

        assert harness.samples("modelarts_accelerator_price", currency="EUR") == {
            (("accelerator_model", ""), ("flavor", "f")): 1.5,
            (("accelerator_model", "m"), ("flavor", "")): 2.0,
        }
