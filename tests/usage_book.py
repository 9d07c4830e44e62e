"""Usage series, and the idle time in them, from API reference §6.1 to §6.3; shares no code with the exporter."""

import json
from dataclasses import dataclass
from typing import Any

MINUTE = 60
WINDOW = 4_320


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How the cloud answers with the samples of a run. Moods: i(dle), b(usy), . for no sample; one a minute."""

    lead: int = 1
    """Slots before the first minute of the run."""
    begun: bool = True
    """Whether the minute under way has a slot, which is empty."""
    lag: int = 0
    """Minutes after which a sample arrives."""
    lag_has_slots: bool = True
    """Whether minutes whose sample has not arrived have slots."""
    dead_from: int | None = None
    """Minute from which no sample arrives any more; None: the collectors live."""
    dead_has_slots: bool = True
    """Whether the minutes since then have slots."""
    late_is_padded: bool = True
    """Whether the series of a task that joined late has slots for the minutes before."""


def whole_minutes(run_s: float) -> int:
    """Minutes of a run that are over."""
    return int(run_s // MINUTE)


def moods_in_answer(shape: Shape, moods: str, *, joined: int, run_s: float, now_s: float) -> str:
    """Return the slots of one task's answer, `now_s` after the start of the run.

    `run_s` is how long the run has lasted by then.
    """
    over = whole_minutes(run_s)
    arrived = min(over, whole_minutes(now_s) - shape.lag)
    dead_from = over if shape.dead_from is None else shape.dead_from
    if not shape.dead_has_slots:
        over = min(over, dead_from)
    slots = ["."] * shape.lead
    for minute in range(over):
        if joined <= minute < min(arrived, dead_from):
            slots.append(moods[minute])
        elif minute < arrived or shape.lag_has_slots:
            slots.append(".")
    if shape.begun and (shape.dead_has_slots or shape.dead_from is None) and (shape.lag_has_slots or arrived == over):
        slots.append(".")
    if joined and not shape.late_is_padded:
        slots = slots[joined:]
    return "".join(slots[-WINDOW:])


def v2_answer(moods: str) -> bytes:
    """Return the response of the metrics call: -1 for no sample, percent otherwise."""
    value = {".": -1, "i": 0.0, "b": 87.5}
    accelerator = [value[mood] for mood in moods]
    alive = [-1 if mood == "." else 31.25 for mood in moods]
    absent = [-1] * len(moods)
    metrics: list[dict[str, Any]] = [
        {"metric": "gpuUtil", "value": accelerator},
        {"metric": "npuUtil", "value": absent},
        {"metric": "memUsage", "value": alive},
        {"metric": "cpuUsage", "value": alive},
    ]
    return json.dumps({"metrics": metrics}).encode()


def v1_answer(moods: str) -> bytes:
    """Return `system_metric_list`: a bare 0 for no sample in any series; a bare 0 of the GPU alone is a true zero."""
    accelerator = ["87.50" if mood == "b" else "0" for mood in moods]
    alive = ["0" if mood == "." else "31.25" for mood in moods]
    return json.dumps({"cpuUsage": alive, "memUsage": alive, "gpuUtil": accelerator, "interval": 1}).encode()


def idle_minutes(tasks: list[tuple[str, int]], *, end_s: float, grace_s: float, since_s: float = 0.0) -> float:
    """Return the minutes of a run in which every sampled task idled, from streaks longer than the grace period.

    `tasks`: moods, and the minute in which the task joined. Time before `since_s` does not count, but shows how long
    a streak is.
    """
    total = waiting = 0.0
    streak = 0
    for minute in range(whole_minutes(end_s)):
        samples = {moods[minute] for moods, joined in tasks if minute >= joined} - {"."}
        if "b" in samples:
            streak, waiting = 0, 0.0
        elif samples:
            streak += 1
            waiting += min(1.0, max(0.0, minute + 1 - since_s / MINUTE))
            if streak * MINUTE > grace_s:
                total, waiting = total + waiting, 0.0
    return total


def mean(tasks: list[tuple[str, int]], *, end_s: float) -> float | None:
    """Return the mean over the tasks of the mean utilisation of each over its samples; None without any."""
    means = []
    for moods, joined in tasks:
        samples = [mood == "b" for mood in moods[joined : whole_minutes(end_s)] if mood != "."]
        if samples:
            means.append(0.875 * sum(samples) / len(samples))
    return sum(means) / len(means) if means else None
