"""Counts the API calls of one poll.

A poll's calls pass through objects that it shares with other polls of its project at the same time: sources, caches,
the client and the credentials. Only the task that makes a call knows its poll, so a context variable carries the
counter: tasks inherit it from the task that starts them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class CallCount:
    """Calls made so far."""

    calls: int = 0


_CURRENT: ContextVar[CallCount | None] = ContextVar("call_count", default=None)


@contextmanager
def count_calls() -> Iterator[CallCount]:
    """Count every call reported by `count_call` in this block, in tasks started in it, and in blocks inside it."""
    count = CallCount()
    outer = _CURRENT.get()
    token = _CURRENT.set(count)
    try:
        yield count
    finally:
        _CURRENT.reset(token)
        if outer is not None:
            outer.calls += count.calls


def count_call() -> None:
    """Report one API call to the block in which it is made, if any."""
    count = _CURRENT.get()
    if count is not None:
        count.calls += 1
