"""The circuit as a state machine: when it opens, for how long, and what closes it."""

from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cloud.http.circuit import LOCKOUT, Circuit, CircuitPolicy
from tests.clock import ManualClock

POLICY = CircuitPolicy(failure_threshold=3, min_duration_s=15.0, pause_s=30.0, max_pause_s=100.0)


@pytest.fixture
def circuit(clock: ManualClock) -> Circuit:
    return Circuit(POLICY, now=clock.monotonic)


def call(circuit: Circuit, *, failures: int | None, is_single: bool = False) -> None:
    with circuit.call() as made:
        made.failures = failures
        made.is_single = is_single


def succeed(circuit: Circuit) -> None:
    call(circuit, failures=0)


def fail(circuit: Circuit, *, times: int = 1, is_single: bool = False) -> None:
    for _ in range(times):
        call(circuit, failures=1, is_single=is_single)


def test_consecutive_failures_open_it(circuit: Circuit) -> None:
    """Two failures leave it closed, the third opens it for 30 s."""
    fail(circuit, times=2)
    assert circuit.wait_s() is None
    fail(circuit)

    assert circuit.is_open
    assert circuit.wait_s() == 30.0


def test_a_success_resets_the_count(circuit: Circuit) -> None:
    """Failures before and after a success are not consecutive."""
    fail(circuit, times=2)
    succeed(circuit)
    fail(circuit, times=2)

    assert not circuit.is_open


def test_pauses_double_up_to_the_longest(circuit: Circuit, clock: ManualClock) -> None:
    """Each failed trial doubles the pause: 30, 60, then 100 instead of 120 s; a successful trial resets it."""
    fail(circuit, times=3)
    pauses = []
    for _ in range(4):
        wait_s = circuit.wait_s()
        assert wait_s
        pauses.append(wait_s)
        clock.turn(wait_s)
        fail(circuit)
    assert pauses == [30.0, 60.0, 100.0, 100.0]

    clock.turn(100.0)
    succeed(circuit)
    assert not circuit.is_open
    fail(circuit, times=3)
    assert circuit.wait_s() == 30.0


def test_one_trial_at_a_time(circuit: Circuit, clock: ManualClock) -> None:
    """While a trial is running no other call may be sent; without a result, the next call is the trial."""
    fail(circuit, times=3)
    clock.turn(30.0)
    with circuit.call() as trial:
        assert trial.is_trial
        assert circuit.wait_s() == 0.0
        with pytest.raises(RuntimeError, match="the circuit is open"), circuit.call():
            pass

    assert circuit.wait_s() is None
    with circuit.call() as trial:
        assert trial.is_trial


def test_a_cancelled_trial_is_not_a_result(circuit: Circuit, clock: ManualClock) -> None:
    """A trial that ends by an exception without a result neither closes the circuit nor prolongs the pause."""
    fail(circuit, times=3)
    clock.turn(30.0)
    with pytest.raises(KeyboardInterrupt), circuit.call():
        raise KeyboardInterrupt

    assert circuit.is_open
    assert circuit.wait_s() is None


def test_late_results_of_old_calls_change_nothing(circuit: Circuit) -> None:
    """Calls sent before the circuit opened neither close it nor prolong the pause when they end."""
    with ExitStack() as good, ExitStack() as bad, ExitStack() as cancelled:
        good.enter_context(circuit.call()).failures = 0
        bad.enter_context(circuit.call()).failures = 1
        cancelled.enter_context(circuit.call())
        fail(circuit, times=3)

    assert circuit.wait_s() == 30.0


def test_a_burst_of_failures_of_single_objects_does_not_open_it(circuit: Circuit, clock: ManualClock) -> None:
    """Failures that may concern single objects open it only once they have lasted 15 s."""
    fail(circuit, times=50, is_single=True)
    assert not circuit.is_open
    clock.turn(14.9)
    fail(circuit, is_single=True)
    assert not circuit.is_open
    clock.turn(0.1)
    fail(circuit, is_single=True)

    assert circuit.is_open


def test_failures_of_single_objects_between_successes_never_open_it(clock: ManualClock) -> None:
    """At clock 5,000 five single failures between successes, and then a burst of five, leave it closed."""
    clock.turn(5000.0 - clock.monotonic())
    circuit = Circuit(CircuitPolicy(), now=clock.monotonic)
    for _ in range(5):
        fail(circuit, is_single=True)
        clock.turn(20.0)
        succeed(circuit)
        clock.turn(20.0)
    for _ in range(5):
        fail(circuit, is_single=True)
        clock.turn(0.1)

    assert not circuit.is_open


def test_the_duration_counts_from_the_first_consecutive_failure(circuit: Circuit, clock: ManualClock) -> None:
    """The time of a failure before a success does not count: the 15 s start again with the next failure."""
    fail(circuit, is_single=True)
    clock.turn(60.0)
    succeed(circuit)
    fail(circuit, times=3, is_single=True)
    assert not circuit.is_open
    clock.turn(15.0)
    fail(circuit, is_single=True)

    assert circuit.is_open


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)], ids=["first-ends-first", "last-ends-first"])
def test_refusals_of_concurrent_calls_count_once(clock: ManualClock, order: tuple[int, ...]) -> None:
    """Four concurrent calls with a wrong key count as one refusal; the next one opens for 330 s."""
    circuit = Circuit(LOCKOUT, now=clock.monotonic)
    concurrent = [ExitStack() for _ in order]
    for stack in concurrent:
        stack.enter_context(circuit.call()).failures = 1
    for number in order:
        concurrent[number].close()
    assert not circuit.is_open
    fail(circuit)

    assert circuit.wait_s() == 330.0  # longer than the lock of 300 s


def test_a_call_that_is_refused_twice_opens_it_at_once(clock: ManualClock) -> None:
    """A call that is refused with the old and with the renewed credential counts twice."""
    circuit = Circuit(LOCKOUT, now=clock.monotonic)
    call(circuit, failures=2)

    assert circuit.is_open


def test_each_change_of_state_is_reported_once(clock: ManualClock) -> None:
    """`on_change` is called when the circuit opens and when it closes, and at no other call."""
    states: list[bool] = []
    reporting = Circuit(POLICY, now=clock.monotonic, on_change=lambda: states.append(reporting.is_open))
    fail(reporting, times=3)
    clock.turn(30.0)
    fail(reporting)
    clock.turn(60.0)
    succeed(reporting)
    succeed(reporting)

    assert states == [True, False]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([0, 1, None]), st.floats(0, 200)), max_size=60))
def test_after_any_history_a_call_may_be_sent_again(events: list[tuple[int | None, float]]) -> None:
    """No sequence of results holds calls back for longer than the longest pause."""
    clock = ManualClock()
    circuit = Circuit(POLICY, now=clock.monotonic)
    for failures, seconds in events:
        if circuit.wait_s() is None:
            call(circuit, failures=failures)
        clock.turn(seconds)

    assert (circuit.wait_s() or 0.0) <= 100.0
    clock.turn(101.0)
    assert circuit.wait_s() is None
