"""Converts one task's metrics to a `TaskSeries`: percent to ratios, -1 to None (API reference §6.2)."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from exporter.cloud.decode import values
from exporter.cloud.decode.lenient import decode
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.v2 import wire
from exporter.domain.job import Accelerator
from exporter.domain.usage import TaskSeries

_NO_SAMPLE = -1
_FULL = 100
_ROUNDED_UP = 101.0
"""A percentage between 100 and this is 100, rounded; a higher one is no percentage and left out."""

_FIELD = "v2.metrics.value"

Samples = Sequence[float | None]


def series(
    raw: bytes | msgspec.Raw, *, task: str, accelerator: Accelerator | None, note: NoteUnknown
) -> TaskSeries | None:
    """Read a metrics response; None when it has no sample.

    `accelerator` is the job's kind. It selects the GPU or NPU series, because answers contain both. Of two series of
    one name the one with samples is used. If both have samples and differ, neither is known to be true: the series is
    left out, and noted.
    """
    read = decode(raw, wire.TaskMetrics, field="v2.metrics", note=note)
    if read is None:
        return None
    by_metric = _by_metric(read.metrics or (), note=note)
    utilization, memory = _accelerators(by_metric, accelerator)
    found = TaskSeries(
        task=task,
        cpu=by_metric.get("cpuusage", ()),
        memory=by_metric.get("memusage", ()),
        accelerator=utilization,
        accelerator_memory=memory,
    )
    if any(_has_sample(samples) for samples in (found.cpu, found.memory, utilization, memory)):
        return found
    return None


def _by_metric(metrics: Sequence[wire.Metric], *, note: NoteUnknown) -> dict[str, Samples]:
    by_metric: dict[str, Samples] = {}
    contradictory: set[str] = set()
    for metric in metrics:
        name = values.text(metric.metric).lower()
        samples = _ratios(metric.value or (), note=note)
        before = by_metric.get(name, ())
        if not _has_sample(before):
            by_metric[name] = samples
        elif _has_sample(samples) and list(samples) != list(before):
            contradictory.add(name)
    for name in sorted(contradictory):
        note("v2.metrics.metric", name)
        by_metric[name] = ()
    return by_metric


def _ratios(percents: Sequence[Any], *, note: NoteUnknown) -> Samples:
    """Percentages to ratios 0-1; an impossible percentage is None, and noted once per series.

    Three days are 4320 samples in each of six series, so lists of plain numbers take a faster path.
    """
    unknown: list[object] = []
    if not set(map(type, percents)) <= {int, float}:
        percents = [_number(value, unknown) for value in percents]
    ratios = [
        percent / 100 if 0 <= percent <= _FULL else None if percent == _NO_SAMPLE else _out_of_range(percent, unknown)
        for percent in percents
    ]
    if unknown:
        note(_FIELD, unknown[0])
    return ratios


def _number(value: object, unknown: list[object]) -> float:
    """Read a number of another type; `_NO_SAMPLE` when it is none."""
    read = values.number(value, field=_FIELD, note=lambda _, value: unknown.append(value))
    return _NO_SAMPLE if read is None else read


def _out_of_range(percent: float, unknown: list[object]) -> float | None:
    """Read a percentage out of range: 100 that was rounded up, or no percentage."""
    if _FULL < percent < _ROUNDED_UP:
        return 1.0
    unknown.append(percent)
    return None


def _accelerators(by_metric: Mapping[str, Samples], kind: Accelerator | None) -> tuple[Samples, Samples]:
    """Select the GPU or the NPU series.

    A CPU job has neither, whatever the response contains (trap 20). The job's own kind is used if it has a sample;
    the other one only if it was ever above 0, because an absent device also has a series of zeros.
    """
    if kind is Accelerator.CPU:
        return (), ()
    pairs = [(by_metric.get(f"{of}util", ()), by_metric.get(f"{of}memusage", ())) for of in ("gpu", "npu")]
    if kind is Accelerator.NPU:
        pairs.reverse()
    chosen, other = pairs
    if _has_sample(*other) and (not _has_sample(*chosen) or (kind is None and not _is_busy(*chosen))):
        chosen = other if _is_busy(*other) or (kind is None and not _has_sample(*chosen)) else chosen
    return chosen if _has_sample(*chosen) else ((), ())


def _has_sample(*series: Samples) -> bool:
    return any(value is not None for samples in series for value in samples)


def _is_busy(*series: Samples) -> bool:
    return any(value for samples in series for value in samples)
