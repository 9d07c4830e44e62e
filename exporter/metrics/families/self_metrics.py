"""Metrics of the exporter itself: the families, and `SelfMetrics`, which creates one instrument for each of them.

To add one: declare the family, add it to `FAMILIES`, and record its values in a method of `SelfMetrics`. That class
implements `exporter.cloud.http.observer.Observer` without importing it, because siblings do not import each other.
"""

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

import exporter
from exporter.domain.outcome import Outcome, Repair
from exporter.metrics.exposition.family import Family, Label, Type
from exporter.metrics.exposition.labels import PROJECT

OPERATION = Label(name="operation", help="Name of the endpoint, as in the endpoint reference.")

API_REQUESTS: Family[None] = Family(
    name="modelarts_exporter_api_requests",
    help=(
        "API calls by outcome; each retry is a call. gone and unsupported are valid responses, not failures. "
        "Calls with circuit_open were not sent, nor those denied because a secret cannot be read."
    ),
    type=Type.COUNTER,
    subject="exporter",
    source="exporter: API calls",
    labels=(PROJECT, OPERATION, Label(name="outcome", help="Outcome of the call.", values=tuple(Outcome))),
)

API_REQUEST_DURATION: Family[None] = Family(
    name="modelarts_exporter_api_request_duration_seconds",
    help="Duration of API calls with any outcome, from the connection to the last byte of the body.",
    type=Type.HISTOGRAM,
    subject="exporter",
    source="exporter: API calls",
    labels=(PROJECT, OPERATION),
    unit="seconds",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)

API_RETRIES: Family[None] = Family(
    name="modelarts_exporter_api_retries",
    help=(
        "Retries of API calls after a transient failure. Divided by all calls, it shows an unreliable API long "
        "before a poll fails."
    ),
    type=Type.COUNTER,
    subject="exporter",
    source="exporter: API calls",
    labels=(PROJECT, OPERATION),
)

THROTTLED: Family[None] = Family(
    name="modelarts_exporter_throttled",
    help=(
        "Responses that ask the exporter to slow down. When it keeps growing, lower rate_limit of the target or "
        "lengthen its intervals."
    ),
    type=Type.COUNTER,
    subject="exporter",
    source="exporter: HTTP 429 and the error codes with the same meaning",
    labels=(PROJECT,),
)

CIRCUIT_OPEN: Family[None] = Family(
    name="modelarts_exporter_circuit_open",
    help=(
        "1 while calls of the target, or of one operation, are withheld: after denied credentials, so that the key "
        "is not locked, or after consecutive failures; else 0. The other outcomes of the calls show the reason."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="exporter: API calls",
    labels=(PROJECT,),
)

CREDENTIALS_EXPIRY: Family[None] = Family(
    name="modelarts_exporter_credentials_expiry_timestamp_seconds",
    help=(
        "Expiry time of the credential in use, which is renewed earlier: a value near time() means that renewals "
        "fail. Absent before the first credential and for one that does not expire."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="exporter: the expiry that came with the token or the temporary key",
    labels=(PROJECT,),
    unit="seconds",
)

SERIES: Family[None] = Family(
    name="modelarts_exporter_series",
    help=(
        "Series of the project, its jobs and its tasks in the exposition. Compare with "
        "metrics.max_series_per_project, the limit above which series are dropped."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="exporter: the renderer",
    labels=(PROJECT,),
)

SERIES_DROPPED: Family[None] = Family(
    name="modelarts_exporter_series_dropped",
    help=(
        "Series dropped because of metrics.max_series_per_project, counted again at each publish: any increase means "
        "that series of jobs are missing from the exposition."
    ),
    type=Type.COUNTER,
    subject="exporter",
    source="exporter: the renderer",
    labels=(PROJECT,),
)

UNKNOWN_VALUES: Family[None] = Family(
    name="modelarts_exporter_unknown_values",
    help=(
        "Undocumented or impossible values in API responses; exported as unknown or not at all, and logged once. "
        "Growth after an update of the cloud means that the exporter needs one too."
    ),
    type=Type.COUNTER,
    subject="exporter",
    source="exporter: the adapters",
    labels=(PROJECT, Label(name="field", help="Field of the API response, one of those that the exporter reads.")),
)

UNIFIED_JOBS_SUPPORTED: Family[None] = Family(
    name="modelarts_exporter_unified_jobs_supported",
    help=(
        "0 while the API refuses to list fine-tuning jobs together with custom ones: fine-tuning jobs and their "
        "accelerators are then missing from all series. It is tried again every hour. Absent before the first v2 "
        "listing and for v1."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="exporter: response to a search with `unified_jobs`",
    labels=(PROJECT,),
)

RESPONSES_REPAIRED: Family[None] = Family(
    name="modelarts_exporter_api_responses_repaired",
    help=(
        "API responses decoded after a repair of their text, by kind of flaw; logged once for each kind and "
        "operation. Invalid text becomes U+FFFD and an impossible number is absent; all else is read as it is."
    ),
    type=Type.COUNTER,
    subject="exporter",
    source="exporter: the decoder",
    labels=(PROJECT, Label(name="kind", help="What was wrong with the text.", values=tuple(Repair))),
)

CONFIG_LAST_RELOAD_SUCCESSFUL: Family[None] = Family(
    name="modelarts_exporter_config_last_reload_successful",
    help="1 when the newest load of the settings succeeded; 0 when it failed and the old ones are still in use.",
    type=Type.GAUGE,
    subject="exporter",
    source="exporter: loading of the settings",
)

WEB_CONFIG_LAST_RELOAD_SUCCESSFUL: Family[None] = Family(
    name="modelarts_exporter_web_config_last_reload_successful",
    help=(
        "1 when the newest load of --web.config.file succeeded; 0 when it failed and the old one is still in use, "
        "with old certificates and passwords. Absent without such a file."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="exporter: loading of the web configuration",
)

STATE_LAST_WRITE_SUCCESSFUL: Family[None] = Family(
    name="modelarts_exporter_state_last_write_successful",
    help=(
        "1 when the newest write of the state file succeeded, else 0: polls go on, but a restart loses what was "
        "counted since the last successful write. Absent without state.file and before the first write."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="exporter: the state file",
)

STATE_LAST_WRITE_TIMESTAMP: Family[None] = Family(
    name="modelarts_exporter_state_last_write_timestamp_seconds",
    help="Time of the last successful write of the state file. Absent without state.file and before that write.",
    type=Type.GAUGE,
    subject="exporter",
    source="exporter: the clock of the exporter",
    unit="seconds",
)

SNAPSHOT_TIMESTAMP: Family[None] = Family(
    name="modelarts_exporter_snapshot_timestamp_seconds",
    help=(
        "Time of the snapshot in the exposition. Absent before the first one. When time() minus this is much longer "
        "than the shortest interval, publishing has stopped."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="exporter: the clock of the exporter",
    unit="seconds",
)

RENDER_DURATION: Family[None] = Family(
    name="modelarts_exporter_render_duration_seconds",
    help="Time to render, join and compress a snapshot for publishing. Scrapes do not wait for it.",
    type=Type.HISTOGRAM,  # several publishes per scrape: a gauge would show only the last
    subject="exporter",
    source="exporter: the clock of the exporter",
    unit="seconds",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)

PUBLISH_FAILURES: Family[None] = Family(
    name="modelarts_exporter_publish_failures",
    help=(
        "Failures to render, counted at each publish: a family of one job or project, which is left out, or a whole "
        "snapshot, instead of which the previous one is served. Any increase is a bug: report it."
    ),
    type=Type.COUNTER,
    subject="exporter",
    source="exporter: the renderer",
)

BUILD: Family[None] = Family(
    name="modelarts_exporter_build",
    help="Always 1; the labels are the versions of the exporter and of Python. A join shows when they changed.",
    type=Type.INFO,
    subject="exporter",
    source="exporter: the package",
    labels=(
        Label(name="version", help="Version of the exporter, equal to the image tag."),
        Label(name="python", help="Version of Python."),
    ),
)

ACCELERATOR_PRICE: Family[None] = Family(
    name="modelarts_accelerator_price",
    help=(
        "Price of one accelerator for one hour, from the settings. One of flavor and accelerator_model is empty; the "
        "price of a flavor takes precedence. Used by the recording rules for costs. Absent without a price list."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="exporter: the setting `prices`",
    labels=(
        Label(name="flavor", help="Flavor code of the nodes; empty for the price of a model."),
        Label(name="accelerator_model", help="Product name of the accelerator; empty for the price of a flavor."),
        Label(name="currency", help="ISO 4217 code of the currency."),
    ),
)

FAMILIES: tuple[Family[None], ...] = (
    API_REQUESTS,
    API_REQUEST_DURATION,
    API_RETRIES,
    THROTTLED,
    CIRCUIT_OPEN,
    CREDENTIALS_EXPIRY,
    SERIES,
    SERIES_DROPPED,
    UNKNOWN_VALUES,
    UNIFIED_JOBS_SUPPORTED,
    RESPONSES_REPAIRED,
    CONFIG_LAST_RELOAD_SUCCESSFUL,
    WEB_CONFIG_LAST_RELOAD_SUCCESSFUL,
    STATE_LAST_WRITE_SUCCESSFUL,
    STATE_LAST_WRITE_TIMESTAMP,
    SNAPSHOT_TIMESTAMP,
    RENDER_DURATION,
    PUBLISH_FAILURES,
    BUILD,
    ACCELERATOR_PRICE,
)
"""Each is an instrument of `SelfMetrics`, in this order."""

_ABSENT_UNTIL_SET = (
    UNIFIED_JOBS_SUPPORTED,
    CREDENTIALS_EXPIRY,
    WEB_CONFIG_LAST_RELOAD_SUCCESSFUL,
    STATE_LAST_WRITE_SUCCESSFUL,
    STATE_LAST_WRITE_TIMESTAMP,
    SNAPSHOT_TIMESTAMP,
)
_NO_VALUE = math.nan  # a gauge without labels always has a value; this one is never exposed


class SelfMetrics:
    """Instruments for all of `FAMILIES`, and the collectors of `process_*` and `python_*`, on one registry.

    Safe to call from any thread. No method raises because of a value, so each may be called from the middle of the
    work that it counts. Raises ValueError when the registry already has one of the families.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._instruments: dict[str, MetricWrapperBase] = {}
        for family in FAMILIES:
            self._instruments[family.name] = self._create(family)
        self._declared: set[tuple[str, str]] = set()

        self._gauge(CONFIG_LAST_RELOAD_SUCCESSFUL).set(1)  # the exporter does not start when the first load fails
        for family in _ABSENT_UNTIL_SET:
            if not family.labels:
                self._gauge(family).set(_NO_VALUE)
        registry.register(_Exposed(list(self._instruments.values())))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def declare_project(self, project: str, *, operations: Iterable[str] = ()) -> None:
        """Create the project's series at 0, so that increase() sees the first event.

        `operations` are the endpoints the project may call; the series of any other begin with its first call.
        """
        for family in FAMILIES:
            if family.labels == (PROJECT,) and family not in _ABSENT_UNTIL_SET:
                self._instruments[family.name].labels(project=project)
        for kind in Repair:
            self._counter(RESPONSES_REPAIRED, project=project, kind=kind)
        for operation in operations:
            self._declare_operation(project, operation)

    def forget_project(self, project: str) -> None:
        """Withdraw the series of a project that is no longer monitored."""
        for family in FAMILIES:
            if PROJECT in family.labels:
                self._instruments[family.name].remove_by_labels({"project": project})
        self._declared = {declared for declared in self._declared if declared[0] != project}

    def call_finished(self, *, project: str, operation: str, outcome: Outcome, duration_s: float) -> None:
        """Count one HTTP exchange."""
        self._declare_operation(project, operation)
        self._counter(API_REQUESTS, project=project, operation=operation, outcome=outcome).inc()
        self._histogram(API_REQUEST_DURATION, project=project, operation=operation).observe(duration_s)

    def call_withheld(self, *, project: str, operation: str, outcome: Outcome) -> None:
        """Count a call that was not sent. It has no duration, so the histogram does not observe it."""
        self._declare_operation(project, operation)
        self._counter(API_REQUESTS, project=project, operation=operation, outcome=outcome).inc()

    def call_retried(self, *, project: str, operation: str) -> None:
        """Count a retry of a call."""
        self._declare_operation(project, operation)
        self._counter(API_RETRIES, project=project, operation=operation).inc()

    def throttled(self, *, project: str) -> None:
        """Count a response that asks the exporter to slow down."""
        self._counter(THROTTLED, project=project).inc()

    def circuit_changed(self, *, project: str, is_open: bool) -> None:
        """Set whether calls are withheld."""
        self._gauge(CIRCUIT_OPEN, project=project).set(is_open)

    def credentials_changed(self, *, project: str, expires_at: float | None) -> None:
        """Set when the credential in use expires; None withdraws the series."""
        self._gauge(CREDENTIALS_EXPIRY, project=project).set(_NO_VALUE if expires_at is None else expires_at)

    def unknown_value(self, *, project: str, field: str) -> None:
        """Count an unknown or impossible value in a field that the exporter reads."""
        self._counter(UNKNOWN_VALUES, project=project, field=field).inc()

    def unified_jobs(self, *, project: str, supported: bool) -> None:
        """Set whether fine-tuning jobs can be listed."""
        self._gauge(UNIFIED_JOBS_SUPPORTED, project=project).set(supported)

    def response_repaired(self, *, project: str, operation: str, kind: Repair) -> None:  # noqa: ARG002 - an Observer
        """Count a response that was decoded after a repair of its text."""
        self._counter(RESPONSES_REPAIRED, project=project, kind=kind).inc()

    def published(
        self,
        *,
        taken_at: float,
        render_s: float,
        series: Mapping[str, int],
        dropped: Mapping[str, int],
        failed: int = 0,
    ) -> None:
        """Record a published snapshot: series served and dropped, by project, and the number of parts that failed."""
        self._gauge(SNAPSHOT_TIMESTAMP).set(taken_at)
        self._histogram(RENDER_DURATION).observe(render_s)
        for project, count in series.items():
            self._gauge(SERIES, project=project).set(count)
        for project, count in dropped.items():
            self._counter(SERIES_DROPPED, project=project).inc(count)
        self._counter(PUBLISH_FAILURES).inc(failed)

    def publish_refused(self) -> None:
        """Count a snapshot that could not be rendered."""
        self._counter(PUBLISH_FAILURES).inc()

    def priced(self, prices: Mapping[tuple[str, str], float], *, currency: str) -> None:
        """Replace the price list: prices of one accelerator for one hour, by (flavor, model)."""
        self._gauges[ACCELERATOR_PRICE.name].clear()
        for (flavor, model), price in prices.items():
            self._gauge(ACCELERATOR_PRICE, flavor=flavor, accelerator_model=model, currency=currency).set(price)

    def config_reloaded(self, *, successful: bool) -> None:
        """Set whether the newest load of the settings succeeded."""
        self._gauge(CONFIG_LAST_RELOAD_SUCCESSFUL).set(successful)

    def web_config_reloaded(self, *, successful: bool) -> None:
        """Set whether the newest load of the web configuration succeeded."""
        self._gauge(WEB_CONFIG_LAST_RELOAD_SUCCESSFUL).set(successful)

    def state_written(self, *, at: float) -> None:
        """Record that the state file was written."""
        self._gauge(STATE_LAST_WRITE_SUCCESSFUL).set(1)
        self._gauge(STATE_LAST_WRITE_TIMESTAMP).set(at)

    def state_not_written(self) -> None:
        """Record that the state file could not be written."""
        self._gauge(STATE_LAST_WRITE_SUCCESSFUL).set(0)

    def _create(self, family: Family[None]) -> MetricWrapperBase:
        name, text, labels = family.name, family.help, [label.name for label in family.labels]
        match family.type:
            case Type.COUNTER:
                return self._counters.setdefault(name, Counter(name, text, labels, registry=None))
            case Type.GAUGE:
                return self._gauges.setdefault(name, Gauge(name, text, labels, unit=family.unit, registry=None))
            case Type.HISTOGRAM:
                return self._histograms.setdefault(
                    name, Histogram(name, text, labels, unit=family.unit, buckets=family.buckets, registry=None)
                )
            case Type.INFO:
                build = Info(name, text, registry=None)
                build.info({"version": exporter.__version__, "python": platform.python_version()})
                return build

    def _counter(self, family: Family[None], **labels: str) -> Counter:
        counter = self._counters[family.name]
        return counter.labels(**labels) if labels else counter

    def _gauge(self, family: Family[None], **labels: str) -> Gauge:
        gauge = self._gauges[family.name]
        return gauge.labels(**labels) if labels else gauge

    def _histogram(self, family: Family[None], **labels: str) -> Histogram:
        histogram = self._histograms[family.name]
        return histogram.labels(**labels) if labels else histogram

    def _declare_operation(self, project: str, operation: str) -> None:
        """Create every series of the operation at 0, once."""
        if (project, operation) in self._declared:
            return
        self._declared.add((project, operation))
        for family in FAMILIES:
            if family.labels[:2] == (PROJECT, OPERATION):
                for values in product(*(label.values for label in family.labels[2:])):
                    self._instruments[family.name].labels(project, operation, *values)


class _Exposed(Collector):
    """The instruments, without `_created` series and without gauges that have no value yet.

    `_created` would double the number of counter series. Filtering here works for both formats and does not change
    the global switch of prometheus-client.
    """

    def __init__(self, instruments: Sequence[MetricWrapperBase]) -> None:
        self._instruments = instruments

    def describe(self) -> Iterable[Metric]:
        """Names, with which the registry refuses a second instance."""
        for instrument in self._instruments:
            yield from instrument.describe()

    def collect(self) -> Iterable[Metric]:
        """Current values."""
        for instrument in self._instruments:
            for metric in instrument.collect():
                metric.samples = [
                    sample
                    for sample in metric.samples
                    if not sample.name.endswith("_created") and not math.isnan(sample.value)
                ]
                yield metric
