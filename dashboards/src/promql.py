"""Queries whose every metric, label and bounded label value is looked up in the catalogue while a board is imported.

Two facts shape each query. Several exporters may watch one project (replicas), so series of one job or project are
folded into their maximum before anything is added up. And several clusters may report to one Prometheus, so `cluster`
is part of every identity; where no such label exists, it costs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.metrics import catalog
from exporter.metrics.exposition.labels import IDENTITY_LABELS

Words = str | tuple[str, ...]
"""One label value, or several of which any may match."""

CLUSTER = "cluster"
"""External label by which one Prometheus tells several clusters apart, if it does."""
SCRAPE_LABELS = (CLUSTER, "job", "instance")
"""What Prometheus puts on every series; each has a variable of the same name on each board."""

FOREIGN: Mapping[str, str] = {
    "up": "made by Prometheus: whether the scrape worked",
    "process_cpu_seconds_total": "made by the Prometheus client library",
    "process_resident_memory_bytes": "made by the Prometheus client library",
    "process_start_time_seconds": "made by the Prometheus client library",
}
"""The only metrics outside the catalogue that a board may name. Other programs have them too: see `Scope.ours`."""

_NARROWING: Mapping[str, tuple[str, str]] = {
    "project": ("project", "$project"),
    "pool": ("pool_id", "${pool:pipe}"),
    "user": ("user", "$user"),
    "training_job": ("job_id", "$training_job"),
}
"""Variable to the label it narrows and how a query writes its choice.

The pool is written without escaping: the public one has no name, its choice is a pattern (see `variable.pool`).
"""
BOARD_VARIABLES = frozenset(_NARROWING)

INFO = "modelarts_training_job_info"
STATUS = "modelarts_training_job_status"
BUILD_INFO = "modelarts_exporter_build_info"

JOB = ", ".join((CLUSTER, *(label.name for label in IDENTITY_LABELS["job"])))
"""Labels that tell one job from another, for `on (…)` and `by (…)`."""
PROJECT = ", ".join((CLUSTER, *(label.name for label in IDENTITY_LABELS["project"])))


def labels_of(name: str) -> Mapping[str, tuple[str, ...]]:
    """Label names a metric has beside those of the scrape, with their vocabulary where it is bounded.

    Raises KeyError when neither the catalogue nor FOREIGN has the metric.
    """
    if name in FOREIGN:
        return {}
    family = catalog.by_exposed_name(name)
    found = {label.name: label.values for label in (*IDENTITY_LABELS[family.subject], *family.labels)}
    return found | {"le": ()} if name.endswith("_bucket") else found


def vocabulary(name: str, label: str, *, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Give the bounded values of a label, less some. Raises KeyError for a label or a value that does not exist."""
    values = labels_of(name)[label]
    if not values or set(without) - set(values):
        raise KeyError(f"{name}: the label {label} has no such vocabulary")
    return tuple(value for value in values if value not in without)


HOLDING = ("running", "scaling", "terminating")
"""Statuses in which a job can hold nodes."""
WAITING = ("initializing", "queued")
ACTIVE = (*WAITING, *HOLDING)
FAILED = ("failed", "lost")


@dataclass(frozen=True)
class Scope:
    """The variables of one board; every query made here is narrowed by each of them that it can be narrowed by."""

    variables: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.variables - BOARD_VARIABLES:
            raise ValueError(f"no such variables: {sorted(self.variables - BOARD_VARIABLES)}")

    def series(self, name: str, *, over: str = "", at_end: bool = False, **labels: Words) -> str:
        """Select the series of one metric; `over` makes it a range, `at_end` takes those at the end of the picture.

        Raises KeyError when the catalogue has no such metric, the metric no such label, or the label no such value.
        """
        return self._select(name, labels, over=over, at_end=at_end)

    def one(self, name: str, *by: str, over: str = "", at_end: bool = False, **labels: Words) -> str:
        """One series for each job or project, and for each value of the labels `by`: replicas fold into one.

        With `over`, also for what has vanished within that time: its last value.
        """
        picked = self._select(name, labels, over=over, at_end=at_end)
        return self._fold(name, by, f"last_over_time({picked})" if over else picked)

    def grown(self, name: str, *by: str, over: str, **labels: Words) -> str:
        """By how much a counter of a project grew, told once however many replicas counted."""
        return self._fold(name, by, f"increase({self._select(name, labels, over=over)})")

    def chosen(self, expr: str, *, over: str = "") -> str:
        """Only the jobs that the variables pool and user choose; job series carry neither, their info does.

        `over` as in `one`: for jobs that may have vanished meanwhile.
        """
        if not self.variables & {"pool", "user"}:
            return expr
        info = self.series(INFO, over=over)
        return f"{expr}\nand on ({JOB})\n{f'last_over_time({info})' if over else info}"

    def told(self, expr: str, *labels: str) -> str:
        """Add labels of the info to a query by job, and keep only jobs that the variables choose.

        One info at most for each job: replicas may disagree for a moment about what becomes known at the start.
        The public pool, whose label is empty, is called `public`.
        """
        _ = [labels_of(INFO)[label] for label in labels]
        kept = ", ".join((JOB, *labels))
        info = f"topk by ({JOB}) (1, max by ({kept}) ({self.series(INFO)}))"
        if "pool_id" in labels:
            info = named(info)
        return f"({expr})\n* on ({JOB}) group_left ({', '.join(labels)})\n{info}"

    def while_in(self, expr: str, *statuses: str, over: str = "") -> str:
        """Only the jobs in one of the statuses."""
        status = self.series(STATUS, over=over, status=statuses)
        return f"{expr}\nand on ({JOB})\n{f'last_over_time({status})' if over else status}"

    def or_zero(self, expr: str) -> str:
        """Zero where nothing matches, but only while jobs are seen at all: blindness must not look like calm.

        For queries that keep no label.
        """
        return f"({expr})\nor\n0 * max({self.series('modelarts_exporter_tracked_jobs')})"

    def ours(self, name: str, *, rate_over: str = "") -> str:
        """Select a FOREIGN metric of those scrape targets that are exporters of ours, by what they served in a day.

        With `rate_over`, its rate.
        """
        if name not in FOREIGN:
            raise KeyError(f"{name} is not foreign")
        on = ", ".join(SCRAPE_LABELS)
        known = f"last_over_time({self.series(BUILD_INFO, over='1d')})"
        picked = self.series(name, over=rate_over)
        return f"{f'rate({picked})' if rate_over else picked}\nand on ({on})\n{known}"

    def _select(self, name: str, labels: Mapping[str, Words], *, over: str = "", at_end: bool = False) -> str:
        own = labels_of(name)
        matchers = [f'{label}=~"${label}"' for label in SCRAPE_LABELS]
        for variable, (label, choice) in _NARROWING.items():
            if variable in self.variables and label in own:
                matchers.append(f'{label}=~"{choice}"')
        for label, words in labels.items():
            wanted = (words,) if isinstance(words, str) else words
            if own[label] and set(wanted) - set(own[label]):
                raise KeyError(f"{name}: {label} is never {sorted(set(wanted) - set(own[label]))}")
            matchers.append(f'{label}="{wanted[0]}"' if len(wanted) == 1 else f'{label}=~"{"|".join(wanted)}"')
        return f"{name}{{{', '.join(matchers)}}}{f'[{over}]' if over else ''}{' @ end()' if at_end else ''}"

    def _fold(self, name: str, by: tuple[str, ...], expr: str) -> str:
        own = labels_of(name)
        identity = (label.name for label in IDENTITY_LABELS[catalog.by_exposed_name(name).subject])
        _ = [own[label] for label in by]
        return f"max by ({', '.join((CLUSTER, *identity, *by))}) ({expr})"


def named(expr: str) -> str:
    """Call the public pool, whose label is empty, `public`."""
    return f'label_replace({expr}, "pool_id", "public", "pool_id", "")'


def status_code(scope: Scope, codes: Mapping[str, int]) -> str:
    """Tell the status of each job as a number, for panels that draw states."""
    each = (f"{scope.series(STATUS, status=status)} * {code}" for status, code in codes.items())
    return f"max by ({JOB}) (\n  " + "\n  or\n  ".join(each) + "\n)"
