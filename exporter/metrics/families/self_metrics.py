"""The exporter's account of its own work: declarations, and the live instruments built from them.

`OwnMetrics` implements the cloud side's `Observer` without knowing it: siblings meet through arguments.
"""

import math
import platform
from collections.abc import Iterable, Mapping, Sequence

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
from prometheus_client.registry import Collector

import exporter
from exporter.domain.outcome import Outcome
from exporter.metrics.exposition.family import Family, Label, Type
from exporter.metrics.exposition.labels import PROJECT

OPERATION = Label(name="operation", help="The endpoint asked, as the endpoint table of the documentation names it.")

API_REQUESTS: Family[None] = Family(
    name="modelarts_exporter_api_requests",
    help=(
        "Calls to the cloud, each retry counted as one, by how they ended. gone and unsupported are answers, "
        "not faults; those with circuit_open were never sent, nor was what is denied by a secret "
        "that cannot be read."
    ),
    type=Type.COUNTER,
    subject="exporter",
    source="own: the transport",
    labels=(PROJECT, OPERATION, Label(name="outcome", help="How the call ended.", values=tuple(Outcome))),
)

API_REQUEST_DURATION: Family[None] = Family(
    name="modelarts_exporter_api_request_duration_seconds",
    help="How long calls to the cloud took, from connecting to the last byte of the body, whatever the outcome.",
    type=Type.HISTOGRAM,
    subject="exporter",
    source="own: the transport",
    labels=(PROJECT, OPERATION),
    unit="seconds",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)

API_RETRIES: Family[None] = Family(
    name="modelarts_exporter_api_retries",
    help=(
        "Further attempts of calls that had failed for a reason that may pass. Over all calls: how unsteady the "
        "cloud is, long before a poll fails."
    ),
    type=Type.COUNTER,
    subject="exporter",
    source="own: the transport",
    labels=(PROJECT, OPERATION),
)

THROTTLED: Family[None] = Family(
    name="modelarts_exporter_throttled",
    help=(
        "How often the cloud told the exporter to slow down. When it keeps growing, lower rate_limit of the target "
        "or lengthen its intervals."
    ),
    type=Type.COUNTER,
    subject="exporter",
    source="own: HTTP 429 and the error codes that mean the same",
    labels=(PROJECT,),
)

CIRCUIT_OPEN: Family[None] = Family(
    name="modelarts_exporter_circuit_open",
    help=(
        "1 while calls of the target, or those of one operation, are held back: after refused credentials, so that "
        "the key is not locked, or after failures in a row. 0 otherwise. The other outcomes of the calls say why."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="own: the transport",
    labels=(PROJECT,),
)

CREDENTIALS_EXPIRY: Family[None] = Family(
    name="modelarts_exporter_credentials_expiry_timestamp_seconds",
    help=(
        "When the credential in use expires. It is renewed before: a value that comes near time() says that renewing "
        "fails. Absent for one that does not expire and before the first is obtained."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="own: the expiry that came with the token or the temporary key",
    labels=(PROJECT,),
    unit="seconds",
)

SERIES: Family[None] = Family(
    name="modelarts_exporter_series",
    help=(
        "Series served for the project: its jobs' and tasks' own and the counts over them. Compare it with "
        "metrics.max_series_per_project before the limit bites."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="own: the renderer",
    labels=(PROJECT,),
)

SERIES_DROPPED: Family[None] = Family(
    name="modelarts_exporter_series_dropped",
    help=(
        "Series left out because metrics.max_series_per_project was reached, counted afresh at each publish: "
        "any increase means that jobs are missing from what is served."
    ),
    type=Type.COUNTER,
    subject="exporter",
    source="own: the renderer",
    labels=(PROJECT,),
)

UNKNOWN_VALUES: Family[None] = Family(
    name="modelarts_exporter_unknown_values",
    help=(
        "Values of the cloud that the exporter does not know or that are impossible; they are exported as unknown or "
        "not at all. The log has the value, once. Growth after an update of the cloud calls for one of the exporter."
    ),
    type=Type.COUNTER,
    subject="exporter",
    source="own: the adapters",
    labels=(PROJECT, Label(name="field", help="The field of the cloud's answer, one of those the exporter reads.")),
)

CONFIG_LAST_RELOAD_SUCCESSFUL: Family[None] = Family(
    name="modelarts_exporter_config_last_reload_successful",
    help="1 when the newest load of the settings worked; 0 when it was refused and the old ones are still in force.",
    type=Type.GAUGE,
    subject="exporter",
    source="own: loading of the settings",
)

WEB_CONFIG_LAST_RELOAD_SUCCESSFUL: Family[None] = Family(
    name="modelarts_exporter_web_config_last_reload_successful",
    help=(
        "1 when the newest look at --web.config.file could use it; 0 when it was refused and the old one is still in "
        "force: certificates and passwords are not renewed then. Absent without such a file."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="own: loading of the web configuration",
)

STATE_LAST_WRITE_SUCCESSFUL: Family[None] = Family(
    name="modelarts_exporter_state_last_write_successful",
    help=(
        "1 when the newest write of the state file worked; 0 when not: polls go on, but a restart would forget "
        "what was counted since the last good write. Absent without state.file and before the first write."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="own: the state file",
)

STATE_LAST_WRITE_TIMESTAMP: Family[None] = Family(
    name="modelarts_exporter_state_last_write_timestamp_seconds",
    help="When the state file was last written well. Absent without state.file and before the first good write.",
    type=Type.GAUGE,
    subject="exporter",
    source="own clock",
    unit="seconds",
)

SNAPSHOT_TIMESTAMP: Family[None] = Family(
    name="modelarts_exporter_snapshot_timestamp_seconds",
    help=(
        "When the snapshot that is served now was taken. Absent before the first one; lagging behind time() by much "
        "more than the shortest interval, publishing has stopped."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="own clock",
    unit="seconds",
)

RENDER_DURATION: Family[None] = Family(
    name="modelarts_exporter_render_duration_seconds",
    help="How long it took to render, join and compress a snapshot for publishing; scrapes never wait for it.",
    type=Type.HISTOGRAM,  # several targets publish more often than is scraped: a gauge would show whichever was last
    subject="exporter",
    source="own clock",
    unit="seconds",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)

PUBLISH_FAILURES: Family[None] = Family(
    name="modelarts_exporter_publish_failures",
    help=(
        "What could not be rendered, counted at each publish: single families of a job or project, which are left "
        "out, or a whole snapshot, in whose place the last good one is served on. Any increase is a bug: report it."
    ),
    type=Type.COUNTER,
    subject="exporter",
    source="own: the renderer",
)

BUILD: Family[None] = Family(
    name="modelarts_exporter_build",
    help="Always 1; its labels say which exporter runs, on which Python. Joined to anything it dates a change.",
    type=Type.INFO,
    subject="exporter",
    source="own: the package",
    labels=(
        Label(name="version", help="Version of the exporter, the same as the image's tag."),
        Label(name="python", help="Version of the Python that runs it."),
    ),
)

ACCELERATOR_PRICE: Family[None] = Family(
    name="modelarts_accelerator_price",
    help=(
        "Price of one accelerator for one hour, as the settings tell it; one of flavor and accelerator_model is "
        "empty, and a flavor's price is stronger. Recording rules make costs of it. Absent without a price list."
    ),
    type=Type.GAUGE,
    subject="exporter",
    source="own: the setting `prices`",
    labels=(
        Label(name="flavor", help="Flavor code of the nodes; empty where the price is that of a model."),
        Label(name="accelerator_model", help="Product name of the accelerator; empty where it is that of a flavor."),
        Label(name="currency", help="ISO 4217 code of the currency."),
    ),
)

OWN_FAMILIES: tuple[Family[None], ...] = (
    API_REQUESTS,
    API_REQUEST_DURATION,
    API_RETRIES,
    THROTTLED,
    CIRCUIT_OPEN,
    CREDENTIALS_EXPIRY,
    SERIES,
    SERIES_DROPPED,
    UNKNOWN_VALUES,
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

_NOT_YET = math.nan  # what an instrument without labels holds before it has a value; never exposed


class SelfMetrics:
    """Our own instruments on one registry, beside `process_*` and `python_*`. Safe to call from any thread.

    Nothing here raises on values, so it may be called from the middle of the work that it counts.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = _counter(API_REQUESTS)
        self._request_duration = _histogram(API_REQUEST_DURATION)
        self._retries = _counter(API_RETRIES)
        self._throttled = _counter(THROTTLED)
        self._circuit_open = _gauge(CIRCUIT_OPEN)
        self._credentials_expiry = _gauge(CREDENTIALS_EXPIRY)
        self._series = _gauge(SERIES)
        self._series_dropped = _counter(SERIES_DROPPED)
        self._unknown_values = _counter(UNKNOWN_VALUES)
        self._config_last_reload_successful = _gauge(CONFIG_LAST_RELOAD_SUCCESSFUL)
        self._web_config_last_reload_successful = _gauge(WEB_CONFIG_LAST_RELOAD_SUCCESSFUL)
        self._state_last_write_successful = _gauge(STATE_LAST_WRITE_SUCCESSFUL)
        self._state_last_write_timestamp = _gauge(STATE_LAST_WRITE_TIMESTAMP)
        self._snapshot_timestamp = _gauge(SNAPSHOT_TIMESTAMP)
        self._render_duration = _histogram(RENDER_DURATION)
        self._publish_failures = _counter(PUBLISH_FAILURES)
        self._accelerator_price = _gauge(ACCELERATOR_PRICE)
        build = Info(BUILD.name, BUILD.help, registry=None)
        build.info({"version": exporter.__version__, "python": platform.python_version()})
        self._declared: set[tuple[str, str]] = set()

        self._config_last_reload_successful.set(1)  # a first load that fails ends the program
        for gauge in (
            self._web_config_last_reload_successful,
            self._state_last_write_successful,
            self._state_last_write_timestamp,
            self._snapshot_timestamp,
        ):
            gauge.set(_NOT_YET)
        registry.register(
            _Tidied(
                (
                    self._requests,
                    self._request_duration,
                    self._retries,
                    self._throttled,
                    self._circuit_open,
                    self._credentials_expiry,
                    self._series,
                    self._series_dropped,
                    self._unknown_values,
                    self._config_last_reload_successful,
                    self._web_config_last_reload_successful,
                    self._state_last_write_successful,
                    self._state_last_write_timestamp,
                    self._snapshot_timestamp,
                    self._render_duration,
                    self._publish_failures,
                    build,
                    self._accelerator_price,
                )
            )
        )
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def declare_project(self, project: str, *, operations: Iterable[str] = ()) -> None:
        """Create the project's series at 0, so that the first event already counts as an increase.

        `operations` are the endpoints the project may ask; those left out begin with their first call.
        """
        self._throttled.labels(project=project)
        self._circuit_open.labels(project=project)
        self._series.labels(project=project)
        self._series_dropped.labels(project=project)
        for operation in operations:
            self._declare_operation(project, operation)

    def forget_project(self, project: str) -> None:
        """Withdraw the series of a project that is no longer watched."""
        for instrument in (
            self._requests,
            self._request_duration,
            self._retries,
            self._throttled,
            self._circuit_open,
            self._credentials_expiry,
            self._series,
            self._series_dropped,
            self._unknown_values,
        ):
            instrument.remove_by_labels({"project": project})
        self._declared = {declared for declared in self._declared if declared[0] != project}

    def call_finished(self, *, project: str, operation: str, outcome: Outcome, duration_s: float) -> None:
        """Count one HTTP exchange."""
        self._declare_operation(project, operation)
        self._requests.labels(project=project, operation=operation, outcome=outcome).inc()
        self._request_duration.labels(project=project, operation=operation).observe(duration_s)

    def call_withheld(self, *, project: str, operation: str, outcome: Outcome) -> None:
        """Count a call that was not sent; it took no time, so the durations do not hear of it."""
        self._declare_operation(project, operation)
        self._requests.labels(project=project, operation=operation, outcome=outcome).inc()

    def call_retried(self, *, project: str, operation: str) -> None:
        """Count a further attempt of the same call."""
        self._declare_operation(project, operation)
        self._retries.labels(project=project, operation=operation).inc()

    def throttled(self, *, project: str) -> None:
        """Count a request of the cloud to slow down."""
        self._throttled.labels(project=project).inc()

    def circuit_changed(self, *, project: str, is_open: bool) -> None:
        """Show whether calls are held back."""
        self._circuit_open.labels(project=project).set(is_open)

    def credentials_changed(self, *, project: str, expires_at: float | None) -> None:
        """Show when the credential in use expires; None withdraws the series."""
        self._credentials_expiry.labels(project=project).set(_NOT_YET if expires_at is None else expires_at)

    def unknown_value(self, *, project: str, field: str) -> None:
        """Count a value we do not know, in a field we read."""
        self._unknown_values.labels(project=project, field=field).inc()

    def published(
        self,
        *,
        taken_at: float,
        render_s: float,
        series: Mapping[str, int],
        dropped: Mapping[str, int],
        failed: int = 0,
    ) -> None:
        """Account for a published snapshot: its series served and left out, by project, and the parts that failed."""
        self._snapshot_timestamp.set(taken_at)
        self._render_duration.observe(render_s)
        for project, count in series.items():
            self._series.labels(project=project).set(count)
        for project, count in dropped.items():
            self._series_dropped.labels(project=project).inc(count)
        self._publish_failures.inc(failed)

    def publish_refused(self) -> None:
        """Count a snapshot that would not render."""
        self._publish_failures.inc()

    def priced(self, prices: Mapping[tuple[str, str], float], *, currency: str) -> None:
        """Show this price list instead of the one before: prices of an accelerator hour by (flavor, model)."""
        self._accelerator_price.clear()
        for (flavor, model), price in prices.items():
            self._accelerator_price.labels(flavor=flavor, accelerator_model=model, currency=currency).set(price)

    def config_reloaded(self, *, successful: bool) -> None:
        """Show whether the newest load of the settings worked."""
        self._config_last_reload_successful.set(successful)

    def web_config_reloaded(self, *, successful: bool) -> None:
        """Show whether the web configuration that is in force is the newest one."""
        self._web_config_last_reload_successful.set(successful)

    def state_written(self, *, at: float) -> None:
        """Show that the state file was written."""
        self._state_last_write_successful.set(1)
        self._state_last_write_timestamp.set(at)

    def state_not_written(self) -> None:
        """Show that the state file could not be written."""
        self._state_last_write_successful.set(0)

    def _declare_operation(self, project: str, operation: str) -> None:
        if (project, operation) in self._declared:
            return
        self._declared.add((project, operation))
        for outcome in Outcome:
            self._requests.labels(project=project, operation=operation, outcome=outcome)
        self._request_duration.labels(project=project, operation=operation)
        self._retries.labels(project=project, operation=operation)


class _Tidied(Collector):
    """Our instruments without the samples nobody should see, for either text format and without global switches.

    `_created` series double the number of counters and are no metric of ours; NaN stands for "no value yet".
    """

    def __init__(self, instruments: Sequence[Counter | Gauge | Histogram | Info]) -> None:
        self._instruments = instruments

    def describe(self) -> Iterable[Metric]:
        """Names, so that the registry can refuse a second set."""
        for instrument in self._instruments:
            yield from instrument.describe()

    def collect(self) -> Iterable[Metric]:
        """Yield the families as they are now."""
        for instrument in self._instruments:
            for metric in instrument.collect():
                metric.samples = [
                    sample
                    for sample in metric.samples
                    if not sample.name.endswith("_created") and not math.isnan(sample.value)
                ]
                yield metric


def _names(family: Family[None]) -> list[str]:
    return [label.name for label in family.labels]


def _counter(family: Family[None]) -> Counter:
    return Counter(family.name, family.help, _names(family), registry=None)


def _gauge(family: Family[None]) -> Gauge:
    return Gauge(family.name, family.help, _names(family), unit=family.unit, registry=None)


def _histogram(family: Family[None]) -> Histogram:
    return Histogram(
        family.name, family.help, _names(family), unit=family.unit, buckets=family.buckets, registry=None
    )
