"""Idle accelerator time of one job: each minute of its run is judged once, however often the cloud reports it."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy

import msgspec

from exporter.domain.usage import MINUTE_S, OLD_SLOTS, is_full_window

_CLOCK_SLACK_S = 1.0
"""The run time is known from a poll that took a moment itself."""

_JOINED_LATE = 2
"""A task whose series is shorter than the longest one by so many slots joined later. One slot may be chance: the
tasks are read one after the other."""

_MARGIN = OLD_SLOTS + 2
"""Slots that are read although their minutes have been judged, because the alignment may still move."""

_BUSY, _IDLE = 2, 1


class IdleState(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """How far a job's minutes have been judged. Minutes are numbered from the start of the run; -1 lies before it."""

    settled: int = -1
    """The first minute that has not been judged."""
    streak: int = 0
    """Consecutive idle minutes before it."""
    pending_s: float = 0.0
    """Accelerator seconds of the streak that do not count yet, because it is not longer than the grace period."""


class _Reading:
    """The newest series of one task, as far as its minutes may not have been judged."""

    __slots__ = (
        "ends_sampled",
        "first",
        "is_full",
        "marks",
        "missing",
        "newest",
        "over",
        "shift",
        "skipped",
        "slots",
    )

    def __init__(self) -> None:
        self.slots = 0
        self.is_full = False
        """Whether the first slots may have left the cloud's window."""
        self.newest = -1
        """Slot of the newest sample."""
        self.ends_sampled = False
        self.over = 0
        """Minutes of the run that were over when it was read."""
        self.missing: int | None = None
        """Slots by which the series was shorter than the run time suggests; the fewest of all readings."""
        self.shift = 0
        """Minutes by which its first slot seems to be later than the minute before the start."""
        self.first = -1
        """The minute of the first slot."""
        self.skipped = 0
        """Slots before the first mark."""
        self.marks = bytearray()


class IdleMeter:
    """One job's idle accelerator seconds.

    A minute is idle when every task that has a sample for it is below the threshold. A minute without samples is no
    evidence: it does not count, and does not end a streak. A streak counts, from its first minute, once it is longer
    than the grace period.

    The first slot of a series is the minute before the start (API reference §6.3), with three exceptions. A sample
    in the first slot belongs to the first minute of the run. A series that ends with a sample of a minute that is
    not over began a minute earlier, because a sample is the mean of a whole minute. A full window, and the series
    of a task that joined late, are aligned at their ends.
    """

    __slots__ = ("_readings", "_shift", "_state")

    def __init__(self, state: IdleState | None = None) -> None:
        self._state = IdleState() if state is None else state
        self._readings: dict[str, _Reading | None] = {}
        """By task; None: the task was read and has no samples."""
        self._shift = 0

    def dump(self) -> IdleState:
        """Copy the state. Minutes that are not settled are not in it: the next reading has them again."""
        return copy(self._state)

    def read(
        self, task: str, values: Sequence[float | None] | None, *, run_s: float, threshold: float, padding: int = 0
    ) -> None:
        """Take one task's samples, oldest first; None when it has none. `run_s`: how long the job has run.

        `padding`: slots without a sample that follow the values.
        """
        newest = next((at for at in range(len(values) - 1, -1, -1) if values[at] is not None), -1) if values else -1
        if values is None or newest < 0:
            self._readings.setdefault(task, None)
            return
        reading = self._readings.get(task)
        if reading is None:
            reading = self._readings[task] = _Reading()
        reading.slots = len(values) + padding
        reading.newest, reading.ends_sampled = newest, newest == reading.slots - 1
        reading.over = int(run_s // MINUTE_S)
        reading.is_full = is_full_window(reading.slots, run_s=run_s)
        first = reading.over + 1 - reading.slots if reading.is_full else reading.first
        if not reading.is_full:
            missing = reading.over + 2 - reading.slots
            reading.missing = missing if reading.missing is None else min(reading.missing, missing)
            if values[0] is not None:
                reading.shift = 1
            elif reading.ends_sampled and values[1] is None and newest * MINUTE_S > run_s + _CLOCK_SLACK_S:
                reading.shift = -1
        reading.skipped = max(0, self._state.settled - first - _MARGIN)
        reading.marks = bytearray(
            0 if value is None else _BUSY if value >= threshold else _IDLE
            for value in values[reading.skipped : newest + 1]
        )

    def has_all(self, tasks: Iterable[str], *, run_s: float) -> bool:
        """Whether each of these tasks has a sample of the last whole minute of a run that has ended."""
        self._align()
        whole = int(run_s // MINUTE_S)
        return all(
            (reading := self._readings.get(task)) is not None and reading.first + reading.newest + 1 >= whole
            for task in tasks
        )

    def settle(
        self, tasks: Iterable[str] | None, *, run_s: float, held_s: Callable[[int], float], grace_s: float
    ) -> float:
        """Judge the minutes that are over and that all of these tasks have reported; return the idle seconds.

        `tasks` None: the run is over, judge every minute. `run_s` is the run time up to which `held_s` is known;
        `held_s` gives the accelerator seconds held in a minute of the run. A task that has reported nothing for
        `OLD_SLOTS` minutes is not waited for.
        """
        self._align()
        state = self._state
        readings = [reading for reading in self._readings.values() if reading is not None]
        through = max((reading.first + reading.newest + 1 for reading in readings), default=0)
        if tasks is not None:
            names = list(tasks)
            if not names or any(task not in self._readings for task in names):
                return 0.0  # a task that has not been read yet may be busy
            reached = [_reached(reading) for task in names if (reading := self._readings[task]) is not None]
            through = min(through, int(run_s // MINUTE_S), min(reached, default=0))
        oldest = min((reading.first for reading in readings), default=state.settled)
        state.settled = max(
            state.settled, oldest
        )  # the minutes before have left the cloud's window: they stay unknown
        marks = bytearray(max(0, through - state.settled))
        for reading in readings:
            begin = reading.first + reading.skipped
            for minute, mark in enumerate(reading.marks, begin):
                at = minute - state.settled
                if 0 <= at < len(marks) and mark > marks[at]:
                    marks[at] = mark
            judged = min(len(reading.marks), max(0, through - begin))
            del reading.marks[:judged]
            reading.skipped += judged
        return self._judge(marks, held_s=held_s, grace_s=grace_s)

    def _judge(self, marks: bytearray, *, held_s: Callable[[int], float], grace_s: float) -> float:
        state = self._state
        idle_s = 0.0
        for minute, mark in enumerate(marks, state.settled):
            if mark == _BUSY:
                state.streak, state.pending_s = 0, 0.0
            elif mark == _IDLE:
                state.streak += 1
                state.pending_s += held_s(minute)
                if state.streak * MINUTE_S > grace_s:
                    idle_s, state.pending_s = idle_s + state.pending_s, 0.0
        state.settled += len(marks)
        return idle_s

    def _align(self) -> None:
        """Find the minute of each series' first slot."""
        readings = [reading for reading in self._readings.values() if reading is not None]
        known = [reading.missing for reading in readings if reading.missing is not None]
        fewest = min(known, default=0)
        for reading in readings:
            if reading.shift and (reading.missing or 0) - fewest < _JOINED_LATE:
                self._shift = reading.shift
        for reading in readings:
            if reading.is_full:
                offset = self._shift - fewest if known else -reading.ends_sampled
                reading.first = reading.over + 1 - reading.slots + offset
            else:
                late = (reading.missing or 0) - fewest
                reading.first = -1 + self._shift + (late if late >= _JOINED_LATE else 0)


def _reached(reading: _Reading) -> int:
    """Return the first minute for which a task may still get a sample."""
    return max(reading.first + reading.newest + 1, reading.over - OLD_SLOTS)
