"""Usage of a job's tasks by the minute: computed on request from the job's seed, never stored."""

import math
import random
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from exporter.simulator.world.job import Job, Profile

MINUTE_S = 60
WINDOW = 4_320
"""The API returns at most three days of minutes, the newest (API reference §6.3)."""
IDLE_PERCENT = 5.0
"""Below this an accelerator counts as idle; only the idle profile falls below it."""

_RNG = random.Random(310)
_NOISE = tuple(_RNG.gauss(0.0, 1.0) for _ in range(4_096))
_METRIC_OFFSET = {"cpu": 0, "mem": 1_009, "acc": 2_003, "acc_mem": 3_001, "disk_read": 401, "disk_write": 809}
_PROFILES: tuple[Profile, ...] = (*("steady",) * 12, *("saw",) * 3, *("straggler",) * 2, *("idle",) * 2, "hang")
_WARM_UP = 4
_SAW = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageShape:
    """Parameters of the usage of one run. Minutes count from its start."""

    profile: Profile
    level: float
    """Accelerator utilisation on the plateau, percent."""
    onset: int
    """Minute from which it idles or hangs."""
    straggler: int
    """Index of the slow task."""


def usage_shape(job: Job) -> UsageShape:
    """Return the usage shape, from the job's profile and its seed."""
    profile = job.profile or _PROFILES[job.seed % len(_PROFILES)]
    tasks = len(job.tasks)
    if profile == "straggler" and tasks == 1:
        profile = "steady"
    return UsageShape(
        profile=profile,
        level=55.0 + job.seed // 64 % 42,
        onset=_onset(job),
        straggler=job.seed // 16 % tasks,
    )


def _onset(job: Job) -> int:
    if job.profile:
        return 10 if job.profile == "hang" else 0
    run_s = job.script.run_s if job.script else job.duration_s(job.submitted_at)
    run = run_s / MINUTE_S
    return int(run * (0.2 + job.seed // 256 % 50 / 100)) + min(_WARM_UP, int(run / 4))


FULL_MINUTES = "usage-full-minutes"
COMPLETED_SLOTS = "usage-completed-slots"
LATE = "usage-late"
STOPPED = "usage-stopped"
FROZEN = "usage-frozen"
LATE_TASK = "usage-late-task"
"""Quirks of the series' shape."""

LATE_S = 180
"""Age of a minute when its sample arrives, with `LATE`."""
STOPPED_MINUTE = 20
"""First minute without a sample, with `STOPPED` and `FROZEN`."""
LATE_TASK_MINUTE = 5
"""Minute in which the last task of a job with several joins, with `LATE_TASK`."""


def slots(job: Job, now: float, *, task: int = 0, quirks: Container[str] = ()) -> range:
    """Return the minutes of a series: from the one before the start to the current one.

    There are floor(duration / 60) + 2 of them, at most WINDOW (API reference §6.3).
    """
    last = int(job.duration_s(now) // MINUTE_S)
    first, stop = -1, last + 1
    if FULL_MINUTES in quirks:
        first, stop = -2, last
    elif COMPLETED_SLOTS in quirks:
        stop = last
    if FROZEN in quirks:
        stop = min(stop, STOPPED_MINUTE)
    if _joins_late(job, task, quirks):
        first += LATE_TASK_MINUTE
    return range(max(first, stop - WINDOW), max(first, stop))


def sampled(job: Job, span: range, *, now: float = math.inf, quirks: Container[str] = ()) -> list[bool]:
    """Whether each minute has a sample: minutes up to 0, the current one and those of a recovery have none.

    The quirks change that: of series with values for full minutes, and of those without a slot for the minute under
    way, each slot from minute 0 on has a sample.
    """
    start = job.started_at or 0.0
    gaps = list(outages(job))
    every = FULL_MINUTES in quirks or COMPLETED_SLOTS in quirks
    first, stop = (0, span.stop) if every else (1, span.stop - (FROZEN not in quirks))
    if STOPPED in quirks:
        stop = min(stop, STOPPED_MINUTE)
    arrived = math.inf if LATE not in quirks else int((now - start - LATE_S) // MINUTE_S)
    return [
        first <= minute < min(stop, arrived)
        and not any(begin <= start + minute * MINUTE_S < end for begin, end in gaps)
        for minute in span
    ]


def _joins_late(job: Job, task: int, quirks: Container[str]) -> bool:
    return LATE_TASK in quirks and len(job.tasks) > 1 and task == len(job.tasks) - 1


def outages(job: Job) -> Iterator[tuple[float, float]]:
    """Periods (from, to) of recovery from a fault, in which nothing ran."""
    for record, following in pairwise(job.records):
        if record.ended_at is not None:
            yield record.ended_at, following.started_at


def values(job: Job, metric: str, *, task: int, span: range) -> list[float]:
    """Return one value for each minute, sampled or not, in percent (disks: KB/s, networks: bytes/s)."""
    shape = usage_shape(job)
    offset = job.seed + task * 7_919 + _METRIC_OFFSET.get(metric, 1_607)
    if metric == "acc":
        return [_accelerator(shape, minute, task=task, offset=offset) for minute in span]
    return [_other_metric(shape, metric, minute, seed=job.seed, offset=offset) for minute in span]


def _noise(offset: int, minute: int) -> float:
    return _NOISE[(offset + minute * 31) & 4_095]


def _accelerator(shape: UsageShape, minute: int, *, task: int, offset: int) -> float:
    if shape.profile in {"idle", "hang"} and minute >= shape.onset:
        if shape.profile == "idle":
            return round(min(IDLE_PERCENT - 1.0, abs(_noise(offset, minute)) * 0.4), 2)
        minute = shape.onset
    level = shape.level
    if minute < _WARM_UP:
        level *= 0.2 + 0.8 * max(0, minute) / _WARM_UP
    elif shape.profile == "saw" and (minute + offset) % _SAW < 2:  # noqa: PLR2004 -- two minutes for a checkpoint
        level = 18.0
    if shape.profile == "straggler" and task == shape.straggler:
        level *= 0.4
    return round(min(100.0, max(IDLE_PERCENT + 1.0, level + 2.2 * _noise(offset, minute))), 2)


def _other_metric(shape: UsageShape, metric: str, minute: int, *, seed: int, offset: int) -> float:
    past_onset = shape.profile in {"idle", "hang"} and minute >= shape.onset
    if past_onset and shape.profile == "hang":
        minute = shape.onset
    warm = min(1.0, (max(0, minute) + 1) / _WARM_UP)
    wobble = _noise(offset, minute)
    idle = past_onset and shape.profile == "idle"
    if metric == "cpu":
        return round(min(100.0, max(0.3, (1.5 if idle else 15.0 + seed % 45) * warm + wobble)), 2)
    if metric == "mem":
        return round(min(99.0, max(1.0, (10.0 + seed % 60) * warm + 0.3 * wobble)), 2)
    if metric == "acc_mem":
        return round(min(99.5, max(1.0, (35.0 + seed % 60) * warm + 0.1 * wobble)), 2)
    rate = {"disk_read": 42_000.0, "disk_write": 900.0, "received": 5.7e6, "sent": 1.8e6}[metric]
    return round(max(0.0, rate * (0.001 if idle else 1.0) * (1.0 + 0.2 * wobble)), 2)


def idle_s(job: Job, now: float) -> float:
    """Seconds its accelerators have idled: whole idle minutes of series set by `Job.usage`, else by the shape."""
    if not job.accelerators or job.started_at is None:
        return 0.0
    if job.series:
        return _idle_s_of_series(job)
    shape = usage_shape(job)
    if shape.profile != "idle":
        return 0.0
    begin = job.started_at + shape.onset * MINUTE_S
    end = now if job.ended_at is None else min(now, job.ended_at)
    lost = sum(max(0.0, min(end, stop) - max(begin, start)) for start, stop in outages(job))
    return max(0.0, end - begin - lost)


def idle_minutes(job: Job, now: float) -> Iterator[tuple[int, bool]]:
    """Yield (minute, whether every task idled in it) for each whole minute that has samples.

    Minutes count from the start.
    """
    if not job.accelerators or job.started_at is None:
        return
    if job.series:
        yield from _minutes_of_series(job)
        return
    shape = usage_shape(job)
    last = int(job.duration_s(now) // MINUTE_S)
    span = range(max(0, last + 1 - WINDOW), last + 1)
    for minute, ok in zip(span, sampled(job, span), strict=True):
        if ok:
            yield minute, shape.profile == "idle" and minute >= shape.onset


def _minutes_of_series(job: Job) -> Iterator[tuple[int, bool]]:
    """Minutes of series set by `Job.usage`; the first slot is the minute before the start (API reference §6.3)."""
    tasks = _accelerator_series(job)
    for slot in range(max((len(values) for values in tasks), default=0)):
        readings = [values[slot] for values in tasks if slot < len(values) and values[slot] >= 0]
        if readings:
            yield slot - 1, max(readings) < IDLE_PERCENT


def _accelerator_series(job: Job) -> list[Sequence[float]]:
    key = "npuUtil" if job.flavor.accelerator == "npu" else "gpuUtil"
    return [[float(value) for value in series[key]] for series in (job.series or {}).values() if key in series]


def _idle_s_of_series(job: Job) -> float:
    tasks = _accelerator_series(job)
    slots = max((len(values) for values in tasks), default=0)
    idle = 0
    for back in range(1, slots + 1):
        readings = [values[-back] for values in tasks if back <= len(values) and values[-back] >= 0]
        idle += bool(readings) and max(readings) < IDLE_PERCENT
    return float(idle * MINUTE_S)
