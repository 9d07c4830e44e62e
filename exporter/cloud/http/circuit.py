"""When to stop asking: closed while the cloud answers, open after failures in a row, then a trial at a time. Pure."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitPolicy:
    """When a circuit opens, and for how long."""

    failures: int = 5
    """In a row."""
    lasting_s: float = 15.0
    """For how long a row of failures that may be about single things must have lasted (see `Circuit.failed`)."""
    pause_s: float = 30.0
    """Before the first trial; doubled after each trial that fails."""
    longest_pause_s: float = 300.0
    together_once: bool = False
    """Requests that were under way at the same time fail as one."""


LOCKOUT = CircuitPolicy(failures=2, pause_s=330.0, longest_pause_s=330.0, together_once=True)
"""For refused credentials: five in a row lock a key for five minutes (trap 34), so two, and half a minute more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Leave to make one call; to be handed back by exactly one of `answered`, `failed` and `abandoned`."""

    number: int
    is_trial: bool


class Circuit:
    """Counts failures in a row. `now` is a clock that never goes back, in seconds."""

    def __init__(self, policy: CircuitPolicy, *, now: Callable[[], float]) -> None:
        self._policy = policy
        self._now = now
        self._issued = 0
        self._counted_to = 0  # tickets up to this number were out when a failure was counted
        self._row = 0
        self._row_since = 0.0
        self._open_until: float | None = None
        self._openings = 0
        self._trial_is_out = False

    @property
    def is_open(self) -> bool:
        """Whether calls are held back; true until a trial succeeds."""
        return self._open_until is not None

    def held_s(self) -> float | None:
        """Seconds until the next trial may start; 0 while one is under way; None: a call may go out now."""
        if self._open_until is None:
            return None
        left_s = self._open_until - self._now()
        if left_s > 0:
            return left_s
        return 0.0 if self._trial_is_out else None

    def admit(self) -> Ticket:
        """Let one call go out. Raises RuntimeError when calls are held: ask `held_s` first."""
        if self.held_s() is not None:
            raise RuntimeError("the circuit holds calls back")
        self._issued += 1
        self._trial_is_out = self.is_open
        return Ticket(number=self._issued, is_trial=self.is_open)

    def answered(self, ticket: Ticket) -> None:
        """The call went well, as far as this circuit is concerned: a trial closes it."""
        if self.is_open and not ticket.is_trial:
            return  # an old call that came back late proves nothing new
        self._row = 0
        self._openings = 0
        self._open_until = None
        self._trial_is_out = False

    def failed(self, ticket: Ticket, *, times: int = 1, single: bool = False) -> None:
        """The call failed. `single`: perhaps only for what it asked about, so a quick row of these does not count."""
        if ticket.is_trial:
            self._trial_is_out = False
            self._open()
        elif not self.is_open and not (self._policy.together_once and ticket.number <= self._counted_to):
            self._row_since = self._now() if not self._row else self._row_since
            self._row += times
            self._counted_to = self._issued
            lasted_s = self._now() - self._row_since
            if self._row >= self._policy.failures and not (single and lasted_s < self._policy.lasting_s):
                self._open()

    def abandoned(self, ticket: Ticket) -> None:
        """The call says nothing about the cloud: cut off by us, or never sent."""
        if ticket.is_trial:
            self._trial_is_out = False

    def _open(self) -> None:
        pause_s = min(self._policy.pause_s * 2**self._openings, self._policy.longest_pause_s)
        self._openings = min(self._openings + 1, 32)
        self._open_until = self._now() + pause_s
