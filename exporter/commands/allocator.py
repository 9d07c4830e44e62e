"""How the C library keeps memory that was given back to it."""

import ctypes
import sys

_MMAP_THRESHOLD = -3  # numbers of glibc's malloc.h
_ARENA_MAX = -8
_LARGE_BYTES = 128 * 1024
_ARENAS = 2


def configure_malloc() -> None:
    """Let memory given back go back to the system; where there is no glibc this does nothing.

    Left to itself glibc raises the size from which it does so to that of the largest piece it ever gave out, here an
    exposition of many megabytes, and keeps an arena for each thread: a fifth more memory, and more each day.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        library.mallopt(_ARENA_MAX, _ARENAS)
