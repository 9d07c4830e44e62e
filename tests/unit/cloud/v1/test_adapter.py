from dataclasses import fields
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cloud.v1 import wire
from exporter.cloud.v1.adapter import from_listed, from_overview, from_record, merge, parse_id
from exporter.cloud.v1.endpoints import JOB_LIST, OVERVIEW, VERSION, VERSIONS
from exporter.domain.job import Accelerator, Api, Job, JobStatus
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v1.fixtures import answer


def overview_row(notes: Notes | None = None, **found: Any) -> Job:
    """Adapt an overview row with these fields."""
    row = wire.OverviewRow(**({"version_id": 1} | found))
    job = from_overview(row, workspace_id="0", note=notes or Notes())
    assert job is not None
    return job


def record(notes: Notes | None = None, **found: Any) -> Job:
    """Adapt a version record with these fields."""
    read = wire.VersionRecord(**({"version_id": 1} | found))
    job = from_record(read, name="", workspace_id="0", note=notes or Notes())
    assert job is not None
    return job


def test_the_published_overview_row() -> None:
    """The documented row: ms become seconds, the end is the row's, accelerators are the job's."""
    page = answer(OVERVIEW, "overview.json")
    notes = Notes()
    rows = list(wire.rows(page.versions, wire.OverviewRow, field="v1.versions", note=notes))

    killed, waiting = (from_overview(row, workspace_id="0", note=notes) for _, row in rows)

    assert killed == Job(
        job_id="1485",
        api=Api.V1,
        name="trainjob-3f47",
        workspace_id="0",
        pool_id="pool9928813f",
        flavor="modelarts.p1.2xlarge",
        accelerator=Accelerator.GPU,
        kind="job",
        status=JobStatus.TERMINATED,
        reason="terminated",
        submitted_at=1557473030.0,
        started_at=1557473040.0,
        ended_at=1557473093.0,
        run_duration_s=53.0,
        spec_accelerators=1.0,
    )
    assert waiting == Job(
        job_id="1486",
        api=Api.V1,
        version="V0002",
        workspace_id="0",
        flavor="modelarts.kat1.8xlarge",
        accelerator=Accelerator.NPU,
        kind="job",
        status=JobStatus.QUEUED,
        reason="queuing",
        submitted_at=1557474000.0,
        spec_accelerators=8.0,
    )
    assert notes.noted == []


def test_bad_fields_and_bad_rows_are_skipped_alone() -> None:
    """Trap 16: numbers may be text; an impossible value is absent and noted; items that are no rows are skipped."""
    page = answer(OVERVIEW, "overview_drift.json")
    notes = Notes()
    rows = list(wire.rows(page.versions, wire.OverviewRow, field="v1.versions", note=notes))

    jobs = [from_overview(row, workspace_id="0", note=notes) for _, row in rows]

    assert [job.job_id if job is not None else None for job in jobs] == ["21", "22", None]
    assert jobs[0] is not None
    assert jobs[0].status is JobStatus.RUNNING
    assert (jobs[0].name, jobs[0].started_at, jobs[0].run_duration_s) == ("7", 1557473040.0, 53.0)
    assert (jobs[0].accelerator, jobs[0].spec_accelerators) == (Accelerator.GPU, 2.0)
    assert jobs[1] == Job(job_id="22", api=Api.V1, workspace_id="0", kind="job")
    assert notes.fields == [
        "v1.versions",  # 17 is not a row
        "v1.versions",  # neither is null
        "v1.status",
        "v1.duration",
        "v1.gpu_num",
        "v1.create_time",
        "v1.version_id",
    ]


def test_a_job_list_row_is_the_newest_version() -> None:
    """A row of the job list has no start, so it has no end, even for a finished version (trap 14)."""
    page = answer(JOB_LIST, "job_list.json")
    rows = [row for _, row in wire.rows(page.jobs, wire.JobRow, field="v1.jobs", note=Notes())]

    running, completed = (from_listed(row, workspace_id="w", note=Notes()) for row in rows)

    assert running == Job(
        job_id="10818",
        api=Api.V1,
        name="resnet",
        user="ada",
        workspace_id="w",
        pool_known=False,
        parent_job_id="9446",
        kind="job",
        status=JobStatus.RUNNING,
        reason="running",
        submitted_at=1557473030.0,
        run_duration_s=60.0,
    )
    assert completed is not None
    assert (completed.job_id, completed.user, completed.status) == ("10620", "", JobStatus.COMPLETED)
    assert (completed.started_at, completed.ended_at) == (None, None)


def test_a_job_row_may_have_text_fields() -> None:
    """Trap 16: ids, status and time as text, and the user as JSON text, give the same job."""
    page = answer(JOB_LIST, "job_list_strings.json")
    notes = Notes()
    ((_, row),) = wire.rows(page.jobs, wire.JobRow, field="v1.jobs", note=notes)

    job = from_listed(row, workspace_id="0", note=notes)

    assert job is not None
    assert (job.job_id, job.user, job.status) == ("10", "lin", JobStatus.INITIALIZING)
    assert job.submitted_at == 1524189990.635
    assert notes.noted == []


def test_a_text_user_is_the_user_name() -> None:
    """The object is undocumented; plain text is read as the name."""
    row = wire.JobRow(version_id=1, user="ada")

    job = from_listed(row, workspace_id="0", note=Notes())

    assert job is not None
    assert job.user == "ada"


def test_a_record_counts_only_gpu_num() -> None:
    """Traps 22 and 23: `cpu`, `core`, the boolean `gpu` and the 7 billing units are not read; gpu_num is."""
    read = answer(VERSION, "version.json")
    notes = Notes()

    job = from_record(read, name="", workspace_id="0", note=notes)

    assert job == Job(
        job_id="10818",
        api=Api.V1,
        name="resnet",
        version="V0001",
        workspace_id="0",
        flavor="modelarts.vm.gpu.2v100NV32",
        accelerator=Accelerator.GPU,
        accelerator_model="nvidia-v100-pcie",
        engine="TF-1.13.1-python3.6",
        parent_job_id="9446",
        kind="job",
        status=JobStatus.COMPLETED,
        reason="completed",
        submitted_at=1557473030.0,
        started_at=1557473100.0,
        ended_at=1557473280.0,  # 1557473100 + 180 s
        run_duration_s=180.0,
        spec_nodes=1,
        spec_accelerators=2.0,
        quality={"recall": 0.9, "precision": 0.8, "accuracy": 1.0, "f1": 0.85},
    )
    assert notes.noted == []


def test_no_secret_is_kept() -> None:
    """Trap 28: decoding drops parameters, commands and data addresses."""
    page = answer(VERSIONS, "versions.json")
    records = [read for _, read in wire.rows(page.versions, wire.VersionRecord, field="v1.versions", note=Notes())]

    found = [from_record(read, name="", workspace_id="0", note=Notes()) for read in records]

    assert "SECRET" not in repr(records) + repr(found)


def test_npus_come_from_the_flavor_times_the_nodes() -> None:
    """Trap 24: 8 NPUs per node on 4 nodes are 32; only the flavor has NPUs."""
    page = answer(VERSIONS, "versions_npu.json")
    ((_, read),) = wire.rows(page.versions, wire.VersionRecord, field="v1.versions", note=Notes())

    job = from_record(read, name="pangu", workspace_id="0", note=Notes())

    assert job is not None
    assert (job.accelerator, job.spec_nodes, job.spec_accelerators) == (Accelerator.NPU, 4, 32.0)
    assert (job.accelerator_model, job.name, job.pool_id) == ("ascend-Snt9b", "pangu", "pool7e3577e3")


def test_a_cpu_job_has_no_cards() -> None:
    """A CPU job has kind CPU and 0 cards; a node count of 0 means one node."""
    job = from_record(answer(VERSION, "version_cpu.json"), name="", workspace_id="0", note=Notes())

    assert job is not None
    assert (job.accelerator, job.spec_accelerators, job.spec_nodes) == (Accelerator.CPU, 0.0, 1)
    assert job.accelerator_model == ""


@pytest.mark.parametrize(
    "found, kind, accelerators",
    [
        ({"gpu_num": 2, "worker_server_num": 3}, Accelerator.GPU, 6.0),
        ({"gpu_num": "2", "worker_server_num": None}, Accelerator.GPU, 2.0),
        ({"flavor_info": {"gpu": {"unit_num": 4}}}, Accelerator.GPU, 4.0),
        ({"flavor_info": '{"npu": {"unit_num": 8}}'}, Accelerator.NPU, 8.0),
        ({"gpu_num": 0, "npu_info": {"unit_num": 8}}, Accelerator.NPU, 8.0),
        ({"gpu_num": 0, "flavor_info": {"gpu": None, "npu": {"unit_num": 0}}}, Accelerator.CPU, 0.0),
        ({"gpu_num": 0, "flavor_type": "CPU"}, Accelerator.CPU, 0.0),
        ({"gpu_num": 0, "spec_code": "modelarts.vm.cpu.2u"}, Accelerator.CPU, 0.0),
        ({"gpu_num": 0, "flavor_type": "Ascend"}, Accelerator.NPU, None),
        ({"gpu_num": 0, "spec_code": "modelarts.kat1.8snt9"}, Accelerator.NPU, None),
        ({"gpu_type": "nvidia-v100-pcie"}, Accelerator.GPU, None),
        ({"gpu_num": 0}, None, None),
        ({"gpu": True, "billing": {"unit_num": 4}}, None, None),
        ({}, None, None),
    ],
    ids=[
        "gpus on three nodes",
        "text, without nodes",
        "gpus by the flavor",
        "npus by the flavor as text",
        "npus beside the flavor",
        "a complete flavor without cards",
        "flavor type cpu",
        "cpu by name",
        "npu by type, number unknown",
        "npu by name, number unknown",
        "gpu by product, number unknown",
        "no gpus, but perhaps npus",
        "other counts",
        "nothing",
    ],
)
def test_accelerators_of_a_record(
    found: dict[str, Any], kind: Accelerator | None, accelerators: float | None
) -> None:
    """Traps 23 and 24: the number comes from card counts; a kind known only by name has no number."""
    read = msgspec.convert({"version_id": 1} | found, type=wire.VersionRecord)

    job = from_record(read, name="", workspace_id="0", note=Notes())

    assert job is not None
    assert (job.accelerator, job.spec_accelerators) == (kind, accelerators)


@pytest.mark.parametrize(
    "found, kind, accelerators",
    [
        ({"gpu_num": 8, "npu_num": 0}, Accelerator.GPU, 8.0),
        ({"gpu_num": 0, "npu_num": 16}, Accelerator.NPU, 16.0),
        ({"gpu_num": 0, "npu_num": 0}, Accelerator.CPU, 0.0),
        ({"gpu_num": 0, "npu_num": None}, None, None),
        ({"flavor_code": "modelarts.vm.gpu.1v100NV32.pub"}, Accelerator.GPU, None),
    ],
    ids=["gpus", "npus", "neither", "no npu field", "by the flavor's name"],
)
def test_accelerators_of_the_overview(
    found: dict[str, Any], kind: Accelerator | None, accelerators: float | None
) -> None:
    """Trap 24: the overview's numbers are the job's total and are not multiplied."""
    job = overview_row(**found)

    assert (job.accelerator, job.spec_accelerators) == (kind, accelerators)


def test_zero_times_mean_not_yet() -> None:
    """Trap 14: a start of 0 is absent, and so are an age since 1970 and a duration of 0 s."""
    job = overview_row(status=7, create_time=1557473030000, start_time=0, end_time=0, duration=0)

    assert (job.started_at, job.ended_at, job.run_duration_s) == (None, None, None)
    assert job.queue_duration_s is None


def test_a_killed_job_may_have_run_for_zero_seconds() -> None:
    """With a start, a duration of 0 is a duration."""
    job = overview_row(status=12, start_time=1557473040000, end_time=0, duration=0)

    assert (job.run_duration_s, job.ended_at) == (0.0, 1557473040.0)


@pytest.mark.parametrize(
    "found, ended_at",
    [
        (
            {"status": 10, "start_time": 1_500_000_005_000, "end_time": 1_500_000_009_000, "duration": 1_000},
            1_500_000_009.0,
        ),
        ({"status": 10, "start_time": 1_500_000_005_000, "duration": 1_000}, 1_500_000_006.0),
        ({"status": 10, "start_time": 1_500_000_005_000, "end_time": 1_500_000_004_000}, 1_500_000_005.0),
        ({"status": 5, "end_time": 1_500_000_004_000}, 1_500_000_004.0),
        ({"status": 10, "start_time": 1_500_000_005_000}, None),
        ({"status": 8, "start_time": 1_500_000_005_000, "end_time": 1_500_000_009_000, "duration": 1_000}, None),
    ],
    ids=["as given", "by duration", "never before its start", "never started", "cannot be derived", "still running"],
)
def test_the_end_of_a_version(found: dict[str, Any], ended_at: float | None) -> None:
    """Trap 15: the end is given or derived, is never before the start, and exists only for finished versions."""
    assert overview_row(**found).ended_at == ended_at


def test_a_start_before_the_submission_means_no_queue_time() -> None:
    """Trap 15: jobs in documentation samples start before their submission."""
    assert overview_row(create_time=1_500_000_009_000, start_time=1_500_000_005_000).queue_duration_s == 0.0


@pytest.mark.parametrize(
    "value, expected",
    [
        (1485, "1485"),
        ("1485", "1485"),
        (1485.0, "1485"),
        (None, ""),
        (True, ""),
        (1.5, ""),
        ("", ""),
        ("../1", ""),
        ("1 2", ""),
        ("٣", ""),
        ("a" * 65, ""),
        ([1], ""),
    ],
    ids=repr,
)
def test_valid_ids(value: object, expected: str) -> None:
    """An id becomes part of a path: anything but a number or a plain word is rejected."""
    assert parse_id(value) == expected


@pytest.mark.parametrize(
    "display, name, version",
    [("trainjob-3f47", "trainjob-3f47", ""), ("V0012", "", "V0012"), ("V12", "V12", "")],
    ids=["a name", "a version", "a name like a version"],
)
def test_the_overviews_version_name_is_a_display_name(display: str, name: str, version: str) -> None:
    """Trap 26: it is a job's name in the published sample, and "V0001" elsewhere."""
    job = overview_row(version_name=display)

    assert (job.name, job.version) == (name, version)


@pytest.mark.parametrize(
    "found, pool",
    [
        ({"pool_id": "pool7e3577e3"}, "pool7e3577e3"),
        ({"pool_id": "pool7e3577e3", "pool_type": "USER_DEFINED"}, "pool7e3577e3"),
        ({"pool_id": "shared", "pool_type": "SYSTEM_DEFINED"}, ""),
        ({"pool_id": None}, ""),
    ],
    ids=["dedicated", "pool type dedicated", "pool type public", "none"],
)
def test_the_public_pool_has_no_id(found: dict[str, Any], pool: str) -> None:
    """Jobs of the public pool have an empty pool id."""
    assert record(**found).pool_id == pool


def test_merge_takes_changing_fields_from_the_listing() -> None:
    """The listing is newer than the record: it has status and times, the record has nodes and model."""
    listed = overview_row(
        status=10,
        version_name="name",
        create_time=1_500_000_001_000,
        start_time=1_500_000_002_000,
        duration=3_000,
        gpu_num=6,
        npu_num=0,
    )
    fields = record(
        status=8, version_name="V0001", create_time=1_500_000_001_000, gpu_num=2, gpu_type="Pnt1", worker_server_num=3
    )

    job = merge(listed, fields, name="resnet", user="ada")

    assert (job.name, job.version, job.user) == ("resnet", "V0001", "ada")
    assert (job.status, job.reason, job.ended_at) == (JobStatus.COMPLETED, "completed", 1_500_000_005.0)  # 2 s + 3 s
    assert (job.spec_nodes, job.spec_accelerators, job.accelerator_model) == (3, 6.0, "Pnt1")


def test_merge_falls_back_to_the_record() -> None:
    """The job list has no start: it comes from the record, and the end is the start plus the newer duration."""
    listed = from_listed(wire.JobRow(version_id=1, status=10, duration=9_000), workspace_id="0", note=Notes())
    fields = record(status=8, create_time=1_500_000_001_000, start_time=1_500_000_002_000, duration=3_000)
    assert listed is not None

    job = merge(listed, fields)

    assert (job.submitted_at, job.started_at) == (1_500_000_001.0, 1_500_000_002.0)
    assert (job.run_duration_s, job.ended_at) == (9.0, 1_500_000_011.0)


def test_merge_without_a_record_adds_the_job_lists_fields() -> None:
    """Finished history keeps its overview fields, and gets the name of its job if that is known."""
    listed = overview_row(version_name="display", status=10)

    assert merge(listed, None) == listed
    assert (merge(listed, None, name="resnet", user="ada").name, merge(listed, None).name) == ("resnet", "display")


def test_the_overview_has_npus_that_a_record_lacks() -> None:
    """A record without a flavor does not show 8 NPUs; the overview's number is used."""
    job = merge(overview_row(gpu_num=0, npu_num=8), record(gpu_num=0, worker_server_num=1))

    assert (job.accelerator, job.spec_accelerators) == (Accelerator.NPU, 8.0)


@pytest.mark.parametrize(
    "fields, expected",
    [(None, None), ({"worker_server_num": 3}, 24.0), ({"worker_server_num": 3, "gpu_num": 4}, 12.0)],
    ids=["nodes unknown", "nodes known", "the record has its own count"],
)
def test_an_overview_that_counts_per_node(fields: dict[str, Any] | None, expected: float | None) -> None:
    """Trap 24: 8 cards per node are 24 on three nodes, and unknown while the number of nodes is."""
    listed = overview_row(gpu_num=8, npu_num=0)

    job = merge(listed, None if fields is None else record(**fields), per_node=True)

    assert job.spec_accelerators == expected


SCALAR = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=9)
ANYTHING = st.recursive(
    SCALAR | st.sampled_from(["8", "0", "V0001", "1557473030000", "{}", "[1]", '{"name": "x"}']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["gpu", "npu", "unit_num", "product_name", "name"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def objects(kind: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects with some of the fields of a wire struct."""
    names = [field.encode_name for field in msgspec.structs.fields(kind) if field.name != "version_id"]
    return st.fixed_dictionaries({"version_id": ANYTHING | st.just(7)}, optional=dict.fromkeys(names, ANYTHING))


@settings(max_examples=60)
@given(
    row=objects(wire.OverviewRow),
    listed=objects(wire.JobRow),
    full=objects(wire.VersionRecord),
    per_node=st.booleans(),
)
def test_any_decodable_row_is_read_safely(
    row: dict[str, Any], listed: dict[str, Any], full: dict[str, Any], *, per_node: bool
) -> None:
    """Any JSON object gives a job or None: no error, no negative number."""
    notes = Notes()

    def decoded(value: dict[str, Any], kind: type[wire.Item]) -> wire.Item | None:
        return wire.read(msgspec.Raw(msgspec.json.encode(value)), kind, field="v1.versions", note=notes)

    overview, job_row, version = (
        decoded(row, wire.OverviewRow),
        decoded(listed, wire.JobRow),
        decoded(full, wire.VersionRecord),
    )
    jobs = [
        from_overview(overview, workspace_id="0", note=notes) if overview is not None else None,
        from_listed(job_row, workspace_id="0", note=notes) if job_row is not None else None,
        from_record(version, name="", workspace_id="0", note=notes) if version is not None else None,
    ]
    found = [job for job in jobs if job is not None]
    found += [merge(listing, jobs[2], per_node=per_node) for listing in found]

    for job in found:
        assert job.job_id
        for field in fields(job):
            value = getattr(job, field.name)
            assert not isinstance(value, int | float) or value >= 0
        assert job.ended_at is None or (job.status.finished and job.ended_at >= (job.started_at or 0))


@pytest.mark.parametrize(
    "fields, expected",
    [
        pytest.param({"gpu_num": 0, "flavor_code": "modelarts.vm.gpu.free"}, ("cpu", 0.0), id="named after a GPU"),
        pytest.param({"gpu_num": 0, "spec_code": "gpu-host", "npu_info": {}}, ("cpu", 0.0), id="spec code"),
        pytest.param({"gpu_num": None, "flavor_code": "modelarts.vm.gpu.1"}, ("gpu", None), id="number unknown"),
        pytest.param({"gpu_num": 0, "flavor_code": "modelarts.kat1.8snt9"}, ("npu", None), id="NPUs not told"),
        pytest.param({"npu_info": {"npu": 8}}, ("npu", 8.0), id="npu in place of unit_num"),
        pytest.param({"npu_info": '{"npu": "8"}'}, ("npu", 8.0), id="as text"),
        pytest.param({"npu_info": {"unit_num": 4, "npu": 8}}, ("npu", 4.0), id="both: the usual one"),
        pytest.param({"flavor_info": {"npu": {"npu": 2}}}, ("npu", 2.0), id="in the flavor"),
    ],
)
def test_kind_and_number_of_accelerators(fields: dict[str, object], expected: tuple[str, float | None]) -> None:
    """Fact 50: a name shows the kind only where cards may exist, and `npu` stands in for `unit_num`."""
    record = msgspec.convert({"version_id": 1, "worker_server_num": 1, **fields}, wire.VersionRecord)

    job = from_record(record, name="", workspace_id="0", note=Notes())

    assert job is not None
    assert (job.accelerator, job.spec_accelerators) == expected
