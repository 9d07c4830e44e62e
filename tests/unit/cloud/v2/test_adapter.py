"""Conversion of v2 jobs to domain jobs."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cloud.v2 import adapter, phases
from exporter.domain import recovery
from exporter.domain.job import Accelerator, Api, Job, JobStatus
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v2.fixtures import recorded

T0 = 1763600000.0
"""Submission time of the recorded GPU job, in seconds."""


def read(raw: object, notes: Notes | None = None) -> Job:
    """Read one job, which must be readable."""
    notes = notes if notes is not None else Notes()
    data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    job = adapter.job(data, workspace_id="requested", note=notes)
    assert job is not None, notes.noted
    return job


def items(name: str, notes: Notes | None = None) -> list[Job | None]:
    """Read every item of a recorded search."""
    raw = json.loads(recorded(name))["items"]
    notes = notes if notes is not None else Notes()
    return [adapter.job(json.dumps(item).encode(), note=notes) for item in raw]


def a_job(**parts: Any) -> dict[str, Any]:
    """The smallest job, with these parts."""
    return {"metadata": {"id": "j"}, **parts}


@pytest.mark.parametrize(
    "fields, kind",
    [
        ({"kind": "job", "ftjob_config": {"ft_job_uuid": "u"}}, "fine_tuning_job"),
        ({"ftjob_config": {"ft_train_type": "SFT"}}, "fine_tuning_job"),
        ({"kind": "ftjob"}, "fine_tuning_job"),
        ({"kind": "job", "ftjob_config": {}}, "job"),
        ({"kind": "job", "ftjob_config": None}, "job"),
        ({"kind": "hetero_job", "ftjob_config": {"ft_job_uuid": "", "task_env": None}}, "hetero_job"),
        ({"kind": "job", "ftjob_config": "text"}, "job"),
    ],
)
def test_fine_tuning_jobs_are_a_kind_of_their_own(fields: dict[str, Any], kind: str) -> None:
    """Fact 42: a filled `ftjob_config` shows them; an empty one is a custom job's."""
    assert read(a_job(**fields)).kind == kind


def a_resource(**resource: Any) -> Job:
    return read(a_job(spec={"resource": {"node_count": 2, **resource}}))


def test_a_public_gpu_job() -> None:
    """A running job on 2 nodes with 8 cards each: every field, in seconds; it started 120 s after its submission."""
    notes = Notes()

    job = read(recorded("detail_gpu_running.json"), notes)

    assert job == Job(
        job_id="6f1f0c1e-0b55-4f0e-9a1a-5d2f6f1a0001",
        api=Api.V2,
        name="resnet-sweep-7",
        user="vision-bot",
        workspace_id="0",
        pool_id="",
        flavor="modelarts.vm.gpu.v100.8",
        accelerator=Accelerator.GPU,
        accelerator_model="GP-Vnt1",
        engine="pytorch_1.8.0-cuda_10.2-py_3.7",
        kind="job",
        status=JobStatus.RUNNING,
        reason="running",
        submitted_at=T0,
        started_at=T0 + 120,
        run_duration_s=1800.0,
        spec_nodes=2,
        reported_nodes=2,
        spec_accelerators=16.0,  # 8 cards on each of 2 nodes
        tasks=("worker-0", "worker-1"),
        recoveries={},
        degraded_recoveries={},
        crash_loop_runs=0,
        faults={},
        fault_results={},
        recovery_times={},
    )
    assert notes.noted == []


def test_a_listed_job_equals_its_detail() -> None:
    """List item and detail give the same job; the list has no running records, so their fields are unknown."""
    listed = items("search_mixed.json")[0]
    detail = read(recorded("detail_gpu_running.json"))

    assert listed is not None
    assert listed.recoveries is None
    counts = ("recoveries", "degraded_recoveries", "faults", "fault_results", "recovery_times")
    from_records = {**{name: {} for name in counts}, "crash_loop_runs": 0}
    assert _fields(listed) | from_records == _fields(detail)


def _fields(job: Job) -> dict[str, object]:
    return {name: getattr(job, name) for name in Job.__dataclass_fields__}


def test_a_cpu_job_has_no_accelerators() -> None:
    """Trap 25: in a CPU flavor, missing gpu and npu objects mean 0 accelerators, not "unknown"."""
    job = items("search_mixed.json")[1]

    assert job is not None
    assert (job.accelerator, job.spec_accelerators, job.accelerator_model) == (Accelerator.CPU, 0.0, "")
    assert job.engine == ""
    assert job.reported_nodes is None
    assert job.ended_at == T0 - 3540 + 600  # its start and its duration of 600 s


def test_a_waiting_job_has_no_start() -> None:
    """Trap 14: start_time 0 and duration 0 mean "not yet": no start, no duration, no queue duration."""
    job = items("search_mixed.json")[2]

    assert job is not None
    assert job.status is JobStatus.QUEUED
    assert (job.started_at, job.run_duration_s, job.queue_duration_s, job.ended_at) == (None, None, None, None)


def test_a_dedicated_ascend_job_is_read_from_pool_info() -> None:
    """Trap 25: without flavor_detail, pool_info has 8 NPUs per node: 8 * 4 = 32."""
    job = read(recorded("detail_ascend_dedicated.json"))

    assert (job.accelerator, job.accelerator_model) == (Accelerator.NPU, "ascend-Snt9b")
    assert (job.spec_accelerators, job.spec_nodes, job.reported_nodes) == (32.0, 4, 4)
    assert (job.pool_id, job.flavor) == ("pool-nlp-1f", "modelarts.pool.visual.8xlarge")


def test_an_allocated_job_is_read_from_its_allocation() -> None:
    """Trap 25: the main container has 4 cards on each of 2 nodes: 8, as floats."""
    job = read(recorded("detail_allocated.json"))

    assert (job.accelerator, job.accelerator_model) == (Accelerator.GPU, "nvidia-a100-nv80")
    assert job.spec_accelerators == 8.0


def test_a_waiting_customised_job_is_read_from_its_request() -> None:
    """An allocation of zeros is not filled in yet: the 4 requested cards count, on 2 nodes 8."""
    job = read(recorded("detail_customized.json"))

    assert job.spec_accelerators == 8.0
    assert job.accelerator is Accelerator.GPU  # from the pool's flavor, modelarts.bm.gpu.8ant8


def test_a_pool_flavor_has_only_the_number_of_cards() -> None:
    """modelarts.pool.visual.2xlarge is 2 cards per node, on 3 nodes 6; the kind is not in the name."""
    job = read(recorded("detail_visual_flavor.json"))

    assert (job.spec_accelerators, job.accelerator) == (6.0, None)


@pytest.mark.parametrize(
    "flavor_id,cards",
    [
        pytest.param("modelarts.pool.visual.xlarge", 1, id="xlarge"),
        pytest.param("modelarts.pool.visual.2xlarge", 2, id="2xlarge"),
        pytest.param("modelarts.pool.visual.4xlarge", 4, id="4xlarge"),
        pytest.param("modelarts.pool.visual.8xlarge", 8, id="8xlarge"),
        pytest.param("modelarts.pool.visual.16xlarge", 16, id="16xlarge"),
        pytest.param("Modelarts.Pool.Visual.8XLarge", 8, id="case"),
        pytest.param("modelarts.pool.visual.large", None, id="unknown-size"),
        pytest.param("modelarts.vm.gpu.8", None, id="another-flavor"),
        pytest.param(None, None, id="no-flavor"),
    ],
)
def test_cards_in_the_name_of_a_pool_flavor(flavor_id: str | None, cards: int | None) -> None:
    """Reference §5.2 item 4: xlarge is one card per node; the job has 2 nodes."""
    job = a_resource(flavor_id=flavor_id)

    assert job.spec_accelerators == (None if cards is None else cards * 2)


def test_the_first_source_with_a_number_is_used() -> None:
    """flavor_detail before the allocation before pool_info before the request before the flavor's name."""
    found: dict[str, Any] = {
        "flavor_detail": {"flavor_type": "GPU", "flavor_info": {"gpu": {"unit_num": 1}}},
        "main_container_allocated_resources": {"accelerator_num": 2.0, "cpu_core_num": 8},
        "pool_info": {"accelerator_num": 3, "core_num": 8},
        "main_container_customized_flavor": {"accelerator_num": 4, "mem_size": 8},
        "flavor_id": "modelarts.pool.visual.8xlarge",
    }
    totals = []
    while found:
        totals.append(a_resource(**found).spec_accelerators)
        found.pop(next(iter(found)))

    assert totals == [2, 4, 6, 8, 16]  # each times 2 nodes


def test_a_container_without_cards_is_a_cpu_job() -> None:
    """A filled container with 0 accelerators uses none, even in a pool that has some."""
    job = a_resource(
        main_container_allocated_resources={"accelerator_num": 0, "cpu_core_num": 8.0},
        pool_info={"accelerator_num": 8, "accelerator_type": "ascend-Snt9b", "core_num": 192},
    )

    assert (job.accelerator, job.spec_accelerators) == (Accelerator.CPU, 0.0)


@pytest.mark.parametrize(
    "name", ["main_container_allocated_resources", "pool_info", "main_container_customized_flavor"]
)
@pytest.mark.parametrize(
    "container, total",
    [
        pytest.param({"accelerator_num": 8}, 16, id="cards alone"),
        pytest.param({"accelerator_num": "8", "cpu_core_num": None, "mem_size": 0}, 16, id="cards, sizes unknown"),
        pytest.param({"accelerator_num": 0}, None, id="an object of zeros is not filled in yet"),
        pytest.param({"accelerator_num": 0, "core_num": 0, "cpu_core_num": 0, "mem_size": 0}, None, id="all zeros"),
        pytest.param({"accelerator_num": 0, "core_num": 8}, 0, id="no cards beside cores"),
        pytest.param({"accelerator_num": 0, "mem_size": 64}, 0, id="no cards beside memory"),
        pytest.param({"core_num": 8}, None, id="cores alone"),
        pytest.param({"accelerator_num": {}, "core_num": 8}, None, id="cards of a wrong type"),
    ],
)
def test_a_container_needs_a_size_only_for_zero_cards(
    name: str, container: dict[str, Any], total: float | None
) -> None:
    """A number of cards counts by itself; 0 counts only beside a core or memory. The job has 2 nodes."""
    assert a_resource(**{name: container}).spec_accelerators == total


def test_no_data_is_absent_and_not_zero() -> None:
    """Trap 25: a dedicated job without data about its cards has no number and no kind."""
    job = a_resource(pool_id="pool-x")

    assert (job.accelerator, job.spec_accelerators) == (None, None)


@pytest.mark.parametrize(
    "flavor,expected",
    [
        pytest.param(
            {"flavor_type": "Ascend", "flavor_info": {"npu": {"unit_num": "8"}}}, ("npu", 16), id="npu-text"
        ),
        pytest.param({"flavor_info": {"npu": {"unit_num": 8}}}, ("npu", 16), id="kind-by-the-object"),
        pytest.param(
            {"flavor_info": {"gpu": {"unit_num": 0}, "npu": {"unit_num": 4}}}, ("npu", 8), id="the-other-is-0"
        ),
        pytest.param({"flavor_info": {"gpu": {"unit_num": 0}}}, ("cpu", 0), id="explicit-0"),
        pytest.param({"flavor_info": {"cpu": {"core_num": 8}}}, ("cpu", 0), id="cores-only"),
        pytest.param({"flavor_type": "CPU"}, ("cpu", 0), id="type-only"),
        pytest.param({"flavor_type": "GPU"}, ("gpu", None), id="kind-without-number"),
        pytest.param({"flavor_type": "GPU", "flavor_info": {"gpu": {}}}, ("gpu", None), id="card-without-number"),
        pytest.param({"flavor_info": {"gpu": {}, "cpu": {}}}, (None, None), id="number-missing"),
        pytest.param({"flavor_info": {}}, (None, None), id="empty-info"),
        pytest.param({}, (None, None), id="empty"),
        pytest.param({"flavor_info": {"gpu": {"unit_num": "2.0"}}}, ("gpu", 4), id="number-as-float-text"),
    ],
)
def test_public_flavors(flavor: dict[str, Any], expected: tuple[str | None, float | None]) -> None:
    """Trap 16 and §2.4: unit_num is int or text; a flavor with hardware but without cards has none. On 2 nodes."""
    notes = Notes()

    job = read(a_job(spec={"resource": {"node_count": 2, "flavor_detail": flavor}}), notes)

    assert (job.accelerator, job.spec_accelerators) == expected
    assert notes.noted == []


@pytest.mark.parametrize(
    "flavor,field",
    [
        pytest.param({"flavor_type": "CPU", "flavor_info": {"gpu": {"unit_num": 8}}}, "unit_num", id="cpu-with-gpus"),
        pytest.param({"flavor_type": "GPU", "flavor_info": {"gpu": {"unit_num": 0}}}, "unit_num", id="gpu-without"),
        pytest.param({"flavor_type": "GPU", "flavor_info": {"npu": {"unit_num": 8}}}, "unit_num", id="gpu-with-npus"),
        pytest.param({"flavor_info": {"gpu": {"unit_num": 1}, "npu": {"unit_num": 1}}}, "unit_num", id="both"),
        pytest.param({"flavor_info": {"gpu": {"unit_num": -1}}}, "unit_num", id="negative"),
        pytest.param({"flavor_info": {"gpu": {"unit_num": "NaN"}}}, "unit_num", id="not-a-number"),
        pytest.param({"flavor_type": "TPU"}, "flavor_type", id="unknown-type"),
    ],
)
def test_a_contradictory_flavor_has_no_number(flavor: dict[str, Any], field: str) -> None:
    """A contradiction is noted, and the number is absent."""
    notes = Notes()

    job = read(a_job(spec={"resource": {"node_count": 2, "flavor_detail": flavor}}), notes)

    assert job.spec_accelerators is None
    assert set(notes.fields) == {f"v2.spec.resource.flavor_detail.{field}"}


def test_billing_units_are_not_cards() -> None:
    """Trap 23: billing.unit_num is 16 in the recorded response, the job has 1 card."""
    job = read(recorded("detail_never_started.json"))

    assert job.spec_accelerators == 1.0


def test_a_heterogeneous_job_counts_by_role() -> None:
    """2 learners with 4 cards and 3 actors without make 2 * 4 + 3 * 0 = 8 on 5 nodes; one role has a dash in it."""
    job = read(recorded("detail_hetero.json"))

    assert (job.spec_accelerators, job.spec_nodes, job.kind) == (8.0, 5, "hetero_job")
    assert (job.accelerator, job.accelerator_model) == (Accelerator.GPU, "nvidia-a100-nv80")


def _role(role: str, **flavor_info: Any) -> dict[str, Any]:
    return {"role": role, "task_resource": {"flavor_info": flavor_info}}


@pytest.mark.parametrize(
    "roles,tasks,expected",
    [
        pytest.param(
            [_role("a", gpu={"unit_num": 4}), _role("b", npu={"unit_num": 2})],
            ["a-0", "b-0", "b-1"],
            (None, 8.0, 3),  # 1 * 4 + 2 * 2; both kinds in one job, so the job has no kind
            id="two-kinds",
        ),
        pytest.param(
            [_role("a", gpu={"unit_num": 4}), _role("b")],
            ["a-0", "b-0"],
            ("gpu", None, 2),
            id="one-role-is-the-default",
        ),
        pytest.param(
            [_role("a", gpu={"unit_num": 4}), _role("b", cpu={})],
            ["a-0"],
            ("gpu", None, 1),
            id="one-role-without-tasks",
        ),
        pytest.param([_role("a", cpu={}), _role("b", cpu={})], ["a-0", "b-0"], ("cpu", 0.0, 2), id="cpu-only"),
        pytest.param([_role("a", gpu={"unit_num": 4})], [], (None, None, 7), id="no-tasks-yet"),
        pytest.param([_role("a", gpu={"unit_num": 4})], ["worker-0"], (None, None, 7), id="tasks-of-no-role"),
        pytest.param([{"role": "a"}], ["a-0"], (None, None, 7), id="no-flavors"),
    ],
)
def test_roles(roles: list[object], tasks: list[str], expected: tuple[str | None, float | None, int | None]) -> None:
    """Cards add up over roles only if every role has a number of cards and nodes; else spec.resource is used."""
    job = read(a_job(kind="hetero_job", tasks=roles, status={"tasks": tasks}, spec={"resource": {"node_count": 7}}))

    assert (job.accelerator, job.spec_accelerators, job.spec_nodes) == expected


def test_an_elastic_job_holds_fewer_nodes_than_requested() -> None:
    """Of 4 requested nodes 3 are held: the last point of node_count_metrics, 4 * 8 * 3 / 4 = 24 cards held."""
    job = read(recorded("detail_elastic.json"))

    assert (job.spec_nodes, job.reported_nodes) == (4, 3)
    assert (job.spec_accelerators, job.status_accelerators) == (32.0, 24.0)


def test_recoveries_are_counted_by_policy() -> None:
    """Four records end in a recovery, one by an undocumented policy (noted); the fifth is still running."""
    notes = Notes()

    job = read(recorded("detail_elastic.json"), notes)

    assert job.recoveries == {"job_reschedule": 1, "proc_restart": 2, "other": 1}
    assert notes.noted == [("v2.status.running_records.end_recover", "quantum_tunnel")]


@pytest.mark.parametrize(
    "records,expected",
    [
        pytest.param(None, None, id="no-records"),
        pytest.param([], {}, id="no-record-yet"),
        pytest.param([{"start_at": 1}], {}, id="first-run-still-on"),
        pytest.param(
            [{"end_recover": ""}, {"end_recover": "NPU_STEP_RETRY"}], {"npu_step_retry": 1}, id="case-and-empty"
        ),
    ],
)
def test_recoveries_without_records_are_unknown(records: object, expected: object) -> None:
    """No running records: unknown. Records without recoveries: zero."""
    assert read(a_job(status={"running_records": records})).recoveries == expected


def test_exit_codes_of_failed_tasks() -> None:
    """137 and "1" failed, 0 did not; a number may be text (trap 16)."""
    job = read(recorded("detail_failed.json"))

    assert job.task_exit_codes == {"worker-0": 137, "worker-2": 1}
    assert job.status is JobStatus.FAILED


@pytest.mark.parametrize(
    "status,noted",
    [
        pytest.param(
            {"task": "worker-0", "exit_code": 2**40}, ["v2.status.task_statuses.exit_code"], id="absurd-code"
        ),
        pytest.param({"task": "worker-0", "exit_code": "killed"}, ["v2.status.task_statuses.exit_code"], id="word"),
        pytest.param({"task": "a b", "exit_code": 1}, ["v2.status.tasks"], id="task-that-is-no-id"),
        pytest.param({"task": "worker-0", "exit_code": None}, [], id="no-code"),
    ],
)
def test_impossible_exit_codes(status: object, noted: list[str]) -> None:
    """An impossible code, or an invalid task name, is noted and left out."""
    notes = Notes()

    assert read(a_job(status={"task_statuses": [status]}), notes).task_exit_codes == {}
    assert notes.fields == noted


def test_a_job_that_never_started() -> None:
    """Trap 15: its record ends before its submission, so no end is derived; start and duration are absent."""
    notes = Notes()

    job = read(recorded("detail_never_started.json"), notes)

    assert (job.status, job.reason) == (JobStatus.FAILED, "create_failed")
    assert (job.started_at, job.run_duration_s, job.ended_at) == (None, None, None)
    assert job.reported_nodes == 0
    assert job.engine == "PyTorch"
    assert notes.fields == ["v2.status.running_records.end_at"]


@pytest.mark.parametrize(
    "status,expected",
    [
        pytest.param({"start_time": 1_500_010_000_000, "duration": 5_000}, 1_500_010_005.0, id="start-plus-duration"),
        pytest.param({"start_time": 1_500_010_000_000, "duration": 0}, 1_500_010_000.0, id="ended-at-once"),
        pytest.param(
            {"start_time": 1_500_010_000_000, "running_records": [{"end_at": 1}, {"end_at": 1_500_010_700}]},
            1_500_010_700.0,
            id="last-record",
        ),
        pytest.param(
            {"start_time": 0, "running_records": [{"end_at": 1_500_009_500}]},
            1_500_009_500.0,
            id="record-after-submission",
        ),
        pytest.param(
            {"start_time": 1_500_010_000_000, "running_records": [{"end_at": 1_500_009_500}]},
            None,
            id="ends-before-start",
        ),
        pytest.param({"start_time": 0, "running_records": [{"end_at": 0}]}, None, id="record-still-open"),
        pytest.param({"start_time": 0, "running_records": []}, None, id="no-record"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_the_end_of_a_finished_job(status: dict[str, Any], expected: float | None) -> None:
    """Traps 13 and 15: start and duration are in ms, records in s; an end before the start is not used."""
    job = read(
        {"metadata": {"id": "j", "create_time": 1_500_009_000_000}, "status": {"phase": "Completed", **status}}
    )

    assert job.ended_at == expected


def test_an_end_without_a_start_is_used() -> None:
    """Without submission and start times, the record's end is used."""
    job = read(a_job(status={"phase": "Failed", "running_records": [{"end_at": 1_500_000_077}]}))

    assert job.ended_at == 1_500_000_077.0


def test_a_running_job_has_no_end() -> None:
    """Its duration grows, so start plus duration is "now" and not an end."""
    assert read(recorded("detail_gpu_running.json")).ended_at is None


def test_a_running_job_may_have_no_start_yet() -> None:
    """Reference §4.3: Running with start_time 0 occurs around a restart; status and duration are kept."""
    job = read(a_job(status={"phase": "Running", "start_time": 0, "duration": 5000}))

    assert (job.status, job.started_at, job.run_duration_s) == (JobStatus.RUNNING, None, 5.0)


def test_other_types_read_the_same() -> None:
    """Trap 16: the GPU job with numbers as text, and its spec as JSON text, is the same job."""
    notes = Notes()

    other_types = items("search_drifted.json", notes)[0]
    plain = items("search_mixed.json")[0]

    assert other_types is not None
    assert plain is not None
    assert _fields(other_types) == {**_fields(plain), "job_id": other_types.job_id}


def test_a_job_with_only_bad_fields_is_kept() -> None:
    """Every field has a wrong type: the job is kept with what can be read, and each field is noted."""
    notes = Notes()

    job = items("search_drifted.json", notes)[1]

    assert job is not None
    assert job == Job(
        job_id="6f1f0c1e-0b55-4f0e-9a1a-5d2f6f1a0005",
        api=Api.V2,
        workspace_id="7",
        kind="unknown",
        status=JobStatus.RUNNING,
        reason="running",
        tasks=("worker-0",),
        task_exit_codes={"worker-0": 137},
    )
    assert {
        "v2.kind",
        "v2.status.phase",
        "v2.status.duration",
        "v2.status.start_time",
        "v2.metadata.create_time",
        "v2.spec.resource.node_count",
        "v2.items.status.node_count_metrics",
        "v2.items.status.running_records",
        "v2.items.status.task_statuses",
        "v2.items.algorithm",
        "v2.items.tasks",
        "v2.status.tasks",
    } <= set(notes.fields)


def test_an_undecodable_item_is_noted_and_skipped() -> None:
    """Text in place of a job, and a job without an id, are noted as v2.items and skipped; the others are kept."""
    notes = Notes()

    read_items = items("search_drifted.json", notes)

    assert [job is None for job in read_items] == [False, False, True, True]
    assert notes.fields.count("v2.items") == 2


@pytest.mark.parametrize("name", ["detail_nulls.json", "detail_bare.json"])
def test_null_fields_are_absent(name: str) -> None:
    """A job with null in every field but its id has only that id; nothing is noted."""
    notes = Notes()

    job = read(recorded(name), notes)

    assert job == Job(job_id=job.job_id, api=Api.V2, workspace_id="requested", kind="unknown")
    assert notes.noted == []


@pytest.mark.parametrize(
    "job_id", [None, "", "a/b", "../x", "a b", "a" * 200, ["a"], "ümlaut"], ids=lambda value: repr(value)[:12]
)
def test_an_invalid_id_is_rejected(job_id: object) -> None:
    """Ids become part of a URL, so an item whose id is not a plain word is rejected."""
    notes = Notes()

    assert adapter.job(json.dumps({"metadata": {"id": job_id}}).encode(), note=notes) is None
    assert notes.fields == ["v2.items"]


def test_task_ids_are_plain_words_without_duplicates() -> None:
    """A task id that would change the URL path is noted and left out; a repeated one counts once."""
    notes = Notes()

    job = read(a_job(status={"tasks": ["worker-0", "worker-0", "../../pools", "", 3, None, "ps.1_a"]}), notes)

    assert job.tasks == ("worker-0", "ps.1_a")
    assert notes.fields == ["v2.status.tasks"] * 4


@pytest.mark.parametrize(
    "points,expected,noted",
    [
        pytest.param([[1_500_000_000_001, 4], [1_500_000_000_002, 3]], 3, False, id="last-point"),
        pytest.param([[1_500_000_000_001, "3"]], 3, False, id="text"),
        pytest.param([[1_500_000_000_001, 2, 3]], None, True, id="not-a-pair"),
        pytest.param([7], None, True, id="not-a-point"),
        pytest.param([[1_500_000_000_001, -3]], None, True, id="negative"),
        pytest.param([[1_500_000_000_001, None]], None, False, id="no-number"),
        pytest.param([], None, False, id="no-points"),
        pytest.param(None, None, False, id="null"),
    ],
)
def test_nodes_held_are_the_last_point(points: object, expected: int | None, *, noted: bool) -> None:
    """Reference §7: a step function of [ms, nodes]; its last value is the number held now."""
    notes = Notes()

    assert read(a_job(status={"node_count_metrics": points}), notes).reported_nodes == expected
    assert notes.fields == (["v2.status.node_count_metrics"] if noted else [])


@pytest.mark.parametrize("kind", adapter.KINDS)
def test_documented_kinds(kind: str) -> None:
    """Each of the eight documented kinds is a label value."""
    assert read(a_job(kind=kind)).kind == kind


def test_secrets_are_not_decoded() -> None:
    """Trap 28: no parameter, environment, command, endpoint, message or reason is in a job or a note."""
    notes = Notes()
    names = ("detail_gpu_running.json", "detail_elastic.json", "detail_failed.json")

    found = [repr(read(recorded(name), notes)) for name in names] + [repr(notes.noted)]

    assert all(b"INVENTED-SECRET" in recorded(name) for name in names)
    assert "INVENTED-SECRET" not in "".join(found)


def test_secrets_are_not_decoded_part_by_part() -> None:
    """Trap 28 also holds for the slower decoding that a bad field causes."""
    detail = json.loads(recorded("detail_gpu_running.json"))
    detail["status"]["running_records"] = "not a list"
    notes = Notes()

    job = read(detail, notes)

    assert notes.fields == ["v2.items.status.running_records"]
    assert "INVENTED-SECRET" not in repr(job) + repr(notes.noted)


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def an_object(**fields: Any) -> st.SearchStrategy[Any]:
    """An object with some of its fields, each valid or not, or another value in its place."""
    return anything | st.fixed_dictionaries({}, optional={name: anything | value for name, value in fields.items()})


numbers = st.integers(min_value=-10, max_value=2**62) | st.floats(allow_nan=False, allow_infinity=False)
written = numbers | numbers.map(str)
card = an_object(unit_num=written, product_name=st.text(max_size=5))
flavor = an_object(
    flavor_type=st.sampled_from(["GPU", "CPU", "Ascend"]), flavor_info=an_object(cpu=anything, gpu=card, npu=card)
)
container = an_object(accelerator_num=written, accelerator_type=st.just("ascend-Snt9b"), cpu_core_num=written)
jobs = an_object(
    kind=st.sampled_from(adapter.KINDS),
    metadata=an_object(id=st.just("j"), name=st.text(max_size=5), create_time=written),
    status=an_object(
        phase=st.sampled_from(["Running", "Pending", "Completed", "Abnormal"]),
        secondary_phase=st.sampled_from(list(phases.REASONS)),
        duration=written,
        start_time=written,
        node_count_metrics=st.lists(st.lists(written, max_size=3), max_size=3),
        tasks=st.lists(st.sampled_from(["a-0", "a-1", "b-0", 3]), max_size=3),
        task_statuses=st.lists(an_object(task=st.just("a-0"), exit_code=written), max_size=3),
        running_records=st.lists(an_object(end_at=written, end_recover=st.just("proc_restart")), max_size=3),
    ),
    algorithm=an_object(engine=an_object(engine_name=st.text(max_size=5))),
    tasks=st.lists(an_object(role=st.sampled_from(["a", "b"]), task_resource=flavor), max_size=3),
    spec=an_object(
        resource=an_object(
            flavor_id=st.just("modelarts.pool.visual.2xlarge"),
            node_count=written,
            flavor_detail=flavor,
            main_container_allocated_resources=container,
            pool_info=container,
        )
    ),
)


@settings(max_examples=150)
@given(raw=jobs)
def test_any_json_gives_a_valid_job_or_none(raw: object) -> None:
    """Any JSON in place of a job: no exception, nothing negative or outside a vocabulary."""
    job = adapter.job(msgspec.json.encode(raw), note=Notes())

    if job is None:
        return
    for number in (
        job.submitted_at,
        job.started_at,
        job.ended_at,
        job.run_duration_s,
        job.queue_duration_s,
        job.spec_nodes,
        job.reported_nodes,
        job.spec_accelerators,
        job.status_nodes,
        job.status_accelerators,
    ):
        assert number is None or 0 <= number < float("inf")
    assert job.kind in (*adapter.KINDS, adapter.UNKNOWN_KIND)
    assert job.reason in ("", *phases.REASONS.values(), recovery.OTHER)
    assert job.recoveries is None or set(job.recoveries) <= {*recovery.POLICIES, recovery.OTHER}
    assert job.ended_at is None or job.status.finished


@pytest.mark.parametrize(
    "resource, pool",
    [
        ({"pool_group_id": "group-a"}, "group-a"),
        ({"pool_id": "", "pool_group_id": "group-a"}, "group-a"),
        ({"pool_id": None, "pool_group_id": "group-a"}, "group-a"),
        ({"pool_id": "pool-a", "pool_group_id": "group-a"}, "pool-a"),
        ({}, ""),
    ],
)
def test_a_federated_job_belongs_to_its_pool_group(resource: dict[str, Any], pool: str) -> None:
    """Fact 47: without a pool, the pool group is its pool."""
    assert a_resource(**resource).pool_id == pool


@pytest.mark.parametrize(
    "card, number",
    [({"npu": 8}, 8.0), ({"npu": "8"}, 8.0), ({"unit_num": "", "npu": 8}, 8.0), ({"unit_num": 4, "npu": 8}, 4.0)],
)
def test_npu_stands_in_for_unit_num(card: dict[str, Any], number: float) -> None:
    """Fact 50. On 2 nodes."""
    job = a_resource(flavor_detail={"flavor_type": "Ascend", "flavor_info": {"npu": card}})

    assert (job.accelerator, job.spec_accelerators) == (Accelerator.NPU, 2 * number)


@pytest.mark.parametrize(
    "spec, expected",
    [
        ({}, ("", None, None)),
        ({"runtime_type": "debug"}, ("debug", None, None)),
        (
            {"runtime_type": "PRODUCTION", "schedule_policy": {"priority": 3, "preemptible": True}},
            ("production", True, 3),
        ),
        ({"schedule_policy": {"priority": "0", "preemptible": "false"}}, ("", False, 0)),
        ({"runtime_type": "novel", "schedule_policy": {"priority": -1, "preemptible": 7}}, ("other", None, None)),
    ],
)  # fmt: skip
def test_purpose_and_priority(spec: dict[str, Any], expected: tuple[str, bool | None, float | None]) -> None:
    """Fact 48: bounded words; what is missing or impossible is absent."""
    job = read(a_job(spec=spec))

    assert (job.runtime_type, job.preemptible, job.priority) == expected


PREEMPTED = {"phase": "Pending", "start_time": 1_700_001_000_000, "duration": 500_000}


@pytest.mark.parametrize(
    "status, since",
    [
        pytest.param({"phase": "Pending"}, 1_700_000_900.0, id="never started: since its submission"),
        pytest.param({"phase": "Pending", "start_time": 0, "duration": 0}, 1_700_000_900.0, id="start of 0"),
        pytest.param(
            {**PREEMPTED, "node_count_metrics": [[1_700_001_000_000, 2], [1_700_001_400_500, 0]]},
            1_700_001_400.5,
            id="nodes became 0",
        ),
        pytest.param({**PREEMPTED, "running_records": [{"end_at": 1_700_001_400}]}, 1_700_001_400.0, id="run ended"),
        pytest.param(
            {
                **PREEMPTED,
                "node_count_metrics": [[1_700_001_300_000, 2], [1_700_001_400_500, 2], [1_700_001_400_500, 0]],
                "running_records": [{"end_at": 1_700_001_200}, {"end_at": 1_700_001_400}],
            },
            1_700_001_400.5,
            id="twice",
        ),
        pytest.param(PREEMPTED, 1_700_001_500.0, id="start and duration"),
        pytest.param({"phase": "Pending", "start_time": 1_700_001_000_000}, None, id="unknown"),
        pytest.param({"phase": "Running", "start_time": 1_700_001_000_000}, None, id="runs"),
        pytest.param({"phase": "Failed", "start_time": 1_700_001_000_000}, None, id="has ended"),
    ],
)  # fmt: skip
def test_start_of_the_current_wait(status: dict[str, Any], since: float | None) -> None:
    """Fact 49: a preempted job is Pending with its old start; it holds nothing and waits since it lost its nodes."""
    flavor = {"flavor_type": "GPU", "flavor_info": {"gpu": {"unit_num": 8}}}
    document = a_job(status=status, spec={"resource": {"node_count": 2, "flavor_detail": flavor}})
    document["metadata"]["create_time"] = 1_700_000_900_000

    job = read(document)

    assert job.waiting_since == since
    if status["phase"] == "Pending":
        assert (job.status_nodes, job.status_accelerators) == (0, 0.0)
