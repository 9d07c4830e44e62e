"""Circuit breaker: closed while calls succeed, open after consecutive failures, then one trial at a time. Pure."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitPolicy:
    """When a circuit opens, and for how long."""

    failure_threshold: int = 5
    """Consecutive failures that open it."""
    min_duration_s: float = 15.0
    """How long consecutive failures that may concern single objects must have lasted (see `CircuitCall`)."""
    pause_s: float = 30.0
    """Time before the first trial; doubled after each failed trial."""
    max_pause_s: float = 300.0
    merge_concurrent: bool = False
    """Failures of calls that were running at the same time count as one."""


LOCKOUT = CircuitPolicy(failure_threshold=2, pause_s=330.0, max_pause_s=330.0, merge_concurrent=True)
"""For refused credentials. Five in a row lock a key for 300 s (trap 34), so two open it for 330 s."""


@dataclass(slots=True, kw_only=True)
class CircuitCall:
    """One call that the circuit let through. The caller sets the result; the circuit reads it when the call ends."""

    number: int
    is_trial: bool
    failures: int | None = None
    """How many failures it counts as: 0 is a success; None says nothing (cancelled, or never sent)."""
    is_single: bool = False
    """The failure may concern only the requested object: a short burst of these does not open the circuit."""


class Circuit:
    """Counts consecutive failures. `now` is a monotonic clock in seconds; `on_change` is called at each change."""

    def __init__(
        self, policy: CircuitPolicy, *, now: Callable[[], float], on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._policy = policy
        self._now = now
        self._on_change = on_change
        self._calls = 0
        self._counted_to = 0  # calls up to this number had started when the last failure was counted
        self._failures = 0
        self._failing_since = 0.0
        self._open_until: float | None = None
        self._openings = 0
        self._trial_is_running = False

    @property
    def is_open(self) -> bool:
        """Whether calls are held back; true until a trial succeeds."""
        return self._open_until is not None

    def wait_s(self) -> float | None:
        """Seconds until the next trial may start; 0 while one is running. None: a call may be sent now."""
        if self._open_until is None:
            return None
        left_s = self._open_until - self._now()
        if left_s > 0:
            return left_s
        return 0.0 if self._trial_is_running else None

    @contextmanager
    def call(self) -> Iterator[CircuitCall]:
        """Let one call through, and count its result at the end.

        Raises RuntimeError while calls are held back: check `wait_s` first.
        """
        if self.wait_s() is not None:
            raise RuntimeError("the circuit is open")
        self._calls += 1
        call = CircuitCall(number=self._calls, is_trial=self.is_open)
        self._trial_is_running = call.is_trial
        try:
            yield call
        finally:
            was_open = self.is_open
            if call.is_trial:
                self._trial_is_running = False
            if call.failures:
                self._count(call, call.failures)
            elif call.failures == 0 and (call.is_trial or not was_open):  # a late success of an old call says nothing
                self._failures = 0
                self._openings = 0
                self._open_until = None
            if self.is_open != was_open:
                self._on_change()

    def _count(self, call: CircuitCall, failures: int) -> None:
        policy = self._policy
        if call.is_trial:
            self._open()
        elif not self.is_open and not (policy.merge_concurrent and call.number <= self._counted_to):
            if not self._failures:
                self._failing_since = self._now()
            self._failures += failures
            self._counted_to = self._calls
            is_burst = call.is_single and self._now() - self._failing_since < policy.min_duration_s
            if self._failures >= policy.failure_threshold and not is_burst:
                self._open()

    def _open(self) -> None:
        pause_s = min(self._policy.pause_s * 2**self._openings, self._policy.max_pause_s)
        self._openings = min(self._openings + 1, 32)
        self._open_until = self._now() + pause_s
