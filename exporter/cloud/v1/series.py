"""How busy a version was, minute by minute: `system_metric_list` (API reference §6.1)."""

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
"""What the KB of the disk rates is taken for (trap 21). Nobody says; 1000 is what the unit's symbol means, and where
1024 is meant it understates a rate by 2.4 % rather than overstating it."""

_MINUTE = 1  # the unit of `interval`
_PERCENT = 100.0
_ROUNDED_UP = 101.0
"""Below it a percentage over 100 is a whole one, rounded; from it on it is something else, and not shown."""


class _SystemMetrics(msgspec.Struct, kw_only=True, rename="camel"):
    """Lists of text, or of numbers. Percentages, but the disk rates (KB/s) and the network rates (Byte/s)."""

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
    """Read the minutes of a version, the newest last; None when there is not one.

    A bare 0 in every series at once is padding: sampling had not begun, was not collected yet, or the run is over.
    Where any series says more than that, the minute was sampled, and a bare 0 in the others is a true zero. So the
    lists end at the last sampled minute, and minutes without a sample are None. `accelerator` is what the version
    computes on: series of cards it does not have are left out; when it is not known, those count that say anything.
    """
    metrics = wrapped_object(raw, _SystemMetrics, field=FIELD, note=note)
    if metrics is None:
        return None
    interval = number(metrics.interval, field=f"{FIELD}.interval", note=note)
    if interval not in (None, _MINUTE):
        note(f"{FIELD}.interval", interval)
    cpu = _Minutes.percentages(metrics.cpu_usage, note=note)
    memory = _Minutes.percentages(metrics.mem_usage, note=note)
    gpu = _Minutes.percentages(metrics.gpu_util, note=note)
    gpu_memory = _Minutes.percentages(metrics.gpu_mem_usage, note=note)
    npu = _Minutes.percentages(metrics.npu_util, note=note)
    npu_memory = _Minutes.percentages(metrics.npu_mem_usage, note=note)
    disk_read = _Minutes.rates(metrics.disk_read_rate, unit=KILOBYTE, note=note)
    disk_written = _Minutes.rates(metrics.disk_write_rate, unit=KILOBYTE, note=note)
    received = _Minutes.rates(metrics.recv_bytes_rate, unit=1, note=note)
    transmitted = _Minutes.rates(metrics.send_bytes_rate, unit=1, note=note)
    sampled: set[int] = set()
    for samples in (
        cpu, memory, gpu, gpu_memory, npu, npu_memory, disk_read, disk_written, received, transmitted,
    ):  # fmt: skip
        sampled.update(samples.said)
    if not sampled:
        return None
    slots = [at in sampled for at in range(max(sampled) + 1)]
    cards, card_memory = _SILENT, _SILENT
    if accelerator is Accelerator.NPU or (accelerator is None and (npu.said or npu_memory.said)):
        cards, card_memory = npu, npu_memory
    elif accelerator is Accelerator.GPU or (accelerator is None and (gpu.said or gpu_memory.said)):
        cards, card_memory = gpu, gpu_memory
    return TaskSeries(
        task="",
        cpu=cpu.at(slots),
        memory=memory.at(slots),
        accelerator=cards.at(slots),
        accelerator_memory=card_memory.at(slots),
        disk_read=disk_read.at(slots),
        disk_written=disk_written.at(slots),
        network_received=received.at(slots),
        network_transmitted=transmitted.at(slots),
    )


class _Minutes:
    """One series: the value of each slot, and the slots that say more than padding does.

    Real zeros are written with decimals ("0.00"). A server that sends numbers loses that; then a zero says nothing by
    itself, and the other series decide.
    """

    __slots__ = ("said", "values")

    def __init__(self, values: Sequence[float | None], said: Iterable[int]) -> None:
        self.values = values
        self.said = said

    @classmethod
    def percentages(cls, tokens: object, *, note: NoteUnknown) -> "_Minutes":
        """Read 0-100 as ratios; what is no percentage is noted, once for the series, and left out."""
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
    def rates(cls, tokens: object, *, unit: int, note: NoteUnknown) -> "_Minutes":
        """Read rates as bytes per second."""
        samples = cls._read(tokens, note=note)
        samples.values = [None if value is None else value * unit for value in samples.values]
        return samples

    @classmethod
    def _read(cls, tokens: object, *, note: NoteUnknown) -> "_Minutes":
        if tokens is None:
            return cls([], [])
        if not isinstance(tokens, list):
            note(FIELD, type(tokens).__name__)
            return cls([], [])
        plain = _plain(tokens)
        if plain is not None:
            return cls(plain, [at for at, token in enumerate(tokens) if token != "0"])  # noqa: S105 - no secret
        values: list[float | None] = []
        said: list[int] = []
        unknown: list[object] = []
        for at, token in enumerate(tokens):
            value = number(token, field=FIELD, note=lambda _, value: unknown.append(value))
            if value is None or value < 0:
                values.append(None)
                continue
            values.append(value or 0.0)
            if value or (isinstance(token, str) and token != "0"):  # noqa: S105 - no secret
                said.append(at)
        if unknown:
            note(FIELD, unknown[0])
        return cls(values, said)

    def at(self, slots: list[bool]) -> list[float | None]:
        """Values of the sampled slots, None elsewhere; empty when there is no such series."""
        if not self.values:
            return []
        padded = [*self.values] + [None] * (len(slots) - len(self.values))
        return [value if sampled else None for value, sampled in zip(padded, slots, strict=False)]


def _plain(tokens: list[object]) -> list[float] | None:
    """Read a series as it should be, all of it numbers as text, at a tenth of the cost; None when it is not so.

    Three days of a version are 35 000 slots, and a scrape may be waiting.
    """
    if set(map(type, tokens)) != {str}:
        return None
    try:
        values = [float(token) + 0.0 for token in cast("list[str]", tokens)]  # and no negative zero
    except ValueError:
        return None
    return values if min(values) >= 0 and math.isfinite(sum(values)) else None


_SILENT = _Minutes([], [])
