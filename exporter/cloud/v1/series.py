"""Usage samples of a version, one a minute: `system_metric_list` (API reference §6.1)."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from exporter.cloud.decode.text_in_text import wrapped_object
from exporter.cloud.decode.values import number
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.domain.job import Accelerator
from exporter.domain.usage import TaskSeries

FIELD = "v1.system_metric_list"

KILOBYTE = 1000
"""Bytes in the KB of the disk rates (trap 21), which is not documented. 1000 is the meaning of the unit's symbol; if
the cloud means 1024, rates are 2.4 % too low and not too high."""

_MINUTE = 1  # the unit of `interval`
_PERCENT = 100.0
_ROUNDED_UP = 101.0
"""A percentage between 100 and this is 100, rounded; a higher one is no percentage and left out."""


class _SystemMetrics(msgspec.Struct, kw_only=True, rename="camel"):
    """Lists of text or numbers: percentages, disk rates in KB/s, network rates in Byte/s."""

    cpu_usage: Any = None
    mem_usage: Any = None
    gpu_util: Any = None
    gpu_mem_usage: Any = None
    npu_util: Any = None
    npu_mem_usage: Any = None
    disk_read_rate: Any = None
    disk_write_rate: Any = None
    recv_bytes_rate: Any = None
    send_bytes_rate: Any = None
    interval: Any = None


def series(raw: msgspec.Raw, *, accelerator: Accelerator | None, note: NoteUnknown) -> TaskSeries | None:
    """Read the samples of a version, oldest first; None when there is none.

    A bare 0 in every series of a minute is padding: sampling had not begun, is not collected yet, or the run is over.
    If any series has more than that, the minute was sampled, and a bare 0 of another series is a true zero. The lists
    end at the last sampled minute; minutes without a sample are None. `accelerator` is the version's kind: series of
    the other kind are left out. If it is None, a series that has samples is used.
    """
    metrics = wrapped_object(raw, _SystemMetrics, field=FIELD, note=note)
    if metrics is None:
        return None
    interval = number(metrics.interval, field=f"{FIELD}.interval", note=note)
    if interval not in (None, _MINUTE):
        note(f"{FIELD}.interval", interval)
    cpu = _Samples.percentages(metrics.cpu_usage, note=note)
    memory = _Samples.percentages(metrics.mem_usage, note=note)
    gpu = _Samples.percentages(metrics.gpu_util, note=note)
    gpu_memory = _Samples.percentages(metrics.gpu_mem_usage, note=note)
    npu = _Samples.percentages(metrics.npu_util, note=note)
    npu_memory = _Samples.percentages(metrics.npu_mem_usage, note=note)
    disk_read = _Samples.rates(metrics.disk_read_rate, unit=KILOBYTE, note=note)
    disk_written = _Samples.rates(metrics.disk_write_rate, unit=KILOBYTE, note=note)
    received = _Samples.rates(metrics.recv_bytes_rate, unit=1, note=note)
    transmitted = _Samples.rates(metrics.send_bytes_rate, unit=1, note=note)
    every = (cpu, memory, gpu, gpu_memory, npu, npu_memory, disk_read, disk_written, received, transmitted)
    sampled: set[int] = set()
    for samples in every:
        sampled.update(samples.sampled_slots)
    if not sampled:
        return None
    slots = [slot in sampled for slot in range(max(sampled) + 1)]
    cards, card_memory = _NO_SAMPLES, _NO_SAMPLES
    if accelerator is Accelerator.NPU or (accelerator is None and (npu.sampled_slots or npu_memory.sampled_slots)):
        cards, card_memory = npu, npu_memory
    elif accelerator is Accelerator.GPU or (accelerator is None and (gpu.sampled_slots or gpu_memory.sampled_slots)):
        cards, card_memory = gpu, gpu_memory
    return TaskSeries(
        task="",
        cpu=cpu.aligned(slots),
        memory=memory.aligned(slots),
        accelerator=cards.aligned(slots),
        accelerator_memory=card_memory.aligned(slots),
        disk_read=disk_read.aligned(slots),
        disk_written=disk_written.aligned(slots),
        network_received=received.aligned(slots),
        network_transmitted=transmitted.aligned(slots),
        padding=max(len(samples.values) for samples in every) - len(slots),
    )


class _Samples:
    """One series: the value of each slot, and the slots that are certainly not padding.

    True zeros are written with decimals ("0.00"). A server that sends numbers loses this; then a zero proves nothing,
    and the other series decide.
    """

    __slots__ = ("sampled_slots", "values")

    def __init__(self, values: Sequence[float | None], sampled_slots: Iterable[int]) -> None:
        self.values = values
        self.sampled_slots = sampled_slots

    @classmethod
    def percentages(cls, tokens: object, *, note: NoteUnknown) -> "_Samples":
        """Read 0-100 as ratios; an impossible percentage is left out, and noted once per series."""
        samples = cls._read(tokens, note=note)
        present = [value for value in samples.values if value is not None]
        highest = max(present, default=0.0)
        if highest >= _ROUNDED_UP:
            note(FIELD, highest)
        if len(present) == len(samples.values) and highest <= _PERCENT:
            samples.values = [value / _PERCENT for value in present]
        else:
            samples.values = [
                None if value is None or value >= _ROUNDED_UP else min(value / _PERCENT, 1.0)
                for value in samples.values
            ]
        return samples

    @classmethod
    def rates(cls, tokens: object, *, unit: int, note: NoteUnknown) -> "_Samples":
        """Read rates as bytes per second."""
        samples = cls._read(tokens, note=note)
        samples.values = [None if value is None else value * unit for value in samples.values]
        return samples

    @classmethod
    def _read(cls, tokens: object, *, note: NoteUnknown) -> "_Samples":
        if tokens is None:
            return cls([], [])
        if not isinstance(tokens, list):
            note(FIELD, type(tokens).__name__)
            return cls([], [])
        plain = _parse_fast(tokens)
        if plain is not None:
            return cls(plain, [slot for slot, token in enumerate(tokens) if token != "0"])  # noqa: S105 - not a secret
        values: list[float | None] = []
        sampled_slots: list[int] = []
        unknown: list[object] = []
        for slot, token in enumerate(tokens):
            value = number(token, field=FIELD, note=lambda _, value: unknown.append(value))
            if value is None or value < 0:
                values.append(None)
                continue
            values.append(value or 0.0)
            if value or (isinstance(token, str) and token != "0"):  # noqa: S105 - not a secret
                sampled_slots.append(slot)
        if unknown:
            note(FIELD, unknown[0])
        return cls(values, sampled_slots)

    def aligned(self, slots: list[bool]) -> list[float | None]:
        """Values of the sampled slots, None elsewhere; empty when there is no such series."""
        if not self.values:
            return []
        padded = [*self.values] + [None] * (len(slots) - len(self.values))
        return [value if sampled else None for value, sampled in zip(padded, slots, strict=False)]


def _parse_fast(tokens: list[object]) -> list[float] | None:
    """Parse a series in which every token is text of a number, ten times faster; None for any other series.

    Three days of a version are 35 000 slots.
    """
    if set(map(type, tokens)) != {str}:
        return None
    try:
        values = [float(token) + 0.0 for token in cast("list[str]", tokens)]  # no negative zero
    except ValueError:
        return None
    return values if min(values) >= 0 and math.isfinite(sum(values)) else None


_NO_SAMPLES = _Samples([], [])
