"""How long a job's accelerators idled: each minute of its run is judged once, however often it is told."""

from collections.abc import Callable, Iterable, Sequence

from exporter.domain.usage import MINUTE_S
from exporter.polling.memory import IdleMemory

_WINDOW = 4_320 - 10
"""From so many minutes on a series may have lost its oldest ones: the cloud keeps three days (API reference §6.3)."""

_LATE = 3
"""So many minutes before the newest slot a missing sample may still come; one that is older is missing for good."""

_BUSY, _IDLE = 2, 1


class IdleMeter:
    """One job's idle accelerator seconds.

    A minute is idle when every task that has a sample for it is below the threshold; a minute without any sample is
    no evidence, and neither counts nor ends a stretch. A stretch counts, from its first minute, once it is longer
    than the grace. Minutes are numbered from the start of the run.
    """

    __slots__ = ("_marks", "_memory", "_pending_s", "_reached", "_settled", "_streak")

    def __init__(self, memory: IdleMemory | None = None) -> None:
        told = memory or IdleMemory()
        self._settled = told.settled
        self._streak = told.streak
        self._pending_s = told.pending_s
        self._memory: IdleMemory | None = told
        self._marks = bytearray()  # of the minutes from `_settled` on
        self._reached: dict[str, int] = {}

    def dump(self) -> IdleMemory:
        """Tell what must survive; minutes that are not settled are told again by the next reading."""
        if self._memory is None:
            self._memory = IdleMemory(settled=self._settled, streak=self._streak, pending_s=self._pending_s)
        return self._memory

    def read(self, task: str, values: Sequence[float | None] | None, *, run_s: float, threshold: float) -> None:
        """Take in one task's minutes, oldest first; None when it has none. `run_s`: how long the job has run."""
        if values is None:
            self._reached.setdefault(task, 0)
            return
        newest = next((at for at in range(len(values) - 1, -1, -1) if values[at] is not None), -1)
        first = _first_minute(len(values), run_s=run_s, ends_sampled=newest == len(values) - 1)
        if first > self._settled + len(self._marks) and not self._marks:
            self._settled, self._memory = (
                first,
                None,
            )  # what lies before has slid out of the window, and is not known any more
        for at in range(max(0, self._settled - first), newest + 1):
            value = values[at]
            if value is not None:
                self._mark(first + at, _BUSY if value >= threshold else _IDLE)
        final = max(newest + 1, len(values) - _LATE)
        self._reached[task] = max(self._reached.get(task, 0), first + final)

    def settle(self, tasks: Iterable[str] | None, *, held_s: Callable[[int], float], grace_s: float) -> float:
        """Judge the minutes that all of these tasks have told of (None: every minute) and return what idled in them.

        `held_s` gives the accelerator seconds held in a minute of the run.
        """
        if tasks is None:
            through = self._settled + len(self._marks)
        else:
            told = [self._reached.get(task) for task in tasks]
            if not told or None in told:
                return 0.0  # one of them has not been asked yet: it may be busy
            through = min((reached for reached in told if reached), default=0)
        idle_s = 0.0
        marks = self._marks[: max(0, through - self._settled)]
        for at, mark in enumerate(marks, self._settled):
            if mark == _BUSY:
                self._streak, self._pending_s = 0, 0.0
            elif mark == _IDLE:
                self._streak += 1
                self._pending_s += held_s(at)
                if self._streak * MINUTE_S > grace_s:
                    idle_s, self._pending_s = idle_s + self._pending_s, 0.0
        if marks:
            del self._marks[: len(marks)]
            self._settled, self._memory = self._settled + len(marks), None
        return idle_s

    def _mark(self, minute: int, mark: int) -> None:
        at = minute - self._settled
        if at >= 0:
            self._marks.extend(bytes(max(0, at + 1 - len(self._marks))))
            self._marks[at] = max(self._marks[at], mark)


def _first_minute(slots: int, *, run_s: float, ends_sampled: bool) -> int:
    """Which minute of the run the first slot is: one before the start, or whatever a full window has left.

    A series that ends with a sample has been cut there, or its newest minute is over.
    """
    newest = int(run_s // MINUTE_S) - ends_sampled
    return newest + 1 - slots if slots >= _WINDOW and newest + 1 > slots else -1
