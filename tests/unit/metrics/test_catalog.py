"""The catalogue as a whole: the fixed names, each once."""

from dataclasses import replace

import pytest

from exporter.metrics.catalog import (
    FAMILIES,
    GROUPS,
    JOB_FAMILIES,
    LIVE_FAMILIES,
    OWN_FAMILIES,
    POOL_FAMILIES,
    PROJECT_FAMILIES,
    QUOTA_FAMILIES,
    TASK_FAMILIES,
    by_exposed_name,
    index,
)
from exporter.metrics.exposition.family import Label, Type
from exporter.metrics.families.job import INFO, STATUS
from exporter.metrics.families.project import JOBS, SUBMITTED
from exporter.metrics.families.self_metrics import RENDER_DURATION

JOB_NAMES = [
    "modelarts_training_job_info",
    "modelarts_training_job_status",
    "modelarts_training_job_status_reason",
    "modelarts_training_job_submitted_timestamp_seconds",
    "modelarts_training_job_start_timestamp_seconds",
    "modelarts_training_job_end_timestamp_seconds",
    "modelarts_training_job_queue_duration_seconds",
    "modelarts_training_job_run_duration_seconds",
    "modelarts_training_job_spec_nodes",
    "modelarts_training_job_status_nodes",
    "modelarts_training_job_spec_accelerators",
    "modelarts_training_job_status_accelerators",
    "modelarts_training_job_cpu_utilization_ratio",
    "modelarts_training_job_memory_utilization_ratio",
    "modelarts_training_job_accelerator_utilization_ratio",
    "modelarts_training_job_accelerator_utilization_min_ratio",
    "modelarts_training_job_accelerator_memory_utilization_ratio",
    "modelarts_training_job_accelerator_utilization_mean_ratio",
    "modelarts_training_job_disk_read_bytes_per_second",
    "modelarts_training_job_disk_written_bytes_per_second",
    "modelarts_training_job_network_received_bytes_per_second",
    "modelarts_training_job_network_transmitted_bytes_per_second",
    "modelarts_training_job_idle_seconds",
    "modelarts_training_job_flat_seconds",
    "modelarts_training_job_suspected_hang",
    "modelarts_training_job_quality_ratio",
    "modelarts_training_job_recoveries",
    "modelarts_training_job_degraded_recoveries",
    "modelarts_training_job_faults",
    "modelarts_training_job_last_recovery_timestamp_seconds",
    "modelarts_training_job_crash_loop_runs",
    "modelarts_training_job_task_exit_code",
]
TASK_NAMES = [
    "modelarts_training_job_task_cpu_utilization_ratio",
    "modelarts_training_job_task_memory_utilization_ratio",
    "modelarts_training_job_task_accelerator_utilization_ratio",
    "modelarts_training_job_task_accelerator_memory_utilization_ratio",
]
PROJECT_NAMES = [
    "modelarts_training_jobs",
    "modelarts_training_jobs_submitted_total",
    "modelarts_training_jobs_started_total",
    "modelarts_training_jobs_finished_total",
    "modelarts_training_oldest_queued_timestamp_seconds",
    "modelarts_training_accelerators",
    "modelarts_training_accelerators_unknown_jobs",
    "modelarts_training_queue_seconds",
    "modelarts_training_run_seconds",
    "modelarts_training_accelerator_seconds_total",
    "modelarts_training_idle_accelerator_seconds_total",
    "modelarts_training_lost_accelerator_seconds_total",
    "modelarts_training_recoveries_total",
]
POOL_NAMES = [
    "modelarts_pool_info",
    "modelarts_pool_status",
    "modelarts_pool_spec_nodes",
    "modelarts_pool_nodes",
    "modelarts_pool_accelerator_capacity",
    "modelarts_pool_accelerators",
    "modelarts_pool_cpu_allocated_cores",
    "modelarts_pool_cpu_capacity_cores",
    "modelarts_pool_memory_allocated_bytes",
    "modelarts_pool_memory_capacity_bytes",
    "modelarts_pool_workloads",
]
QUOTA_NAMES = ["modelarts_quota", "modelarts_quota_used"]
LIVE_NAMES = [
    "modelarts_up",
    "modelarts_collector_up",
    "modelarts_collector_enabled",
    "modelarts_collector_last_success_timestamp_seconds",
    "modelarts_collector_duration_seconds",
    "modelarts_project_info",
    "modelarts_exporter_tracked_jobs",
]
OWN_NAMES = [
    "modelarts_exporter_api_requests_total",
    "modelarts_exporter_api_request_duration_seconds",
    "modelarts_exporter_api_retries_total",
    "modelarts_exporter_throttled_total",
    "modelarts_exporter_circuit_open",
    "modelarts_exporter_credentials_expiry_timestamp_seconds",
    "modelarts_exporter_series",
    "modelarts_exporter_series_dropped_total",
    "modelarts_exporter_unknown_values_total",
    "modelarts_exporter_config_last_reload_successful",
    "modelarts_exporter_web_config_last_reload_successful",
    "modelarts_exporter_state_last_write_successful",
    "modelarts_exporter_state_last_write_timestamp_seconds",
    "modelarts_exporter_snapshot_timestamp_seconds",
    "modelarts_exporter_render_duration_seconds",
    "modelarts_exporter_publish_failures_total",
    "modelarts_exporter_build_info",
    "modelarts_accelerator_price",
]


def test_the_fixed_names_are_exposed_in_the_fixed_order() -> None:
    """Names are a promise to everyone's queries: the families are these, under these names, in this order."""
    assert [family.exposed_name for family in JOB_FAMILIES] == JOB_NAMES
    assert [family.exposed_name for family in TASK_FAMILIES] == TASK_NAMES
    assert [family.exposed_name for family in PROJECT_FAMILIES] == PROJECT_NAMES
    assert [family.exposed_name for family in POOL_FAMILIES] == POOL_NAMES
    assert [family.exposed_name for family in QUOTA_FAMILIES] == QUOTA_NAMES
    assert [family.exposed_name for family in LIVE_FAMILIES] == LIVE_NAMES
    assert [family.exposed_name for family in OWN_FAMILIES] == OWN_NAMES


@pytest.mark.parametrize(
    "name, labels",
    [
        pytest.param(
            "modelarts_training_job_info",
            "job_name version user workspace_id pool_id flavor accelerator accelerator_model engine api kind",
            id="job info",
        ),
        pytest.param("modelarts_training_job_status", "status", id="status"),
        pytest.param("modelarts_training_job_status_reason", "reason", id="reason"),
        pytest.param("modelarts_training_job_spec_accelerators", "accelerator", id="spec accelerators"),
        pytest.param("modelarts_training_job_status_accelerators", "accelerator", id="status accelerators"),
        pytest.param("modelarts_training_job_accelerator_utilization_ratio", "accelerator", id="utilisation"),
        pytest.param("modelarts_training_job_cpu_utilization_ratio", "", id="cpu"),
        pytest.param("modelarts_training_job_idle_seconds", "", id="idle"),
        pytest.param("modelarts_training_job_quality_ratio", "measure", id="quality"),
        pytest.param("modelarts_training_job_recoveries", "policy", id="recoveries"),
        pytest.param("modelarts_training_job_task_exit_code", "task", id="exit code"),
        pytest.param("modelarts_training_jobs", "pool_id status", id="jobs"),
        pytest.param("modelarts_training_jobs_submitted_total", "pool_id", id="submitted"),
        pytest.param("modelarts_training_jobs_finished_total", "pool_id status", id="finished"),
        pytest.param("modelarts_pool_info", "pool_name workspace_id scope type", id="pool info"),
        pytest.param("modelarts_pool_status", "status", id="pool status"),
        pytest.param("modelarts_pool_spec_nodes", "flavor", id="pool spec nodes"),
        pytest.param("modelarts_pool_nodes", "flavor state", id="pool nodes"),
        pytest.param("modelarts_pool_accelerator_capacity", "accelerator resource", id="pool capacity"),
        pytest.param("modelarts_pool_accelerators", "accelerator resource state", id="pool accelerators"),
        pytest.param("modelarts_pool_cpu_allocated_cores", "", id="pool cores"),
        pytest.param("modelarts_pool_workloads", "kind status", id="pool workloads"),
        pytest.param("modelarts_quota", "resource", id="quota"),
        pytest.param("modelarts_collector_up", "collector", id="collector"),
        pytest.param("modelarts_collector_enabled", "collector", id="collector enabled"),
        pytest.param("modelarts_project_info", "project_id region cloud", id="project info"),
        pytest.param("modelarts_exporter_api_requests_total", "project operation outcome", id="requests"),
        pytest.param("modelarts_exporter_unknown_values_total", "project field", id="unknown values"),
    ],
)
def test_the_fixed_labels_are_declared(name: str, labels: str) -> None:
    """Labels are part of the promise; identity labels come from the subject."""
    assert [label.name for label in by_exposed_name(name).labels] == labels.split()


def test_the_catalogue_has_every_family_once() -> None:
    """The chapters together are the catalogue, without repetition."""
    parts = (
        *JOB_FAMILIES,
        *TASK_FAMILIES,
        *PROJECT_FAMILIES,
        *POOL_FAMILIES,
        *QUOTA_FAMILIES,
        *LIVE_FAMILIES,
        *OWN_FAMILIES,
    )

    assert parts == FAMILIES
    assert tuple(family for group in GROUPS for family in group.families) == FAMILIES
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) == 32 + 4 + 13 + 11 + 2 + 7 + 18


@pytest.mark.parametrize(
    "families",
    [
        pytest.param((STATUS, STATUS), id="the same twice"),
        pytest.param((JOBS, replace(JOBS, type=Type.COUNTER)), id="gauge and counter of one name"),
        pytest.param((INFO, replace(STATUS, name="modelarts_training_job")), id="info and gauge of one name"),
    ],
)
def test_families_that_would_meet_are_refused(families: tuple[object, ...]) -> None:
    """Two families under one name would make an exposition no parser accepts."""
    with pytest.raises(ValueError, match="another family has the name"):
        index(families)  # type: ignore[arg-type]  # a tuple of families with different subjects


def test_a_label_that_identity_already_has_is_refused() -> None:
    """An own label named like an identity label would appear twice in a sample."""
    twice = replace(STATUS, labels=(Label(name="job_id", help="Again."),))

    with pytest.raises(ValueError, match="identity label"):
        index((twice,))


@pytest.mark.parametrize(
    "name, family",
    [
        pytest.param("modelarts_training_job_info", INFO, id="info"),
        pytest.param("modelarts_training_jobs_submitted_total", SUBMITTED, id="counter"),
        pytest.param("modelarts_exporter_render_duration_seconds", RENDER_DURATION, id="histogram"),
        pytest.param("modelarts_exporter_render_duration_seconds_bucket", RENDER_DURATION, id="its buckets"),
    ],
)
def test_a_query_finds_its_family(name: str, family: object) -> None:
    """Dashboards and alerts look families up by the name that stands in a query."""
    assert by_exposed_name(name) is family


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("modelarts_training_job_npu_utilization_ratio", id="invented"),
        pytest.param("modelarts_training_jobs_submitted", id="counter without its suffix"),
        pytest.param("modelarts_training_jobs_bucket", id="bucket of a gauge"),
    ],
)
def test_a_name_nobody_exposes_is_not_found(name: str) -> None:
    """A query with a misspelt name is noticed instead of drawing nothing."""
    with pytest.raises(KeyError, match=name):
        by_exposed_name(name)


def test_only_our_own_instruments_compute_nothing() -> None:
    """Families of jobs and projects have a function; those of the exporter live in instruments."""
    assert [family for family in FAMILIES if not (family.samples or family.distributions)] == list(OWN_FAMILIES)
    assert {family.subject for family in OWN_FAMILIES} == {"exporter"}


def test_every_histogram_has_rising_buckets() -> None:
    """Buckets belong to histograms alone, and rise."""
    for family in FAMILIES:
        assert bool(family.buckets) == (family.type is Type.HISTOGRAM)
        assert list(family.buckets) == sorted(set(family.buckets))


def test_each_family_of_a_job_names_its_source_in_both_generations() -> None:
    """Whoever doubts a value finds the field it came from, or that the generation has none."""
    for family in (*JOB_FAMILIES, *TASK_FAMILIES):
        assert "v1" in family.source, family.name
        assert "v2" in family.source, family.name


def test_helps_are_one_line_that_says_more_than_the_name() -> None:
    """A help is at most 250 characters, on one line, and no two are alike."""
    helps = [family.help for family in FAMILIES]

    assert len(set(helps)) == len(helps)
    assert all("\n" not in text and 60 < len(text) <= 250 for text in helps)
