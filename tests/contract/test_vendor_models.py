"""What we read and what the simulator writes, held against the vendor's own models.

Client and simulator are written from one reading of the documents and could be wrong together. The models are a third
reading, by the vendor. Where we differ on purpose, `DIFFERENCES` has the reason and its source.
"""

import asyncio
import fnmatch
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args, get_origin

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.cloud.http.endpoint import Endpoint
from exporter.cloud.pools import adapter as pools
from exporter.cloud.pools import endpoints as pool_calls
from exporter.cloud.pools import wire as pools_wire
from exporter.cloud.v1 import adapter as v1
from exporter.cloud.v1 import endpoints as v1_calls
from exporter.cloud.v1 import wire as v1_wire
from exporter.cloud.v2 import adapter as v2
from exporter.cloud.v2 import endpoints as v2_calls
from exporter.cloud.v2 import wire as v2_wire
from exporter.simulator import Options
from tests.clock import ManualClock
from tests.contract import documented_v1
from tests.contract.simulated import scene_of
from tests.contract.vendor_models import ListOf, Model, Open, Scalar, Type, at, model, present, values
from tests.unit.cloud.recorded_unknowns import Notes


@dataclass(frozen=True, kw_only=True)
class Contract:
    """One call: its endpoint, the vendor's model of the response, our struct of it, and our struct of an item."""

    endpoint: Endpoint[Any]
    response: Model
    wire: type[msgspec.Struct]
    items: str = ""
    """Path of the rows that our envelope leaves undecoded."""
    item: type[msgspec.Struct] | None = None


CONTRACTS = {
    contract.endpoint.name: contract
    for contract in (
        Contract(
            endpoint=v2_calls.SEARCH,
            response=model("ListTrainingJobsResponse"),
            wire=v2_wire.JobPage,
            items="items[]",
            item=v2_wire.Job,
        ),
        Contract(endpoint=v2_calls.DETAIL, response=model("ShowTrainingJobDetailsResponse"), wire=v2_wire.Job),
        Contract(
            endpoint=v2_calls.METRICS, response=model("ShowTrainingJobMetricsResponse"), wire=v2_wire.TaskMetrics
        ),
        Contract(
            endpoint=pool_calls.POOLS,
            response=model("ListPoolsResponse"),
            wire=pools_wire.PoolList,
            items="items[]",
            item=pools_wire.Pool,
        ),
        Contract(
            endpoint=pool_calls.USAGE,
            response=model("ShowPoolRuntimeMetricsResponse"),
            wire=pools_wire.UsageList,
            items="items[]",
            item=pools_wire.Usage,
        ),
        Contract(
            endpoint=pool_calls.STATISTICS,
            response=model("ShowWorkloadStatisticsResponse"),
            wire=pools_wire.Statistics,
        ),
        Contract(
            endpoint=pool_calls.WORKLOADS,
            response=model("ListWorkloadsResponse"),
            wire=pools_wire.WorkloadList,
            items="items[]",
            item=pools_wire.Workload,
        ),
        Contract(
            endpoint=pool_calls.FLAVORS,
            response=model("ListResourceFlavorsResponse"),
            wire=pools_wire.FlavorList,
            items="items[]",
            item=pools_wire.Flavor,
        ),
        Contract(endpoint=pool_calls.QUOTAS, response=model("ShowOsQuotaResponse"), wire=pools_wire.Quotas),
        Contract(
            endpoint=pool_calls.TRAINING_QUOTAS,
            response=model("ShowTrainingQuotasResponse"),
            wire=pools_wire.Quotas,
        ),
        Contract(
            endpoint=v1_calls.WORKSPACES,
            response=model("ListWorkspaceResponse"),
            wire=v1_wire.WorkspacePage,
            items="workspaces[]",
            item=v1_wire.WorkspaceRow,
        ),
        Contract(
            endpoint=v1_calls.OVERVIEW,
            response=documented_v1.OVERVIEW,
            wire=v1_wire.OverviewPage,
            items="versions[]",
            item=v1_wire.OverviewRow,
        ),
        Contract(
            endpoint=v1_calls.JOB_LIST,
            response=documented_v1.JOB_LIST,
            wire=v1_wire.JobPage,
            items="jobs[]",
            item=v1_wire.JobRow,
        ),
        Contract(
            endpoint=v1_calls.VERSIONS,
            response=documented_v1.VERSIONS,
            wire=v1_wire.VersionPage,
            items="versions[]",
            item=v1_wire.VersionRecord,
        ),
        Contract(endpoint=v1_calls.VERSION, response=documented_v1.DETAIL, wire=v1_wire.VersionRecord),
    )
}

_V2_JOB = "v2_*_job*"
_CONTAINER = "one struct reads the three descriptions of a node's share; a field that one of them lacks stays unset"

_RUNTIME_TYPE = "in real responses and a filter key of the search (API reference §13, fact 48)"

DIFFERENCES: dict[tuple[str, str], str] = {
    (_V2_JOB, "*spec.runtime_type"): _RUNTIME_TYPE,
    (_V2_JOB, "*flavor_info.?pu.npu"): "documented elsewhere in place of unit_num (API reference §13, fact 50)",
    (
        _V2_JOB,
        "*spec.resource.flavor_detail.flavor_id",
    ): "one struct reads this and tasks[].task_resource, which has it",
    (_V2_JOB, "*spec.resource.main_container_*.core_num"): _CONTAINER,
    (_V2_JOB, "*spec.resource.main_container_*.pool_resource_flavor"): _CONTAINER,
    (_V2_JOB, "*spec.resource.main_container_customized_flavor.accelerator_type"): _CONTAINER,
    (
        _V2_JOB,
        "*spec.resource.pool_info*",
    ): "undocumented, in real responses (API reference §5.2, MACLI)",
    ("v2_get_pool_statistics", "statics"): "the table of Open Telekom Cloud's page has this name (API reference §7)",
    ("v2_list_pool_workloads", "items[].isDeleted"): "Open Telekom Cloud's page documents it (API reference §7)",
    ("v1_list_jobs", "jobs[].user"): "seen in recorded responses, undocumented (API reference §2.2)",
    ("v1_list_versions", "versions[].job_*"): "one struct reads this and the detail response, which has them",
    ("v1_*_version*", "*npu_info"): "undocumented, in OTCX's recorded response (API reference §2.3)",
    ("v1_*_version*", "*pool_type"): "undocumented, in OTCX's recorded response (API reference §2.3)",
    ("v1_*_version*", "*flavor_*"): "undocumented, in OTCX's recorded response (API reference §2.3)",
    ("v1_*_version*", "*spec_code"): "on Open Telekom Cloud's page of the same call (API reference §2.3)",
}
"""(operation pattern, path pattern) to the reason and source of a field that the contract lacks or has otherwise."""


def reading(struct: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, Any]]:
    """Walk a wire struct: each JSON path it reads with its declared type, `X | None` taken for `X`."""
    for field in msgspec.structs.fields(struct):
        kind = field.type
        options = [option for option in get_args(kind) if option not in {type(None), msgspec.UnsetType}]
        if get_origin(kind) is not list and options:
            kind = options[0]
        place = f"{path}.{field.encode_name}".lstrip(".")
        yield place, kind
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from reading(kind, place)
        elif get_origin(kind) is list:
            (item,) = get_args(kind)
            if isinstance(item, type) and issubclass(item, msgspec.Struct):
                yield from reading(item, f"{place}[]")


def fits(kind: Any, found: Type) -> bool:
    """Whether a declared type can hold what the contract says; `Any` and raw JSON hold everything."""
    if kind is Any or kind is msgspec.Raw or isinstance(found, Open):
        return True
    if get_origin(kind) is list:
        return isinstance(found, ListOf)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return isinstance(found, Model)
    return isinstance(found, Scalar)


def holds(value: Any, found: Type) -> bool:
    """Whether a value is of the contract's type; null stands for any."""
    if value is None or isinstance(found, Open):
        return True
    if isinstance(found, ListOf):
        return isinstance(value, list)
    if isinstance(found, Model):
        return isinstance(value, dict)
    types: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,)}
    return isinstance(value, types.get(found.name, (str,))) and (found.name == "bool" or not isinstance(value, bool))


def covered(operation: str, path: str, differences: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the recorded difference that covers a path; None where there is none."""
    for pattern in differences:
        name, where = pattern
        if fnmatch.fnmatchcase(operation, name) and fnmatch.fnmatchcase(path, where.replace("[]", "[[][]]")):
            return pattern
    return None


def unread(contract: Contract) -> Iterator[tuple[str, str]]:
    """Yield each path of our structs that the contract does not bear out, with what is wrong."""
    wanted = list(reading(contract.wire))
    if contract.item is not None:
        wanted += reading(contract.item, contract.items)
    for path, kind in wanted:
        found = at(contract.response, path)
        if found is None:
            yield path, "the contract has no such field"
        elif not fits(kind, found):
            yield path, f"we read {kind}, the contract has {found}"


@pytest.mark.parametrize("operation", CONTRACTS)
def test_what_we_read_is_in_the_contract(operation: str) -> None:
    """Each field of a wire struct exists at its path in the vendor's model, or its difference is argued."""
    wrong = [
        f"{path}: {what}"
        for path, what in unread(CONTRACTS[operation])
        if covered(operation, path, DIFFERENCES) is None
    ]
    assert not wrong, (
        f"{operation}: we read fields that the vendor's model does not have; move them, or give the reason "
        f"and its source in DIFFERENCES of {__file__}: {wrong}"
    )


@pytest.mark.parametrize("pattern", DIFFERENCES, ids=" ".join)
def test_each_difference_is_still_there(pattern: tuple[str, str]) -> None:
    """A recorded difference covers a field that the contract does not bear out; one that has gone must be deleted."""
    needed = {
        covered(operation, path, DIFFERENCES)
        for operation, contract in CONTRACTS.items()
        for path, _ in unread(contract)
    }
    assert pattern in needed, f"delete {pattern} from DIFFERENCES: nothing differs there any more"


def test_each_simulated_difference_is_still_there(simulated: dict[str, list[Any]]) -> None:
    """A recorded difference of the simulator covers something it writes; one that has gone must be deleted."""
    needed = {
        covered(operation, path, SIMULATED)
        for operation, bodies in simulated.items()
        for body in bodies
        for path, value in values(body)
        if (found := at(CONTRACTS[operation].response, path)) is None or not holds(value, found)
    }
    assert set(SIMULATED) - needed == set(), "delete these from SIMULATED: the simulator writes nothing of the kind"


def test_every_endpoint_has_a_contract() -> None:
    """Each endpoint whose response we decode is held against a model."""
    endpoints = {one.name for table in (v1_calls, v2_calls, pool_calls) for one in table.ENDPOINTS}
    assert endpoints - set(CONTRACTS) == set(), (
        "add the endpoint to CONTRACTS with the vendor's model of its response"
    )


_OTCX = "undocumented, in OTCX's recorded response (API reference §2.3)"
_TEXT_OR_NUMBER = "documented as text, a number in the sample (API reference §1.1, §7, trap 37)"
_QUANTITIES = "resource names are those of the pool's cards, of which the model knows one (API reference §7, [50])"

SIMULATED: dict[tuple[str, str], str] = {
    (_V2_JOB, "*spec.runtime_type"): _RUNTIME_TYPE,
    (_V2_JOB, "*metadata.ai_project"): "in the seed's field table (S1; API reference §2.4)",
    (_V2_JOB, "*algorithm.outputs[].period"): 'seen as 30 and as "30s" (API reference §2.4)',
    (_V2_JOB, "*spec.is_hosted_log"): "in OTC's field table of the job (API reference §2.4)",
    (_V2_JOB, "*spec.resource.pool_info*"): "undocumented, in real responses (API reference §5.2, MACLI)",
    (_V2_JOB, "*flavor_info.npu.unit_num"): "documented as text, seen as a number (API reference §2.4, trap 16)",
    (_V2_JOB, "*flavor_info.disk.size"): "documented as text, seen as a number (API reference §2.4)",
    ("v2_list_pools", "*.resources.*"): "documented as an array in one place, as an object in another (trap 37)",
    ("v2_get_pool_usage", "*.value.*"): _QUANTITIES,
    ("v2_get_pool_usage", "*.maxValue.*"): _QUANTITIES,
    ("v2_list_pool_workloads", "items[].isDeleted"): "Open Telekom Cloud's page documents it (API reference §7)",
    ("v2_list_pool_workloads", "items[].resourceRequirement.*"): _QUANTITIES,
    ("v1_get_quotas", "quotas.resources[].*"): _TEXT_OR_NUMBER,
    ("v1_list_workspaces", "workspaces[].id"): "a number in the documentation's sample ([43])",
    ("v1_list_jobs", "jobs[].user*"): "seen in recorded responses, undocumented (API reference §2.2)",
    ("v1_*_version*", "*parameter[].value"): "a number in the seed's sample response (S0)",
    ("v1_get_version", "*_metric_list*"): "JSON text in one call, an object in the other (trap 17)",
    **{
        ("v1_*_version*", f"*{field}"): _OTCX
        for field in (
            "memory_unit", "npu_info", "pool_type", "flavor_code", "flavor_type", "spec_code", "flavor_info*",
            "billing*", "job_type", "max_num", "no_resource", "is_zombie", "error_result", "is_free", "attributes",
        )
    },
}  # fmt: skip
"""(operation pattern, path pattern) to the reason and source of what the simulator writes beyond the contract."""


@pytest.fixture(scope="module")
def simulated() -> dict[str, list[Any]]:
    return asyncio.run(_responses())


async def _responses() -> dict[str, list[Any]]:
    """Return what a simulated cloud answers to each call, decoded; calls about one job are made for several."""
    clock = ManualClock()
    bodies: dict[str, list[Any]] = {}
    async with scene_of(Options(jobs=60, history=40), clock) as scene:

        async def ask(endpoint: Endpoint[Any], **arguments: Any) -> Any:
            raw = await scene.client.call(replace(endpoint, answer=msgspec.Raw), **arguments)
            body = None if raw is None else json.loads(bytes(raw))
            if body is not None:
                bodies.setdefault(endpoint.name, []).append(body)
            return body

        for phases in ((), ("Running",), ("Failed",)):
            page = await ask(v2_calls.SEARCH, body=v2_calls.search_body(workspace_id="0", phases=phases))
            for item in page["items"][:12]:
                job_id = item["metadata"]["id"]
                detail = await ask(v2_calls.DETAIL, path={"job_id": job_id})
                for task in detail["status"]["tasks"][:2]:
                    await ask(v2_calls.METRICS, path={"job_id": job_id, "task": task})
        await ask(v1_calls.WORKSPACES)
        await ask(v1_calls.OVERVIEW, query={"limit": "0", "workspace_id": "0"})
        listed = await ask(v1_calls.JOB_LIST, query={"per_page": "1000", "page": "1", "workspace_id": "0"})
        for job in listed["jobs"][:12]:
            versions = await ask(v1_calls.VERSIONS, path={"job_id": str(job["job_id"])})
            version = str(versions["versions"][0]["version_id"])
            await ask(v1_calls.VERSION, path={"job_id": str(job["job_id"]), "version_id": version})
        for pool in (await ask(pool_calls.POOLS))["items"]:
            await ask(pool_calls.STATISTICS, path={"pool": pool["metadata"]["name"]})
            await ask(pool_calls.WORKLOADS, path={"pool": pool["metadata"]["name"]})
        await ask(pool_calls.USAGE)
        await ask(pool_calls.FLAVORS)
        await ask(pool_calls.QUOTAS)
        await ask(pool_calls.TRAINING_QUOTAS)
    return bodies


@pytest.mark.parametrize("operation", CONTRACTS)
def test_what_the_simulator_writes_is_in_the_contract(operation: str, simulated: dict[str, list[Any]]) -> None:
    """Each field of a simulated response exists at its path in the vendor's model, with a value of its type."""
    wrong = {}
    for body in simulated[operation]:
        for path, value in values(body):
            found = at(CONTRACTS[operation].response, path)
            if (found is None or not holds(value, found)) and covered(operation, path, SIMULATED) is None:
                wrong[path] = f"{found} in the contract, {value!r} written"[:120]
    assert not wrong, f"{operation}: mend the simulator, or give the reason and its source in SIMULATED: {wrong}"


IDS = st.uuids().map(str)
V1_IDS = st.integers(1, 2**53) | st.integers(1, 2**53).map(str)
MANY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example]
)


def _job(**required: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a v2 job with an id, everything else as the model allows."""
    shape = model("JobResponse")
    metadata = shape.fields["metadata"]
    assert isinstance(metadata, Model)
    return present(shape, metadata=present(metadata, id=IDS), **required)


def _encoded(document: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(document))


@MANY
@given(_job())
def test_any_v2_job_of_the_model_becomes_a_job(document: dict[str, Any]) -> None:
    """Whatever a job that follows the vendor's model has, lacks or writes as text, it is tracked by its id."""
    job = v2.job(_encoded(document), workspace_id="0", note=Notes())

    assert job is not None
    assert job.job_id == document["metadata"]["id"]


@MANY
@given(present(documented_v1.OVERVIEW_ROW, version_id=V1_IDS))
def test_any_overview_row_becomes_a_job(document: dict[str, Any]) -> None:
    """Whatever a row of the overview has, lacks or writes as text, its version is tracked."""
    row = msgspec.json.decode(_encoded(document), type=v1_wire.OverviewRow)
    job = v1.from_overview(row, workspace_id="0", note=Notes())

    assert job is not None
    assert job.job_id == str(document["version_id"])


@MANY
@given(present(documented_v1.JOB_ROW, version_id=V1_IDS))
def test_any_job_list_row_becomes_a_job(document: dict[str, Any]) -> None:
    """Whatever a row of the job list has, lacks or writes as text, its newest version is tracked."""
    row = msgspec.json.decode(_encoded(document), type=v1_wire.JobRow)
    job = v1.from_listed(row, workspace_id="0", note=Notes())

    assert job is not None
    assert job.job_id == str(document["version_id"])


@MANY
@given(present(documented_v1.VERSION, version_id=V1_IDS))
def test_any_version_record_becomes_a_job(document: dict[str, Any]) -> None:
    """Whatever a version's record has, lacks or writes as text, the version is tracked."""
    record = msgspec.json.decode(_encoded(document), type=v1_wire.VersionRecord)
    job = v1.from_record(record, name="", workspace_id="0", note=Notes())

    assert job is not None
    assert job.job_id == str(document["version_id"])


def _pool() -> st.SearchStrategy[dict[str, Any]]:
    shape = model("PoolModel")
    metadata = shape.fields["metadata"]
    assert isinstance(metadata, Model)
    return present(shape, metadata=present(metadata, name=IDS))


@MANY
@given(_pool())
def test_any_pool_of_the_model_becomes_a_pool(document: dict[str, Any]) -> None:
    """Whatever a pool that follows the vendor's model has, lacks or writes as text, it is shown by its id."""
    pool = pools.pool(_encoded(document), project="vision", note=Notes())

    assert pool is not None
    assert pool.pool_id == document["metadata"]["name"]
