"""Resources of a process: memory, files, tasks."""

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
class Resources:
    """Resources at one time, after a garbage collection, or their mean."""

    resident_bytes: float
    """Resident memory of the process. 0 without /proc."""
    heap_bytes: float
    """Memory that the C library has allocated: blocks too large for Python's allocator, and those of libraries.
    Resident memory also includes what the C library keeps free. 0 without glibc."""
    blocks: float
    """Blocks that Python's allocator has allocated."""
    traced_bytes: float
    """Resources by Python's objects, as tracemalloc counts; 0 when it does not run."""
    files: float
    tasks: float

    def __str__(self) -> str:
        return (
            f"resident {self.resident_bytes / _MIB:.2f} MiB, heap {self.heap_bytes / _MIB:.2f} MiB,"
            f" {self.blocks:.0f} blocks, traced {self.traced_bytes / _MIB:.2f} MiB,"
            f" {self.files:.1f} files, {self.tasks:.1f} tasks"
        )

    def growth(self, then: "Resources") -> dict[str, float]:
        """Growth of each resource as a ratio, without those that were not measured."""
        measured = {
            "resident memory": (then.resident_bytes, self.resident_bytes),
            "heap in use": (then.heap_bytes, self.heap_bytes),
            "allocated blocks": (then.blocks, self.blocks),
            "traced memory": (then.traced_bytes, self.traced_bytes),
            "open files": (then.files, self.files),
            "tasks": (then.tasks, self.tasks),
        }
        return {what: now / before - 1 for what, (before, now) in measured.items() if before}


def measure() -> Resources:
    """Measure this process now. Call it on the event loop."""
    gc.collect()
    return Resources(
        resident_bytes=_resident_bytes(),
        heap_bytes=_heap_bytes(),
        blocks=sys.getallocatedblocks(),
        traced_bytes=tracemalloc.get_traced_memory()[0],
        files=files(),
        tasks=len(asyncio.all_tasks()),
    )


def machine() -> str:
    """Describe the machine."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{os.cpu_count()} cores, {memory_bytes / _GIB:.1f} GiB, {platform.machine()}, {platform.system()}"


def files() -> int:
    """Number of open files and sockets of this process."""
    return sum(1 for _ in _FILES.iterdir())


def mean(readings: Sequence[Resources]) -> Resources:
    """Mean of measurements. Raises ValueError without any."""
    if not readings:
        raise ValueError("nothing was measured")
    return Resources(*map(fmean, zip(*map(astuple, readings), strict=True)))


class _Mallinfo(ctypes.Structure):
    """`struct mallinfo2` of glibc: ten sizes, of which two are read here."""

    _fields_ = (
        ("unused_1", ctypes.c_size_t * 4),
        ("mapped", ctypes.c_size_t),
        ("unused_2", ctypes.c_size_t * 2),
        ("used", ctypes.c_size_t),
        ("unused_3", ctypes.c_size_t * 2),
    )


def mapped_bytes() -> int:
    """Memory that glibc has mapped for single large blocks. It returns to the system when they are freed."""
    return int(_mallinfo().mapped)


def _heap_bytes() -> int:
    info = _mallinfo()
    return int(info.used + info.mapped)


def _mallinfo() -> _Mallinfo:
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return _Mallinfo()
    library.mallinfo2.restype = _Mallinfo
    info: _Mallinfo = library.mallinfo2()
    return info


def _resident_bytes() -> int:
    if not _STATM.exists():
        return 0
    return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
