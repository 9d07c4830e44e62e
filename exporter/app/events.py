"""What the log tells of the work: one line a poll, and one for each value of the cloud we do not know."""

import traceback

import structlog

from exporter.domain.outcome import Outcome
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.call_count import count_call
from exporter.polling.poller import PollReport
from exporter.settings import Prices

_log = structlog.get_logger()

_MOST_ERRORS = 3
_MOST_NOTED = 200
_LONGEST_VALUE = 80


class Observed(SelfMetrics):
    """The self-metrics, which also count each call towards the poll that made it."""

    def call_finished(self, *, project: str, operation: str, outcome: Outcome, duration_s: float) -> None:
        """Count one HTTP exchange, for the metrics and for its poll."""
        count_call()
        super().call_finished(project=project, operation=operation, outcome=outcome, duration_s=duration_s)


def priced(prices: Prices, self_metrics: SelfMetrics) -> None:
    """Show the price list of the settings."""
    told = {(price.flavor, price.accelerator_model): price.price for price in prices.accelerator_hour}
    self_metrics.priced(told, currency=prices.currency)


class Unknowns:
    """Counts values of the cloud that we do not know, and logs each once."""

    def __init__(self, project: str, self_metrics: SelfMetrics) -> None:
        self._project = project
        self._own = self_metrics
        self._noted: set[tuple[str, str]] = set()

    def __call__(self, field: str, value: object) -> None:
        """Note one: `field` is bounded, the value is cut short. Only fields that hold no secrets are ever read."""
        self._own.unknown_value(project=self._project, field=field)
        shown = str(value)[:_LONGEST_VALUE]
        if (field, shown) not in self._noted and len(self._noted) < _MOST_NOTED:
            self._noted.add((field, shown))
            _log.warning("cloud.value_unknown", project=self._project, field=field, value=shown)


def polled(report: PollReport) -> None:
    """Log one line for a poll that is over; a failed one says what failed, without repeating itself."""
    told = {
        "project": report.project,
        "collector": report.collector,
        "jobs": report.jobs,
        "calls": report.calls,
        "duration_s": report.duration_s,
    }
    if report.deferred:
        told["deferred"] = report.deferred
    if report.ok:
        _log.info("poll.finished", **told)
        return
    sentences = list(dict.fromkeys(str(error) for error in report.failures))
    if len(sentences) > _MOST_ERRORS:
        sentences[_MOST_ERRORS:] = [f"and {len(sentences) - _MOST_ERRORS} more"]
    outcomes = ",".join(sorted({error.outcome for error in report.failures}))
    _log.warning("poll.failed", **told, outcome=outcomes, error="; ".join(sentences))


def defect(name: str, error: Exception) -> None:
    """Log a defect of our own with its traceback; whatever met it goes on."""
    _log.error(
        "defect.met", work=name, error=type(error).__name__, traceback="".join(traceback.format_exception(error))
    )
