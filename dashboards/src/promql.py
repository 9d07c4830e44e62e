"""Queries whose metrics, labels and bounded label values are checked against the catalog when a board is imported.

Two facts determine each query. Several exporters may watch one project (replicas), so series of one job or project
are deduplicated with `max` before they are summed. And several clusters may send metrics to one Prometheus, so
`cluster` is part of every identity; where series have no such label, it has no effect.
"""

import difflib
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.metrics import catalog
from exporter.metrics.exposition.labels import IDENTITY_LABELS

LabelValues = str | tuple[str, ...]
"""One label value, or several of which any may match."""

CLUSTER = "cluster"
"""External label that distinguishes several clusters in one Prometheus, if it is set."""
SCRAPE_LABELS = (CLUSTER, "job", "instance")
"""Labels that Prometheus adds to every series; each board has a variable of the same name for each."""

EXTERNAL: Mapping[str, str] = {
    "up": "made by Prometheus: whether the scrape succeeded",
    "process_cpu_seconds_total": "made by the Prometheus client library",
    "process_resident_memory_bytes": "made by the Prometheus client library",
    "process_start_time_seconds": "made by the Prometheus client library",
}
"""The only metrics outside the catalog that a board may use. Other programs export them too: `Scope.of_exporters`."""

_VARIABLE_MATCHERS: Mapping[str, tuple[str, str]] = {
    "project": ("project", "$project"),
    "pool": ("pool_id", "${pool:pipe}"),
    "user": ("user", "$user"),
    "training_job": ("job_id", "$training_job"),
}
"""Variable to the label that it filters, and its reference in a query.

The pool is not escaped: the public pool has no name, and its value is a pattern (see `variable.pool`).
"""
BOARD_VARIABLES = frozenset(_VARIABLE_MATCHERS)

INFO = "modelarts_training_job_info"
STATUS = "modelarts_training_job_status"
BUILD_INFO = "modelarts_exporter_build_info"

JOB = ", ".join((CLUSTER, *(label.name for label in IDENTITY_LABELS["job"])))
"""Labels that identify a job, for `on (…)` and `by (…)`."""
PROJECT = ", ".join((CLUSTER, *(label.name for label in IDENTITY_LABELS["project"])))


class UnknownNameError(ValueError):
    """A query uses a metric, a label or a value that does not exist. The message names the board and the line."""

    def __init__(self, problem: str, *, name: str, known: Iterable[str]) -> None:
        near = difflib.get_close_matches(name, [*known], n=1)
        guess = f" Did you mean {near[0]}?" if near else ""
        super().__init__(
            f"{_caller()}: {problem}.{guess} Correct the query there, or declare the name in exporter/metrics/."
        )


def labels_of(name: str) -> Mapping[str, tuple[str, ...]]:
    """Return the labels of a metric without those of the scrape, each with its values if they are bounded.

    Raises UnknownNameError when neither the catalog nor EXTERNAL has the metric.
    """
    if name in EXTERNAL:
        return {}
    try:
        family = catalog.by_exposed_name(name)
    except KeyError:
        known = [sample for each in catalog.FAMILIES for sample in each.sample_names]
        raise UnknownNameError(f"no metric is named {name}", name=name, known=[*known, *EXTERNAL]) from None
    found = {label.name: label.values for label in (*IDENTITY_LABELS[family.subject], *family.labels)}
    return found | {"le": ()} if name.endswith("_bucket") else found


def vocabulary(name: str, label: str, *, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the bounded values of a label except `without`. Raises UnknownNameError for unknown names."""
    values = _values_of(name, label)
    if not values:
        raise UnknownNameError(f"{name}: the values of the label {label} are not bounded", name=label, known=())
    _check_values(name, label, without)
    return tuple(value for value in values if value not in without)


def _values_of(name: str, label: str) -> tuple[str, ...]:
    labels = labels_of(name)
    if label not in labels:
        raise UnknownNameError(
            f"{name} has no label {label}; it has {sorted(labels)}", name=label, known=labels
        ) from None
    return labels[label]


def _check_values(name: str, label: str, values: Iterable[str]) -> None:
    known = _values_of(name, label)
    for value in values:
        if known and value not in known:
            raise UnknownNameError(f"{name}: {label} is never {value!r}, but one of {known}", name=value, known=known)


def _caller() -> str:
    """Return file and line of the board that builds the query."""
    frames = [frame for frame in traceback.extract_stack() if Path(frame.filename) != Path(__file__)]
    return f"{'/'.join(Path(frames[-1].filename).parts[-3:])}:{frames[-1].lineno}"


HOLDING = ("running", "scaling", "terminating")
"""Statuses in which a job can hold nodes."""
WAITING = ("initializing", "queued")
ACTIVE = (*WAITING, *HOLDING)
FAILED = ("failed", "lost")


@dataclass(frozen=True)
class Scope:
    """The variables of a board. Every query built here has a matcher for each of them whose label the metric has."""

    variables: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.variables - BOARD_VARIABLES:
            raise ValueError(f"no such variables: {sorted(self.variables - BOARD_VARIABLES)}")

    def selector(self, name: str, *, over: str = "", at_end: bool = False, **labels: LabelValues) -> str:
        """Select the series of a metric. `over` is a range; `at_end` evaluates at the end of the time range.

        Raises UnknownNameError when metric, label or label value do not exist.
        """
        return self._select(name, labels, over=over, at_end=at_end)

    def dedup(self, name: str, *by: str, over: str = "", at_end: bool = False, **labels: LabelValues) -> str:
        """Select one series for each job or project and each value of the labels `by`: the maximum over replicas.

        With `over`, series that ended within that range are included with their last value.
        """
        selected = self._select(name, labels, over=over, at_end=at_end)
        return self._max(name, by, f"last_over_time({selected})" if over else selected)

    def increase(self, name: str, *by: str, over: str, **labels: LabelValues) -> str:
        """Return the increase of a project's counter, the maximum over replicas."""
        return self._max(name, by, f"increase({self._select(name, labels, over=over)})")

    def select_jobs(self, expr: str, *, over: str = "") -> str:
        """Keep only jobs that match the variables pool and user, which only the info series have as labels.

        `over` as in `dedup`: for jobs whose series may have ended.
        """
        if not self.variables & {"pool", "user"}:
            return expr
        info = self.selector(INFO, over=over)
        return f"{expr}\nand on ({JOB})\n{f'last_over_time({info})' if over else info}"

    def join_info(self, expr: str, *labels: str) -> str:
        """Add labels of the info series to a query by job, and keep only jobs that match the variables.

        At most one info series for each job is used, because replicas may differ for a short time after a start.
        The public pool, whose label is empty, is named `public`.
        """
        for label in labels:
            _values_of(INFO, label)
        kept = ", ".join((JOB, *labels))
        info = f"topk by ({JOB}) (1, max by ({kept}) ({self.selector(INFO)}))"
        if "pool_id" in labels:
            info = name_public_pool(info)
        return f"({expr})\n* on ({JOB}) group_left ({', '.join(labels)})\n{info}"

    def in_status(self, expr: str, *statuses: str, over: str = "") -> str:
        """Keep only jobs in one of the statuses."""
        status = self.selector(STATUS, over=over, status=statuses)
        return f"{expr}\nand on ({JOB})\n{f'last_over_time({status})' if over else status}"

    def or_zero(self, expr: str) -> str:
        """Return zero where nothing matches, but only while jobs are tracked: missing data must not look like zero.

        For queries without labels in the result.
        """
        return f"({expr})\nor\n0 * max({self.selector('modelarts_exporter_tracked_jobs')})"

    def of_exporters(self, name: str, *, rate_over: str = "") -> str:
        """Select an EXTERNAL metric of scrape targets that are exporters: they served the build info within a day.

        With `rate_over`, its rate.
        """
        if name not in EXTERNAL:
            raise UnknownNameError(f"{name} is not in EXTERNAL of promql.py", name=name, known=EXTERNAL)
        on = ", ".join(SCRAPE_LABELS)
        exporters = f"last_over_time({self.selector(BUILD_INFO, over='1d')})"
        selected = self.selector(name, over=rate_over)
        return f"{f'rate({selected})' if rate_over else selected}\nand on ({on})\n{exporters}"

    def _select(self, name: str, labels: Mapping[str, LabelValues], *, over: str = "", at_end: bool = False) -> str:
        known = labels_of(name)
        matchers = [f'{label}=~"${label}"' for label in SCRAPE_LABELS]
        for variable, (label, reference) in _VARIABLE_MATCHERS.items():
            if variable in self.variables and label in known:
                matchers.append(f'{label}=~"{reference}"')
        for label, values in labels.items():
            wanted = (values,) if isinstance(values, str) else values
            _check_values(name, label, wanted)
            matchers.append(f'{label}="{wanted[0]}"' if len(wanted) == 1 else f'{label}=~"{"|".join(wanted)}"')
        return f"{name}{{{', '.join(matchers)}}}{f'[{over}]' if over else ''}{' @ end()' if at_end else ''}"

    def _max(self, name: str, by: tuple[str, ...], expr: str) -> str:
        for label in by:
            _values_of(name, label)
        identity = (label.name for label in IDENTITY_LABELS[catalog.by_exposed_name(name).subject])
        return f"max by ({', '.join((CLUSTER, *identity, *by))}) ({expr})"


def name_public_pool(expr: str) -> str:
    """Set the label of the public pool, which is empty, to `public`."""
    return f'label_replace({expr}, "pool_id", "public", "pool_id", "")'


def status_code(scope: Scope, codes: Mapping[str, int]) -> str:
    """Return the status of each job as a number, for panels that show states."""
    each = (f"{scope.selector(STATUS, status=status)} * {code}" for status, code in codes.items())
    return f"max by ({JOB}) (\n  " + "\n  or\n  ".join(each) + "\n)"
