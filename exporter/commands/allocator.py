"""Configures how the C library returns freed memory to the system."""

import ctypes
import sys

_MMAP_THRESHOLD = -3  # constants of glibc's malloc.h
_ARENA_MAX = -8
_LARGE_BYTES = 128 * 1024
_ARENAS = 2


def configure_malloc() -> None:
    """Make malloc return freed memory to the system. Does nothing without glibc.

    By default glibc raises the threshold for returning memory to the size of the largest block ever freed, here an
    exposition of many megabytes, and keeps an arena per thread: 20 % more memory, growing every day.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        library.mallopt(_ARENA_MAX, _ARENAS)
