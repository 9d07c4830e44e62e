"""What a process holds: memory, files, tasks."""

import asyncio
import gc
import os
import sys
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

_STATM = Path("/proc/self/statm")
_FILES = Path("/proc/self/fd")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One measurement, after a garbage collection."""

    day: int
    """From 1."""
    resident_bytes: int
    blocks: int
    """Pieces of memory that Python's own allocator has given out: what objects hold, without fragmentation."""
    traced_bytes: int
    """Held by Python objects, as tracemalloc counts; 0 when it does not run."""
    files: int
    tasks: int


def files() -> int:
    """How many files and sockets this process has open."""
    return sum(1 for _ in _FILES.iterdir())


def read(*, day: int) -> Reading:
    """Measure this process now; called on the event loop."""
    gc.collect()
    return Reading(
        day=day,
        resident_bytes=int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        blocks=sys.getallocatedblocks(),
        traced_bytes=tracemalloc.get_traced_memory()[0],
        files=files(),
        tasks=len(asyncio.all_tasks()),
    )


@dataclass(frozen=True)
class Mean:
    """Means over one day's readings."""

    resident_bytes: float
    blocks: float
    traced_bytes: float
    files: float
    tasks: float


def mean(readings: list[Reading], *, day: int) -> Mean:
    """Average the readings of one day. Raises ValueError when there are none."""
    chosen = [reading for reading in readings if reading.day == day]
    if not chosen:
        raise ValueError(f"no reading on day {day}")
    return Mean(
        fmean(reading.resident_bytes for reading in chosen),
        fmean(reading.blocks for reading in chosen),
        fmean(reading.traced_bytes for reading in chosen),
        fmean(reading.files for reading in chosen),
        fmean(reading.tasks for reading in chosen),
    )
