"""Idle accelerator time of one job: each minute of its run is judged once, however often the cloud reports it."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy

import msgspec

from exporter.domain.usage import MINUTE_S

_FULL_WINDOW = 4_320 - 10
"""Series of so many samples may have lost their oldest ones: the cloud keeps three days (API reference §6.3)."""

_LATE_SAMPLES = 3
"""A sample may still arrive for the newest slots, this many; an older slot that is empty stays empty."""

_BUSY, _IDLE = 2, 1


class IdleState(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """How far a job's minutes have been judged. Minutes are numbered from the start of the run; -1 lies before it."""

    settled: int = -1
    """The first minute that has not been judged."""
    streak: int = 0
    """Consecutive idle minutes before it."""
    pending_s: float = 0.0
    """Accelerator seconds of the streak that do not count yet, because it is not longer than the grace period."""


class IdleMeter:
    """One job's idle accelerator seconds.

    A minute is idle when every task that has a sample for it is below the threshold. A minute without samples is no
    evidence: it does not count, and does not end a streak. A streak counts, from its first minute, once it is longer
    than the grace period.
    """

    __slots__ = ("_marks", "_reached", "_state")

    def __init__(self, state: IdleState | None = None) -> None:
        self._state = IdleState() if state is None else state
        self._marks = bytearray()  # of the minutes from `settled` on
        self._reached: dict[str, int] = {}

    def dump(self) -> IdleState:
        """Copy the state. Minutes that are not settled are not in it: the next reading has them again."""
        return copy(self._state)

    def read(self, task: str, values: Sequence[float | None] | None, *, run_s: float, threshold: float) -> None:
        """Take one task's samples, oldest first; None when it has none. `run_s`: how long the job has run."""
        if values is None:
            self._reached.setdefault(task, 0)
            return
        newest = next((at for at in range(len(values) - 1, -1, -1) if values[at] is not None), -1)
        first = _first_minute(len(values), run_s=run_s, ends_sampled=newest == len(values) - 1)
        if first > self._state.settled + len(self._marks) and not self._marks:
            self._state.settled = first  # the minutes before it have left the cloud's window and stay unknown
        for at in range(max(0, self._state.settled - first), newest + 1):
            value = values[at]
            if value is not None:
                self._mark(first + at, _BUSY if value >= threshold else _IDLE)
        final = max(newest + 1, len(values) - _LATE_SAMPLES)
        self._reached[task] = max(self._reached.get(task, 0), first + final)

    def settle(self, tasks: Iterable[str] | None, *, held_s: Callable[[int], float], grace_s: float) -> float:
        """Judge the minutes that all of these tasks have reported (None: every minute); return the idle seconds.

        `held_s` gives the accelerator seconds held in a minute of the run.
        """
        state = self._state
        if tasks is None:
            through = state.settled + len(self._marks)
        else:
            reached = [self._reached.get(task) for task in tasks]
            if not reached or None in reached:
                return 0.0  # a task that has not been read yet may be busy
            through = min((minute for minute in reached if minute), default=0)
        idle_s = 0.0
        marks = self._marks[: max(0, through - state.settled)]
        for minute, mark in enumerate(marks, state.settled):
            if mark == _BUSY:
                state.streak, state.pending_s = 0, 0.0
            elif mark == _IDLE:
                state.streak += 1
                state.pending_s += held_s(minute)
                if state.streak * MINUTE_S > grace_s:
                    idle_s, state.pending_s = idle_s + state.pending_s, 0.0
        del self._marks[: len(marks)]
        state.settled += len(marks)
        return idle_s

    def _mark(self, minute: int, mark: int) -> None:
        at = minute - self._state.settled
        if at >= 0:
            self._marks.extend(bytes(max(0, at + 1 - len(self._marks))))
            self._marks[at] = max(self._marks[at], mark)


def _first_minute(slots: int, *, run_s: float, ends_sampled: bool) -> int:
    """Return the minute of the run that the first slot is: the one before the start, or the oldest of a full window.

    A series that ends with a sample was cut there, or its newest minute is over.
    """
    newest = int(run_s // MINUTE_S) - ends_sampled
    return newest + 1 - slots if slots >= _FULL_WINDOW and newest + 1 > slots else -1
