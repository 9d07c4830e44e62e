"""Idle minutes: each is judged once, however often the cloud reports it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.polling.idle import IdleMeter, IdleState

THRESHOLD = 0.05
WHOLE_S = 60.0

Samples = Sequence[float | None]


def series(run: str) -> list[float | None]:
    """Return a task's samples, with the slots before the start and now: i(dle), b(usy), . for no sample."""
    return [None, *({"i": 0.0, "b": 0.9, ".": None}[minute] for minute in run), None]


def idle(meter: IdleMeter, *tasks: str, grace_s: float = 0.0, last: bool = False) -> float:
    """Read tasks of one job, all of the same length, and judge."""
    names = [f"worker-{number}" for number in range(len(tasks))]
    for name, run in zip(names, tasks, strict=True):
        meter.read(name, series(run), run_s=len(run) * 60.0 + 10, threshold=THRESHOLD)
    run_s = max(map(len, tasks)) * 60.0 + 10
    return meter.settle(None if last else names, run_s=run_s, held_s=lambda _: WHOLE_S, grace_s=grace_s)


@pytest.mark.parametrize(
    "tasks, grace_min, expected_min",
    [
        pytest.param(["iiii"], 0, 4, id="all of it"),
        pytest.param(["bbbb"], 0, 0, id="none of it"),
        pytest.param(["bibi"], 0, 2, id="some of it"),
        pytest.param(["iii"], 3, 0, id="not longer than the grace"),
        pytest.param(["iiii"], 3, 4, id="longer than the grace: from its first minute"),
        pytest.param(["iiibiii"], 3, 0, id="two short streaks"),
        pytest.param(["ii..ii"], 3, 4, id="minutes without a sample do not count and do not end a streak"),
        pytest.param(["iiii", "iibi"], 0, 3, id="one busy task keeps the job busy"),
        pytest.param(["i..i", "..ii"], 0, 3, id="one sample is enough for a minute"),
        pytest.param(["...."], 0, 0, id="never sampled"),
    ],
)
def test_what_idled(tasks: list[str], grace_min: int, expected_min: int) -> None:
    """A minute is idle when no task with a sample was busy; streaks longer than the grace period count."""
    assert idle(IdleMeter(), *tasks, grace_s=grace_min * 60.0) == expected_min * 60.0


@given(
    run=st.text("ib.", max_size=60),
    lengths=st.lists(st.integers(0, 60), max_size=6),
    grace_min=st.integers(0, 5),
    restarts=st.booleans(),
)
def test_the_moments_of_reading_do_not_matter(run: str, lengths: list[int], grace_min: int, restarts: bool) -> None:
    """Read often, rarely, across restarts or once at the end: the idle seconds are the same."""
    once = idle(IdleMeter(), run, grace_s=grace_min * 60.0, last=True)
    meter = IdleMeter()
    often = 0.0
    for length in sorted(lengths):
        often += idle(meter, run[:length], grace_s=grace_min * 60.0)
        if restarts:
            meter = IdleMeter(meter.dump())
    often += idle(meter, run, grace_s=grace_min * 60.0, last=True)

    assert often == once


def test_a_minute_waits_for_every_task() -> None:
    """A task that has not been read yet may have been busy."""
    meter = IdleMeter()
    meter.read("worker-0", series("iii"), run_s=190, threshold=THRESHOLD)

    assert meter.settle(["worker-0", "worker-1"], run_s=190, held_s=lambda _: WHOLE_S, grace_s=0) == 0
    meter.read("worker-1", series("ibi"), run_s=190, threshold=THRESHOLD)
    assert meter.settle(["worker-0", "worker-1"], run_s=190, held_s=lambda _: WHOLE_S, grace_s=0) == 120.0


def test_a_task_without_usage_is_not_waited_for() -> None:
    """A task without usage (204) has been read: the others decide."""
    meter = IdleMeter()
    meter.read("worker-0", series("iii"), run_s=190, threshold=THRESHOLD)
    meter.read("worker-1", None, run_s=190, threshold=THRESHOLD)

    assert meter.settle(["worker-0", "worker-1"], run_s=190, held_s=lambda _: WHOLE_S, grace_s=0) == 180.0


def test_the_newest_samples_may_be_late() -> None:
    """A sample missing at the end is final three slots later."""
    meter = IdleMeter()
    assert idle(meter, "ii..") == 120.0
    assert idle(meter, "iiii") == 120.0


def test_a_window_that_has_slid_is_aligned_at_its_end() -> None:
    """Of 5000 minutes the cloud keeps 4320: minutes 681 to 4999, and the one under way; older ones are lost."""
    meter = IdleMeter()
    judged: list[int] = []

    def held_s(minute: int) -> float:
        judged.append(minute)
        return WHOLE_S

    meter.read("w", [*[0.0] * 4319, None], run_s=5000 * 60.0 + 30, threshold=THRESHOLD)
    meter.settle(["w"], run_s=5000 * 60.0 + 30, held_s=held_s, grace_s=0)
    meter.read("w", [*[0.0] * 4319, None], run_s=5002 * 60.0 + 30, threshold=THRESHOLD)
    meter.settle(["w"], run_s=5002 * 60.0 + 30, held_s=held_s, grace_s=0)

    assert judged == list(range(681, 5002))


def test_the_state_is_small() -> None:
    """The state is three numbers, however long the run."""
    meter = IdleMeter()
    idle(meter, "b" * 100 + "ii", grace_s=600)

    assert meter.dump() == IdleState(settled=102, streak=2, pending_s=120.0)
