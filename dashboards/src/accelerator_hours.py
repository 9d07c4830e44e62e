"""Accelerator-hours: accelerators times the hours for which they were held, from the counters of a project."""

from .promql import Scope

HELD = "modelarts_training_accelerator_seconds_total"
IDLE = "modelarts_training_idle_accelerator_seconds_total"
LOST = "modelarts_training_lost_accelerator_seconds_total"


def hours(scope: Scope, counter: str, *, by: str = "", over: str = "$__range") -> str:
    """Sum a counter over a time, for each value of the labels `by`. Series that have ended since count too."""
    grown = scope.increase(counter, "pool_id", "user", "accelerator", over=over)
    return f"sum{f' by ({by})' if by else ''} ({grown}) / 3600"


def share_of_held(scope: Scope, counter: str, *, by: str = "", over: str = "$__range") -> str:
    """Divide a counter by the accelerator-hours held; absent where none was held."""
    return f"({hours(scope, counter, by=by, over=over)})\n/\n({hours(scope, HELD, by=by, over=over)} > 0)"
