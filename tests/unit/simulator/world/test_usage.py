from statistics import mean

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.simulator import Options, World
from exporter.simulator.world.job import Job, Profile
from exporter.simulator.world.usage import IDLE_PERCENT, idle_s, sampled, slots, usage_shape, values

NOW = 1_700_000_000.0


def started(profile: Profile = "steady", **how: int) -> Job:
    world = World(Options(empty=True), now=NOW)
    job = world.submit(profile=profile, **how)  # type: ignore[arg-type] # counts only
    world.start(job)
    return job


def usage(job: Job, metric: str = "acc", *, task: int = 0) -> list[float]:
    """Two hours of usage."""
    return values(job, metric, task=task, span=slots(job, NOW + 7_200))


@given(duration_s=st.floats(0, 400_000), seed=st.integers(0, 2**30 - 1))
@settings(max_examples=60)
def test_any_job(duration_s: float, seed: int) -> None:
    """For any seed and duration: one value from 0 to 100 in each slot, at most 4320 slots, idle only if it idles."""
    job = started("")
    job.seed = seed
    span = slots(job, NOW + duration_s)
    assert len(span) == len(sampled(job, span)) == min(4_320, int(duration_s // 60) + 2)
    for metric in ("acc", "cpu", "mem", "acc_mem"):
        series = values(job, metric, task=0, span=span)
        assert len(series) == len(span)
        assert all(0 <= value <= 100 for value in series)
    if usage_shape(job).profile != "idle":
        assert min(values(job, "acc", task=0, span=span)) > IDLE_PERCENT


def test_idle() -> None:
    """The accelerators of an idle job are below the idle threshold while its accelerator memory stays in use."""
    job = started("idle")

    assert max(usage(job)[1:]) < IDLE_PERCENT  # the slot before the start is never sampled
    assert mean(usage(job, "acc_mem")[10:]) > 20
    assert mean(usage(job, "received")) < 0.01 * mean(usage(started(), "received"))


def test_hang() -> None:
    """After ten minutes every series of a hanging job is constant."""
    for metric in ("acc", "cpu", "mem", "acc_mem"):
        series = usage(started("hang"), metric)
        assert len(set(series[2:11])) > 1
        assert len(set(series[11:])) == 1


def test_straggler() -> None:
    """One task of a straggling job has less than half the utilisation of the others; a single task is steady."""
    job = started("straggler", nodes=4)
    means = sorted(mean(usage(job, task=task)[10:]) for task in range(4))

    assert means[0] < 0.5 * means[1]
    assert means[3] - means[1] < 5
    assert usage_shape(started("straggler")).profile == "steady"


def test_profiles_by_seed() -> None:
    """Random jobs have all profiles, most of them steady."""
    world = World(Options(empty=True), now=NOW)
    profiles = [usage_shape(world.submit(profile="", nodes=2)).profile for _ in range(200)]

    assert set(profiles) == {"steady", "saw", "straggler", "idle", "hang"}
    assert profiles.count("steady") > 80


def test_idle_seconds_agree_with_the_series() -> None:
    """Idle seconds of random jobs are the sampled minutes below the threshold, to three minutes."""
    world = World(Options(jobs=80, history=0), now=NOW)
    world.advance(12 * 3_600)
    idle = [job for job in world.jobs if job.started_at and idle_s(job, world.now) > 0]
    assert idle
    for job in idle:
        span = slots(job, world.now)
        series = zip(sampled(job, span), values(job, "acc", task=0, span=span), strict=True)
        visible = sum(has_sample and value < IDLE_PERCENT for has_sample, value in series) * 60
        dropped = max(0.0, job.duration_s(world.now) - 4_318 * 60)  # minutes older than the window
        assert abs(idle_s(job, world.now) - visible) <= 180 + dropped
