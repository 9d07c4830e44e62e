from collections.abc import Iterable
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.simulator import Options, World
from exporter.simulator.world.job import Job, Profile
from exporter.simulator.world.usage import IDLE_PERCENT, idle_s, sampled, slots, usage_shape, values

NOW = 1_700_000_000.0


def job(profile: Profile = "steady", **how: int) -> Job:
    world = World(Options(empty=True), now=NOW)
    made = world.submit(profile=profile, **how)  # type: ignore[arg-type] # counts only
    world.start(made)
    return made


def usage(made: Job, metric: str = "acc", *, task: int = 0, hours: float = 2.0) -> list[float]:
    return values(made, metric, task=task, span=slots(made, NOW + hours * 3_600))


@given(duration_s=st.floats(0, 400_000), seed=st.integers(0, 2**30 - 1))
@settings(max_examples=60)
def test_every_value_is_a_percentage(duration_s: float, seed: int) -> None:
    """Whatever the seed and however long it runs: as many values as slots, each 0 to 100, idle only if it idles."""
    made = job("")
    made.seed = seed
    span = slots(made, NOW + duration_s)
    assert len(span) == min(4_320, int(duration_s // 60) + 2)
    assert len(sampled(made, span)) == len(span)
    for metric in ("acc", "cpu", "mem", "acc_mem"):
        told = values(made, metric, task=0, span=span)
        assert len(told) == len(span)
        assert all(0 <= value <= 100 for value in told)
    if usage_shape(made).profile != "idle":
        assert min(values(made, "acc", task=0, span=span)) > IDLE_PERCENT


def test_warm_up_and_plateau() -> None:
    """A steady job warms up, then stays near its level, with noise."""
    told = usage(job())
    level = usage_shape(job()).level

    assert told[1] < 0.5 * level
    assert abs(mean(told[10:]) - level) < 2
    assert len(set(told[10:])) > 50


def test_idle() -> None:
    """An idle job's accelerators stay below the idle line while its memory stays full."""
    told = usage(job("idle"))[1:]  # the slot before the start is never sampled

    assert max(told) < IDLE_PERCENT
    assert mean(usage(job("idle"), "acc_mem")[10:]) > 20
    assert mean(usage(job("idle"), "received")) < 0.01 * mean(usage(job(), "received"))


def test_hang() -> None:
    """A hanging job is alive for ten minutes and then exactly flat, in every series."""
    for metric in ("acc", "cpu", "mem", "acc_mem"):
        told = usage(job("hang"), metric)
        assert len(set(told[2:11])) > 1
        assert len(set(told[11:])) == 1


def test_straggler() -> None:
    """One task of a straggling job has less than half the others' utilisation."""
    made = job("straggler", nodes=4)
    means = sorted(mean(usage(made, task=task)[10:]) for task in range(4))

    assert means[0] < 0.5 * means[1]
    assert means[3] - means[1] < 5


def test_single_task_does_not_straggle() -> None:
    """A job of one task has nobody to lag behind."""
    assert usage_shape(job("straggler")).profile == "steady"


def test_saw() -> None:
    """A job that writes checkpoints dips for two minutes in every thirty."""
    told = usage(job("saw"))[10:]
    dips = [minute for minute, value in enumerate(told) if value < 30]

    assert len(dips) == pytest.approx(len(told) / 15, abs=2)
    assert all(gap in (1, 29) for gap in gaps(dips))


def gaps(numbers: Iterable[int]) -> list[int]:
    return [b - a for a, b in pairwise(numbers)]


def test_seed_decides() -> None:
    """Among the seeds there are all kinds of jobs, most of them steady."""
    world = World(Options(empty=True), now=NOW)
    profiles = [usage_shape(world.submit(profile="", nodes=2)).profile for _ in range(200)]

    assert set(profiles) == {"steady", "saw", "straggler", "idle", "hang"}
    assert profiles.count("steady") > 80


def test_tasks_differ() -> None:
    """Two tasks of one job are not each other's copies."""
    made = job(nodes=2)

    assert usage(made, task=0) != usage(made, task=1)


def test_idle_time_agrees_with_the_series() -> None:
    """What the books call idle is what the series show: minutes below the line, give or take the first and last."""
    world = World(Options(jobs=80, history=0), now=NOW)
    world.advance(12 * 3_600)
    idle = [each for each in world.jobs if each.started_at and idle_s(each, world.now) > 0]
    assert idle
    for each in idle:
        span = slots(each, world.now)
        there = sampled(each, span)
        told = values(each, "acc", task=0, span=span)
        shown = sum(ok and value < IDLE_PERCENT for ok, value in zip(there, told, strict=True)) * 60
        cut = max(0.0, each.duration_s(world.now) - 4_318 * 60)  # what the window has dropped
        assert abs(idle_s(each, world.now) - shown) <= 180 + cut
