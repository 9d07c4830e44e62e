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
from exporter.simulator.books import Totals
from tests.clock import ManualClock
from tests.e2e.rig import Rig, rig_for, settings_for

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
                rig.pollers[0].recall(memory["vision"])
            await self._poll(rig, usage=True)
            yield rig

    async def _poll(self, rig: Rig, *, usage: bool = False) -> None:
        await rig.poll(usage=usage or self.clock.monotonic() % USAGE_S < POLL_S)
        self._file.save({"vision": rig.pollers[0].remember()})

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
        self.cloud.cloud.catch_up()
        if self._dice.random() < 0.1:
            await self.cloud.go_down()
            self.outages += 1
        else:
            await self.cloud.come_back()

    def _arrive(self) -> None:
        world = self.cloud.world
        job = world.arrive(world.tenant(), self._dice)
        if job.plan is not None and job.plan.delete_after_s is not None:
            job.plan = replace(job.plan, delete_after_s=max(job.plan.delete_after_s, LAID_OUT_S))


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


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_day_with_restarts_and_outages(seed: int, tmp_path: Path) -> None:
    """Totals equal the simulator's own books to the second: used, idle and lost, waits, runs and recoveries."""
    clock = ManualClock()
    options = Options(jobs=20, history=30, arrivals=0, pace=PACE, seed=seed)
    async with Simulator(options, clock=clock) as cloud:
        day = Day(cloud, clock, folder=tmp_path, seed=seed)
        async with day.lived() as rig:
            books: Totals = cloud.books

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
            assert lengths(rig, "modelarts_training_queue_seconds", "pool_id") == observed(
                {(pool,): waits for pool, waits in books.queue_s.items()}, QUEUE_S
            )
            assert lengths(rig, "modelarts_training_run_seconds", "pool_id", "status") == observed(books.run_s, RUN_S)
            assert by(rig, "modelarts_training_accelerators", "pool_id", "accelerator", "state") == now(cloud)
            held = by(rig, "modelarts_training_job_status_accelerators", "job_id")
            assert sum(held.values()) == sum(value for key, value in now(cloud).items() if key[-1] == "held")
