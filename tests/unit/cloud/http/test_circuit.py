"""The circuit as a machine: when it opens, for how long, and what closes it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cloud.http.circuit import LOCKOUT, Circuit, CircuitPolicy
from tests.clock import ManualClock

POLICY = CircuitPolicy(failures=3, lasting_s=15.0, pause_s=30.0, longest_pause_s=100.0)


@pytest.fixture
def circuit(clock: ManualClock) -> Circuit:
    return Circuit(POLICY, now=clock.monotonic)


def fail(circuit: Circuit, *, times: int = 1, single: bool = False) -> None:
    for _ in range(times):
        circuit.failed(circuit.admit(), single=single)


def test_it_opens_after_failures_in_a_row(circuit: Circuit) -> None:
    """Two failures leave it closed, the third opens it for 30 s."""
    fail(circuit, times=2)
    assert circuit.held_s() is None
    fail(circuit)

    assert circuit.is_open
    assert circuit.held_s() == 30.0


def test_a_success_between_ends_the_row(circuit: Circuit) -> None:
    """Failures that a success interrupts are not in a row."""
    fail(circuit, times=2)
    circuit.answered(circuit.admit())
    fail(circuit, times=2)

    assert not circuit.is_open


def test_pauses_double_up_to_the_longest(circuit: Circuit, clock: ManualClock) -> None:
    """Each failed trial doubles the pause: 30, 60, then 100 instead of 120; a good one starts over."""
    fail(circuit, times=3)
    pauses = []
    for _ in range(4):
        held_s = circuit.held_s()
        assert held_s
        pauses.append(held_s)
        clock.turn(held_s)
        fail(circuit)
    assert pauses == [30.0, 60.0, 100.0, 100.0]

    clock.turn(100.0)
    circuit.answered(circuit.admit())
    assert not circuit.is_open
    fail(circuit, times=3)
    assert circuit.held_s() == 30.0


def test_one_trial_at_a_time(circuit: Circuit, clock: ManualClock) -> None:
    """While a trial is out nobody else may go; abandoned, it leaves the trial to the next."""
    fail(circuit, times=3)
    clock.turn(30.0)
    trial = circuit.admit()
    assert trial.is_trial
    assert circuit.held_s() == 0.0
    with pytest.raises(RuntimeError, match="holds calls back"):
        circuit.admit()
    circuit.abandoned(trial)

    assert circuit.held_s() is None
    assert circuit.admit().is_trial


def test_late_news_of_old_calls_changes_nothing(circuit: Circuit) -> None:
    """Calls sent before the circuit opened neither close it nor prolong the pause when they come back."""
    good, bad, lost = circuit.admit(), circuit.admit(), circuit.admit()
    fail(circuit, times=3)
    circuit.answered(good)
    circuit.failed(bad)
    circuit.abandoned(lost)

    assert circuit.held_s() == 30.0


def test_a_quick_row_about_single_things_does_not_open_it(circuit: Circuit, clock: ManualClock) -> None:
    """Failures that may be about single things count once their row has lasted 15 s."""
    fail(circuit, times=50, single=True)
    assert not circuit.is_open
    clock.turn(14.9)
    fail(circuit, single=True)
    assert not circuit.is_open
    clock.turn(0.1)
    fail(circuit, single=True)

    assert circuit.is_open


def test_refusals_of_calls_under_way_together_count_once(clock: ManualClock) -> None:
    """Four calls with a bad key, sent together, are one refusal; the next call is the second and opens for 330 s."""
    circuit = Circuit(LOCKOUT, now=clock.monotonic)
    together = [circuit.admit() for _ in range(4)]
    for ticket in together:
        circuit.failed(ticket)
    assert not circuit.is_open
    circuit.failed(circuit.admit())

    assert circuit.held_s() == 330.0  # longer than the lock-out of 300 s


def test_a_call_refused_twice_opens_at_once(clock: ManualClock) -> None:
    """A call that was refused with the old and with the renewed credential counts twice."""
    circuit = Circuit(LOCKOUT, now=clock.monotonic)
    circuit.failed(circuit.admit(), times=2)

    assert circuit.is_open


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["ok", "failed", "abandoned"]), st.floats(0, 200)), max_size=60))
def test_whatever_happens_it_lets_a_call_through_again(events: list[tuple[str, float]]) -> None:
    """No history locks it for longer than the longest pause, and never is more than one trial out."""
    clock = ManualClock()
    circuit = Circuit(POLICY, now=clock.monotonic)
    for kind, seconds in events:
        if circuit.held_s() is None:
            ticket = circuit.admit()
            {"ok": circuit.answered, "failed": circuit.failed, "abandoned": circuit.abandoned}[kind](ticket)
        clock.turn(seconds)

    assert (circuit.held_s() or 0.0) <= 100.0
    clock.turn(101.0)
    assert circuit.held_s() is None
