"""How busy a job's tasks are, minute by minute: computed when asked for, from the job's seed, and never stored."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from exporter.simulator.world.job import Job, Profile

MINUTE_S = 60
WINDOW = 4_320
"""The cloud keeps three days of minutes; older ones fall off the front (API reference §6.3)."""
IDLE_PERCENT = 5.0
"""Below this the books call an accelerator idle; only the idle profile ever goes there."""

_DICE = random.Random(310)
_NOISE = tuple(_DICE.gauss(0.0, 1.0) for _ in range(4_096))
_METRIC_OFFSET = {"cpu": 0, "mem": 1_009, "acc": 2_003, "acc_mem": 3_001, "disk_read": 401, "disk_write": 809}
_PROFILES: tuple[Profile, ...] = (*("steady",) * 12, *("saw",) * 3, *("straggler",) * 2, *("idle",) * 2, "hang")
_WARM_UP = 4
_SAW = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the usage of one run looks like. Minutes count from its start."""

    profile: Profile
    level: float
    """Accelerator utilisation on the plateau, percent."""
    turns_at: int
    """The minute from which it idles or hangs."""
    straggler: int
    """Index of the slow task."""


def shape(job: Job) -> Shape:
    """Return the shape that the job's seed (or whoever submitted it) gave it."""
    profile = job.profile or _PROFILES[job.seed % len(_PROFILES)]
    tasks = len(job.tasks)
    if profile == "straggler" and tasks == 1:
        profile = "steady"
    return Shape(
        profile=profile,
        level=55.0 + job.seed // 64 % 42,
        turns_at=_turning_point(job),
        straggler=job.seed // 16 % tasks,
    )


def _turning_point(job: Job) -> int:
    if job.profile:
        return 10 if job.profile == "hang" else 0
    run_s = job.plan.run_s if job.plan else job.duration_s(job.submitted_at)
    run = run_s / MINUTE_S
    return int(run * (0.2 + job.seed // 256 % 50 / 100)) + min(_WARM_UP, int(run / 4))


def minutes(job: Job, now: float) -> range:
    """Return the minutes that the cloud has slots for: one before the start, one for the minute under way.

    Their number is floor(duration / 60) + 2, or what the window holds (API reference §6.3).
    """
    last = int(job.duration_s(now) // MINUTE_S)
    return range(max(-1, last + 1 - WINDOW), last + 1)


def sampled(job: Job, span: range) -> list[bool]:
    """Tell for each minute whether there is a sample: not in the first one, the last one, or while it recovers."""
    start = job.started_at or 0.0
    gaps = list(outages(job))
    return [
        0 < minute < span.stop - 1 and not any(begin <= start + minute * MINUTE_S < end for begin, end in gaps)
        for minute in span
    ]


def outages(job: Job) -> Iterator[tuple[float, float]]:
    """Stretches (from, to) in which the job recovered from a fault, and nothing ran."""
    for record, following in pairwise(job.records):
        if record.ended_at is not None:
            yield record.ended_at, following.started_at


def values(job: Job, metric: str, *, task: int, span: range) -> list[float]:
    """Return one value a minute, in percent (rates: KB/s for disks, bytes/s for networks), gaps not yet cut out."""
    form = shape(job)
    offset = job.seed + task * 7_919 + _METRIC_OFFSET.get(metric, 1_607)
    if metric == "acc":
        return [_accelerator(form, minute, task=task, offset=offset) for minute in span]
    return [_other(form, metric, minute, seed=job.seed, offset=offset) for minute in span]


def _noise(offset: int, minute: int) -> float:
    return _NOISE[(offset + minute * 31) & 4_095]


def _accelerator(form: Shape, minute: int, *, task: int, offset: int) -> float:
    if form.profile in {"idle", "hang"} and minute >= form.turns_at:
        if form.profile == "idle":
            return round(min(IDLE_PERCENT - 1.0, abs(_noise(offset, minute)) * 0.4), 2)
        minute = form.turns_at
    level = form.level
    if minute < _WARM_UP:
        level *= 0.2 + 0.8 * max(0, minute) / _WARM_UP
    elif form.profile == "saw" and (minute + offset) % _SAW < 2:  # noqa: PLR2004 -- two minutes for a checkpoint
        level = 18.0
    if form.profile == "straggler" and task == form.straggler:
        level *= 0.4
    return round(min(100.0, max(IDLE_PERCENT + 1.0, level + 2.2 * _noise(offset, minute))), 2)


def _other(form: Shape, metric: str, minute: int, *, seed: int, offset: int) -> float:
    turned = form.profile in {"idle", "hang"} and minute >= form.turns_at
    if turned and form.profile == "hang":
        minute = form.turns_at
    warm = min(1.0, (max(0, minute) + 1) / _WARM_UP)
    wobble = _noise(offset, minute)
    idle = turned and form.profile == "idle"
    if metric == "cpu":
        return round(min(100.0, max(0.3, (1.5 if idle else 15.0 + seed % 45) * warm + wobble)), 2)
    if metric == "mem":
        return round(min(99.0, max(1.0, (10.0 + seed % 60) * warm + 0.3 * wobble)), 2)
    if metric == "acc_mem":
        return round(min(99.5, max(1.0, (35.0 + seed % 60) * warm + 0.1 * wobble)), 2)
    rate = {"disk_read": 42_000.0, "disk_write": 900.0, "received": 5.7e6, "sent": 1.8e6}[metric]
    return round(max(0.0, rate * (0.001 if idle else 1.0) * (1.0 + 0.2 * wobble)), 2)


def idle_s(job: Job, now: float) -> float:
    """How long its accelerators have idled: whole idle minutes of series set by hand, else what the shape says."""
    if not job.accelerators or job.started_at is None:
        return 0.0
    if job.series:
        return _idle_by_hand(job)
    form = shape(job)
    if form.profile != "idle":
        return 0.0
    begin = job.started_at + form.turns_at * MINUTE_S
    end = now if job.ended_at is None else min(now, job.ended_at)
    lost = sum(max(0.0, min(end, stop) - max(begin, start)) for start, stop in outages(job))
    return max(0.0, end - begin - lost)


def idle_minutes(job: Job, now: float) -> Iterator[tuple[int, bool]]:
    """Tell of each whole minute of its run for which the cloud has samples whether every task idled in it.

    Minutes count from the start; those without samples are left out.
    """
    if not job.accelerators or job.started_at is None:
        return
    if job.series:
        yield from _minutes_by_hand(job)
        return
    form = shape(job)
    last = int(job.duration_s(now) // MINUTE_S)
    span = range(max(0, last + 1 - WINDOW), last + 1)
    for minute, ok in zip(span, sampled(job, span), strict=True):
        if ok:
            yield minute, form.profile == "idle" and minute >= form.turns_at


def _minutes_by_hand(job: Job) -> Iterator[tuple[int, bool]]:
    """Slots of series set by hand; the first one lies before the start (API reference §6.3)."""
    tasks = _busy_by_hand(job)
    for slot in range(max((len(values) for values in tasks), default=0)):
        readings = [values[slot] for values in tasks if slot < len(values) and values[slot] >= 0]
        if readings:
            yield slot - 1, max(readings) < IDLE_PERCENT


def _busy_by_hand(job: Job) -> list[Sequence[float]]:
    key = "npuUtil" if job.flavor.accelerator == "npu" else "gpuUtil"
    return [[float(value) for value in series[key]] for series in (job.series or {}).values() if key in series]


def _idle_by_hand(job: Job) -> float:
    tasks = _busy_by_hand(job)
    slots = max((len(values) for values in tasks), default=0)
    idle = 0
    for back in range(1, slots + 1):
        readings = [values[-back] for values in tasks if back <= len(values) and values[-back] >= 0]
        idle += bool(readings) and max(readings) < IDLE_PERCENT
    return float(idle * MINUTE_S)
