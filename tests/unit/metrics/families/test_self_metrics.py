"""Self-metrics: the effect of each recording method on the exposition."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import exporter
from exporter.cloud.http.observer import Observer
from exporter.domain.outcome import Outcome
from exporter.metrics.catalog import SELF_METRIC_FAMILIES
from exporter.metrics.families.self_metrics import SelfMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    """Registry of one exporter."""
    return CollectorRegistry()


@pytest.fixture
def self_metrics(registry: CollectorRegistry) -> SelfMetrics:
    """Self-metrics on that registry."""
    return SelfMetrics(registry)


def record_everything(self_metrics: SelfMetrics) -> None:
    """Record each kind of event once."""
    self_metrics.declare_project("vision", operations=["show_job"])
    self_metrics.call_finished(project="vision", operation="show_job", outcome=Outcome.OK, duration_s=0.2)
    self_metrics.call_withheld(project="vision", operation="show_job", outcome=Outcome.CIRCUIT_OPEN)
    self_metrics.call_retried(project="vision", operation="show_job")
    self_metrics.throttled(project="vision")
    self_metrics.circuit_changed(project="vision", is_open=True)
    self_metrics.credentials_changed(project="vision", expires_at=1700.0)
    self_metrics.unknown_value(project="vision", field="status.phase")
    self_metrics.published(taken_at=1650.0, render_s=0.02, series={"vision": 250}, dropped={"vision": 5}, failed=2)
    self_metrics.unified_jobs(project="vision", supported=True)
    self_metrics.publish_refused()
    self_metrics.config_reloaded(successful=False)
    self_metrics.web_config_reloaded(successful=False)
    self_metrics.priced({("", "ascend-Snt9b"): 2.5}, currency="EUR")
    self_metrics.state_written(at=1640.0)
    self_metrics.state_not_written()


def test_every_method_updates_its_metric(self_metrics: SelfMetrics, registry: CollectorRegistry) -> None:
    """After one event of each kind, each metric has the value of that event."""
    record_everything(self_metrics)

    vision = {"project": "vision"}
    call = vision | {"operation": "show_job"}
    read = registry.get_sample_value
    assert read("modelarts_exporter_api_requests_total", call | {"outcome": "ok"}) == 1
    assert read("modelarts_exporter_api_requests_total", call | {"outcome": "circuit_open"}) == 1
    assert read("modelarts_exporter_api_requests_total", call | {"outcome": "denied"}) == 0
    assert read("modelarts_exporter_api_request_duration_seconds_count", call) == 1
    assert read("modelarts_exporter_api_request_duration_seconds_sum", call) == 0.2
    assert read("modelarts_exporter_api_request_duration_seconds_bucket", call | {"le": "0.1"}) == 0
    assert read("modelarts_exporter_api_request_duration_seconds_bucket", call | {"le": "0.25"}) == 1
    assert read("modelarts_exporter_api_retries_total", call) == 1
    assert read("modelarts_exporter_throttled_total", vision) == 1
    assert read("modelarts_exporter_circuit_open", vision) == 1
    assert read("modelarts_exporter_credentials_expiry_timestamp_seconds", vision) == 1700
    assert read("modelarts_exporter_unknown_values_total", vision | {"field": "status.phase"}) == 1
    assert read("modelarts_exporter_series", vision) == 250
    assert read("modelarts_exporter_series_dropped_total", vision) == 5
    assert read("modelarts_exporter_snapshot_timestamp_seconds") == 1650
    assert read("modelarts_exporter_render_duration_seconds_sum") == 0.02
    assert read("modelarts_exporter_publish_failures_total") == 3  # 2 parts, then a whole snapshot
    assert read("modelarts_exporter_config_last_reload_successful") == 0
    assert read("modelarts_exporter_state_last_write_successful") == 0
    assert read("modelarts_exporter_state_last_write_timestamp_seconds") == 1640


def test_before_the_first_event_only_known_values_are_exposed(
    self_metrics: SelfMetrics, registry: CollectorRegistry
) -> None:
    """At the start the settings are loaded, failures are 0, and the snapshot time is absent, not 0."""
    del self_metrics
    read = registry.get_sample_value
    assert read("modelarts_exporter_config_last_reload_successful") == 1
    assert read("modelarts_exporter_publish_failures_total") == 0
    assert read("modelarts_exporter_snapshot_timestamp_seconds") is None
    build = {"version": exporter.__version__, "python": platform.python_version()}
    assert read("modelarts_exporter_build_info", build) == 1


def test_a_declared_project_starts_at_zero(self_metrics: SelfMetrics, registry: CollectorRegistry) -> None:
    """Declared counters exist at 0, so that increase() sees the first event; an unknown expiry is absent."""
    self_metrics.declare_project("vision", operations=["show_job"])

    vision = {"project": "vision"}
    call = vision | {"operation": "show_job"}
    read = registry.get_sample_value
    assert all(read("modelarts_exporter_api_requests_total", call | {"outcome": outcome}) == 0 for outcome in Outcome)
    assert read("modelarts_exporter_api_retries_total", call) == 0
    assert read("modelarts_exporter_throttled_total", vision) == 0
    assert read("modelarts_exporter_series_dropped_total", vision) == 0
    assert read("modelarts_exporter_circuit_open", vision) == 0
    assert read("modelarts_exporter_series", vision) == 0
    assert read("modelarts_exporter_credentials_expiry_timestamp_seconds", vision) is None


def test_the_first_call_declares_its_operation(self_metrics: SelfMetrics, registry: CollectorRegistry) -> None:
    """The first call of an operation creates all outcomes at 0, so that increase() sees the first failure."""
    self_metrics.call_finished(project="vision", operation="show_job", outcome=Outcome.OK, duration_s=0.1)

    labels = {"project": "vision", "operation": "show_job", "outcome": "server_error"}
    assert registry.get_sample_value("modelarts_exporter_api_requests_total", labels) == 0


def test_declaring_again_keeps_values(self_metrics: SelfMetrics, registry: CollectorRegistry) -> None:
    """A project that is declared again, as after a reload, keeps its values."""
    record_everything(self_metrics)
    self_metrics.declare_project("vision", operations=["show_job"])

    vision = {"project": "vision"}
    read = registry.get_sample_value
    assert read("modelarts_exporter_throttled_total", vision) == 1
    assert read("modelarts_exporter_circuit_open", vision) == 1


def test_a_credential_that_does_not_expire_has_no_expiry(
    self_metrics: SelfMetrics, registry: CollectorRegistry
) -> None:
    """A change from a token to a permanent key withdraws the expiry."""
    self_metrics.credentials_changed(project="vision", expires_at=1700.0)
    self_metrics.credentials_changed(project="vision", expires_at=None)

    name = "modelarts_exporter_credentials_expiry_timestamp_seconds"
    assert registry.get_sample_value(name, {"project": "vision"}) is None


def test_states_change_back(self_metrics: SelfMetrics, registry: CollectorRegistry) -> None:
    """The metrics follow a circuit that closes and a reload that succeeds."""
    record_everything(self_metrics)
    self_metrics.circuit_changed(project="vision", is_open=False)
    self_metrics.config_reloaded(successful=True)

    assert registry.get_sample_value("modelarts_exporter_circuit_open", {"project": "vision"}) == 0
    assert registry.get_sample_value("modelarts_exporter_config_last_reload_successful") == 1


def test_it_is_an_observer(self_metrics: SelfMetrics) -> None:
    """`SelfMetrics` implements the `Observer` of the HTTP client; mypy checks the assignment."""
    observer: Observer = self_metrics

    observer.call_finished(project="p", operation="o", outcome=Outcome.OK, duration_s=0.1)
    observer.call_retried(project="p", operation="o")
    observer.throttled(project="p")
    observer.circuit_changed(project="p", is_open=True)
    observer.credentials_changed(project="p", expires_at=None)
    observer.unknown_value(project="p", field="f")


def test_two_instances_are_independent(registry: CollectorRegistry) -> None:
    """Two instances in one process have separate values."""
    one, two = SelfMetrics(registry), SelfMetrics(other := CollectorRegistry())
    one.throttled(project="vision")
    two.declare_project("vision")

    assert registry.get_sample_value("modelarts_exporter_throttled_total", {"project": "vision"}) == 1
    assert other.get_sample_value("modelarts_exporter_throttled_total", {"project": "vision"}) == 0


def test_a_second_instance_on_one_registry_is_refused(self_metrics: SelfMetrics, registry: CollectorRegistry) -> None:
    """A second instance on the same registry would repeat each series."""
    del self_metrics
    with pytest.raises(ValueError, match="modelarts_exporter_api_requests"):
        SelfMetrics(registry)


def test_instruments_match_their_declarations(self_metrics: SelfMetrics, registry: CollectorRegistry) -> None:
    """Name, type, unit, help and labels of each instrument are the declared ones, in the declared order."""
    record_everything(self_metrics)

    exposed = [family for family in registry.collect() if family.name.startswith("modelarts_")]
    assert [family.name for family in exposed] == [family.name for family in SELF_METRIC_FAMILIES]
    for family, declared in zip(exposed, SELF_METRIC_FAMILIES, strict=True):
        assert (family.type, family.unit, family.documentation) == (declared.type, declared.unit, declared.help)
        assert {sample.name for sample in family.samples} == set(declared.sample_names)
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == {label.name for label in declared.labels}
            assert all(not label.values or sample.labels[label.name] in label.values for label in declared.labels)


def test_both_formats_are_well_formed_and_without_created_series(
    self_metrics: SelfMetrics, registry: CollectorRegistry
) -> None:
    """Text and OpenMetrics both parse, have the same series, and have no `_created` series."""
    record_everything(self_metrics)
    text = generate_latest(registry).decode()
    openmetrics = generate_openmetrics(registry).decode()  # type: ignore[no-untyped-call]  # ships without types

    def series(families: Iterable[Metric]) -> set[str]:
        return {sample.name for family in families for sample in family.samples}

    names = series(parse_openmetrics(openmetrics))  # type: ignore[no-untyped-call]  # ships without types
    assert series(parse_text(text)) == names
    assert "_created" not in text
    assert "_created" not in openmetrics


@pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ, reason="promtool is not installed; CI has it"
)
def test_promtool_accepts_the_self_metrics(self_metrics: SelfMetrics, registry: CollectorRegistry) -> None:
    """`promtool check metrics` accepts names, types and helps, with those of the process."""
    record_everything(self_metrics)

    done = subprocess.run(
        ["promtool", "check", "metrics"], input=generate_latest(registry), capture_output=True, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("process_cpu_seconds_total", id="CPU time"),
        pytest.param("process_resident_memory_bytes", id="memory"),
        pytest.param("process_open_fds", id="open files"),
        pytest.param("python_info", id="python"),
        pytest.param("python_gc_collections_total", id="garbage collection"),
    ],
)
def test_the_process_is_exposed(self_metrics: SelfMetrics, registry: CollectorRegistry, name: str) -> None:
    """The standard metrics of a Python process are on the same registry."""
    del self_metrics
    assert name in {sample.name for family in registry.collect() for sample in family.samples}


def test_a_removed_project_has_no_series(self_metrics: SelfMetrics, registry: CollectorRegistry) -> None:
    """A project that a reload removes loses all its series; other projects keep theirs, and it can be added again."""
    record_everything(self_metrics)
    self_metrics.declare_project("speech")
    self_metrics.forget_project("vision")

    samples = [sample for family in registry.collect() for sample in family.samples]
    assert not [sample for sample in samples if sample.labels.get("project") == "vision"]
    assert registry.get_sample_value("modelarts_exporter_circuit_open", {"project": "speech"}) == 0
    self_metrics.call_finished(project="vision", operation="show_job", outcome=Outcome.OK, duration_s=0.2)
    call = {"project": "vision", "operation": "show_job"}
    assert registry.get_sample_value("modelarts_exporter_api_requests_total", call | {"outcome": "ok"}) == 1
