"""Counts the API calls that one poll makes, wherever in its tasks they are made."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Calls made so far."""

    calls: int = 0


_TALLY: ContextVar[Tally | None] = ContextVar("tally", default=None)


@contextmanager
def tally() -> Iterator[Tally]:
    """Count every call reported by `count_call` inside the block, tasks started in it and blocks inside included."""
    counted = Tally()
    outer = _TALLY.get()
    token = _TALLY.set(counted)
    try:
        yield counted
    finally:
        _TALLY.reset(token)
        if outer is not None:
            outer.calls += counted.calls


def count_call() -> None:
    """Report one API call to the poll it is made for, if any."""
    counted = _TALLY.get()
    if counted is not None:
        counted.calls += 1
