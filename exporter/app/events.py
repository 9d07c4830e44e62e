"""Log events of the work: one line for each poll, each defect, and each value of the cloud that is not known."""

import traceback

import structlog

from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.poller import PollReport
from exporter.settings import Prices

_log = structlog.get_logger()

_MAX_ERRORS = 3
_MAX_NOTED = 200
_MAX_VALUE_LENGTH = 80


def export_prices(prices: Prices, self_metrics: SelfMetrics) -> None:
    """Export the price list of the settings."""
    by_key = {(price.flavor, price.accelerator_model): price.price for price in prices.accelerator_hour}
    self_metrics.priced(by_key, currency=prices.currency)


class UnknownValues:
    """Counts values of the cloud that are not known, and logs each once."""

    def __init__(self, project: str, self_metrics: SelfMetrics) -> None:
        self._project = project
        self._self_metrics = self_metrics
        self._noted: set[tuple[str, str]] = set()

    def __call__(self, field: str, value: object) -> None:
        """Note one. `field` is bounded, the value is truncated; only fields that hold no secrets are ever read."""
        self._self_metrics.unknown_value(project=self._project, field=field)
        shown = str(value)[:_MAX_VALUE_LENGTH]
        if (field, shown) not in self._noted and len(self._noted) < _MAX_NOTED:
            self._noted.add((field, shown))
            _log.warning("cloud.value_unknown", project=self._project, field=field, value=shown)


class UnifiedJobs:
    """Exports whether fine-tuning jobs can be listed, and logs each change."""

    def __init__(self, project: str, self_metrics: SelfMetrics) -> None:
        self._project = project
        self._self_metrics = self_metrics
        self._supported = True

    def __call__(self, supported: bool) -> None:
        """Take the newest response."""
        self._self_metrics.unified_jobs(project=self._project, supported=supported)
        if supported == self._supported:
            return
        self._supported = supported
        if supported:
            _log.info("unified_jobs.accepted", project=self._project)
        else:
            _log.warning(
                "unified_jobs.refused",
                project=self._project,
                detail="The API refuses searches with unified_jobs: fine-tuning jobs are not listed. "
                "The exporter tries again in an hour.",
            )


def log_poll(report: PollReport) -> None:
    """Log one line for a poll that has ended; that of a failed one has each reason once."""
    for part, is_on in report.switched:
        event, level = ("collector.enabled", _log.info) if is_on else ("collector.disabled", _log.warning)
        level(event, project=report.project, collector=report.collector, part=part)
    fields = {
        "project": report.project,
        "collector": report.collector,
        "jobs": report.jobs,
        "calls": report.calls,
        "duration_s": report.duration_s,
    }
    if report.duplicates:
        fields["duplicates"] = report.duplicates
    if report.deferred:
        fields["deferred"] = report.deferred
    if report.ok:
        _log.info("poll.finished", **fields)
        return
    sentences = list(dict.fromkeys(str(error) for error in report.failures))
    if len(sentences) > _MAX_ERRORS:
        sentences[_MAX_ERRORS:] = [f"and {len(sentences) - _MAX_ERRORS} more"]
    outcomes = ",".join(sorted({error.outcome for error in report.failures}))
    _log.warning("poll.failed", **fields, outcome=outcomes, error="; ".join(sentences))


def defect(name: str, error: Exception) -> None:
    """Log a defect of the exporter with its traceback; the work goes on."""
    _log.error(
        "defect.met", work=name, error=type(error).__name__, traceback="".join(traceback.format_exception(error))
    )
