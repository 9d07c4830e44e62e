"""What a process holds: memory, files, tasks."""

import asyncio
import ctypes
import gc
import os
import platform
import sys
import tracemalloc
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import fmean

_STATM = Path("/proc/self/statm")
_FILES = Path("/dev/fd")
_MIB = 2**20
_GIB = 2**30


@dataclass(frozen=True)
class Held:
    """What is held at one moment, after a garbage collection, or on average."""

    resident_bytes: float
    """What the system counts; 0 where there is no /proc."""
    heap_bytes: float
    """Given out by the C library and not given back: what is larger than Python's own allocator takes, and what
    libraries hold. Resident memory also has what the C library keeps for later. 0 where it is not glibc."""
    blocks: float
    """Pieces of memory that Python's own allocator has given out."""
    traced_bytes: float
    """Held by Python's objects, as tracemalloc counts; 0 when it does not run."""
    files: float
    tasks: float

    def __str__(self) -> str:
        return (
            f"resident {self.resident_bytes / _MIB:.2f} MiB, heap {self.heap_bytes / _MIB:.2f} MiB,"
            f" {self.blocks:.0f} blocks, traced {self.traced_bytes / _MIB:.2f} MiB,"
            f" {self.files:.1f} files, {self.tasks:.1f} tasks"
        )

    def growth(self, then: "Held") -> dict[str, float]:
        """How much larger each is than then, as a ratio; what was not measured is left out."""
        measured = {
            "resident memory": (then.resident_bytes, self.resident_bytes),
            "heap in use": (then.heap_bytes, self.heap_bytes),
            "allocated blocks": (then.blocks, self.blocks),
            "traced memory": (then.traced_bytes, self.traced_bytes),
            "open files": (then.files, self.files),
            "tasks": (then.tasks, self.tasks),
        }
        return {what: now / before - 1 for what, (before, now) in measured.items() if before}


def held() -> Held:
    """Measure this process now; called on the event loop."""
    gc.collect()
    return Held(
        resident_bytes=_resident_bytes(),
        heap_bytes=_heap_bytes(),
        blocks=sys.getallocatedblocks(),
        traced_bytes=tracemalloc.get_traced_memory()[0],
        files=files(),
        tasks=len(asyncio.all_tasks()),
    )


def machine() -> str:
    """Tell where this was measured."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{os.cpu_count()} cores, {memory_bytes / _GIB:.1f} GiB, {platform.machine()}, {platform.system()}"


def files() -> int:
    """How many files and sockets this process has open."""
    return sum(1 for _ in _FILES.iterdir())


def mean(readings: Sequence[Held]) -> Held:
    """Average them. Raises ValueError when there are none."""
    if not readings:
        raise ValueError("nothing was measured")
    return Held(*map(fmean, zip(*map(astuple, readings), strict=True)))


class _Mallinfo(ctypes.Structure):
    """`struct mallinfo2` of glibc: ten sizes, of which these are in use."""

    _fields_ = (
        ("not_read", ctypes.c_size_t * 4),
        ("mapped", ctypes.c_size_t),
        ("not_read_either", ctypes.c_size_t * 2),
        ("used", ctypes.c_size_t),
        ("nor_these", ctypes.c_size_t * 2),
    )


def mapped_bytes() -> int:
    """What glibc got from the system in pieces of their own, which go back when they are freed."""
    return int(_mallinfo().mapped)


def _heap_bytes() -> int:
    told = _mallinfo()
    return int(told.used + told.mapped)


def _mallinfo() -> _Mallinfo:
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return _Mallinfo()
    library.mallinfo2.restype = _Mallinfo
    told: _Mallinfo = library.mallinfo2()
    return told


def _resident_bytes() -> int:
    if not _STATM.exists():
        return 0
    return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
