"""Card-hours: accelerators times the hours for which they were held, from the counters of the project."""

from .promql import Scope

HELD = "modelarts_training_accelerator_seconds_total"
IDLE = "modelarts_training_idle_accelerator_seconds_total"
LOST = "modelarts_training_lost_accelerator_seconds_total"


def hours(scope: Scope, counter: str, *, by: str = "", over: str = "$__range") -> str:
    """Add up one of the counters over a time, for each value of the labels `by`; also of what has vanished since."""
    grown = scope.grown(counter, "pool_id", "user", "accelerator", over=over)
    return f"sum{f' by ({by})' if by else ''} ({grown}) / 3600"


def share(scope: Scope, counter: str, *, by: str = "", over: str = "$__range") -> str:
    """Which part of the held card-hours one of the other counters is; absent where none was held."""
    return f"({hours(scope, counter, by=by, over=over)})\n/\n({hours(scope, HELD, by=by, over=over)} > 0)"
