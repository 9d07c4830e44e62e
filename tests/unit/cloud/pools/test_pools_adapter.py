"""Conversion of recorded responses about pools: each field, each missing field, each bad value."""

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cloud.http.errors import InvalidResponse
from exporter.cloud.pools import adapter, wire
from exporter.cloud.pools.adapter import NodeFlavor, PoolUsage
from exporter.cloud.pools.endpoints import FLAVORS, POOLS, QUOTAS, STATISTICS, TRAINING_QUOTAS, USAGE, WORKLOADS
from exporter.domain.job import Accelerator
from exporter.domain.pool import (
    NodeState,
    Pool,
    PoolAccelerators,
    PoolStatus,
    Quota,
    WorkloadKind,
    WorkloadStatus,
)
from tests.unit.cloud.recorded_unknowns import Notes

FOLDER = Path(__file__).parents[3] / "fixtures" / "pools"
A100 = "modelarts.bm.8a100"
TRAIN, NOTEBOOK, UNKNOWN = WorkloadKind.TRAIN, WorkloadKind.NOTEBOOK, WorkloadKind.UNKNOWN


def answer(endpoint: Any, file: str) -> Any:
    return msgspec.json.decode((FOLDER / file).read_bytes(), type=endpoint.answer)


def listed(file: str, notes: Notes | None = None) -> dict[str, Pool]:
    """Pools of a recorded listing by id."""
    read = [adapter.pool(item, project="vision", note=notes or Notes()) for item in answer(POOLS, file).items or ()]
    return {pool.pool_id: pool for pool in read if pool is not None}


def used(file: str, notes: Notes | None = None) -> dict[str, PoolUsage]:
    return dict(filter(None, (adapter.used(item, note=notes or Notes()) for item in answer(USAGE, file).items)))


def flavors(notes: Notes | None = None) -> dict[str, NodeFlavor]:
    items = answer(FLAVORS, "flavors.json").items
    return dict(filter(None, (adapter.flavor(item, note=notes or Notes()) for item in items)))


def compose(
    pool_id: str = "pool-9928-train",
    *,
    usage: str = "usage.json",
    known: dict[str, NodeFlavor] | None = None,
) -> Pool:
    """A recorded pool with its recorded usage."""
    return adapter.compose(
        listed("pools.json")[pool_id],
        used=used(usage).get(pool_id),
        flavors=flavors() if known is None else known,
        workloads=None,
    )


def test_a_pool_is_read_from_its_listing() -> None:
    """Id, name, workspace, scope, status, requested nodes and nodes by state are all known."""
    notes = Notes()

    pools = listed("pools.json", notes)

    assert pools["pool-9928-train"] == Pool(
        project="vision",
        pool_id="pool-9928-train",
        name="train-a100",
        workspace_id="0",
        scope="Notebook,Train",
        type="Dedicate",
        status=PoolStatus.RUNNING,
        spec_nodes={A100: 4},
        nodes={(A100, NodeState.AVAILABLE): 3, (A100, NodeState.ABNORMAL): 1},
    )
    mixed = pools["pool-1c-mixed"]
    assert (mixed.type, mixed.scope, mixed.status) == ("Logical", "Infer", PoolStatus.SCALING_FAILED)
    assert mixed.nodes[("modelarts.vm.2t4", NodeState.DELETING)] == 1
    assert notes.noted == []


def test_one_object_is_a_list_of_one() -> None:
    """Trap 37: an object where an array is documented, counts as text, a number as workspace: the same pool."""
    found = listed("pools_objects.json")["pool-9928-train"]

    assert found.nodes == listed("pools.json")["pool-9928-train"].nodes
    assert found.spec_nodes == {A100: 4}
    assert (found.workspace_id, found.scope) == ("0", "Train")


def test_bad_parts_of_a_listing_are_left_out() -> None:
    """A bad item, a bad id and bad counts are noted and left out; the other pools are read."""
    notes = Notes()

    pools = listed("pools_drifted.json", notes)

    assert pools.keys() == {"pool-bare", "pool-odd", "pool-odd-counts"}
    assert pools["pool-bare"] == Pool(project="vision", pool_id="pool-bare")
    assert pools["pool-odd"].status is PoolStatus.UNKNOWN
    assert pools["pool-odd-counts"].nodes == {}
    assert set(notes.fields) >= {"v2.pools", "v2.pools.metadata.name", "v2.pools.status.phase"}
    assert ("v2.pools.metadata.name", "../etc") in notes.noted


def test_null_items_are_an_empty_listing() -> None:
    """Items that are null are an empty listing."""
    assert listed("pools_none.json") == {}


def test_usage_is_read_as_kubernetes_quantities() -> None:
    """Trap 36: 1073m is 1.073 cards, 15548Mi and 64Gi are bytes, plain numbers are unchanged."""
    mixed = used("usage.json")["pool-1c-mixed"]

    assert mixed.allocated == {"cpu": 5, "memory": 15548 * 1024**2, "nvidia.com/t4": 1.073, "tnt004": 0}
    assert mixed.capacity == {"cpu": 16, "memory": 64 * 1024**3, "nvidia.com/t4": 2, "tnt004": 4}


def test_a_pool_is_combined_from_its_answers() -> None:
    """4 nodes of 8 cards, one of them abnormal, 20 allocated: 32 = 20 allocated + 4 free + 8 unavailable."""
    pool = compose()

    assert pool.accelerators == (
        PoolAccelerators(
            resource="nvidia.com/gpu", accelerator=Accelerator.GPU, capacity=32, allocated=20, unavailable=8
        ),
    )
    assert pool.accelerators[0].free == 4
    assert (pool.cpu_allocated_cores, pool.cpu_capacity_cores) == (211.5, 416)
    assert (pool.memory_allocated_bytes, pool.memory_capacity_bytes) == (1_600_000 * 1024**2, 3200 * 1024**3)


def shuffled(value: Any, order: Random) -> Any:
    """The same JSON with every list and every object in another order."""
    if isinstance(value, dict):
        items = [(name, shuffled(each, order)) for name, each in value.items()]
        order.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        each = [shuffled(item, order) for item in value]
        order.shuffle(each)
        return each
    return value


def composed(order: Random | None = None) -> tuple[dict[str, Pool], dict[str, Quota]]:
    """Everything that is read from the recorded responses, by id."""

    def read(endpoint: Any, file: str) -> Any:
        found = msgspec.json.decode((FOLDER / file).read_bytes())
        return msgspec.json.decode(
            msgspec.json.encode(found if order is None else shuffled(found, order)), type=endpoint.answer
        )

    notes = Notes()
    usage = dict(filter(None, (adapter.used(item, note=notes) for item in read(USAGE, "usage.json").items)))
    known = dict(filter(None, (adapter.flavor(item, note=notes) for item in read(FLAVORS, "flavors.json").items)))
    workloads = adapter.statistics(read(STATISTICS, "statistics.json"), note=notes)
    pools = [adapter.pool(item, project="vision", note=notes) for item in read(POOLS, "pools.json").items]
    return (
        {
            pool.pool_id: adapter.compose(pool, used=usage.get(pool.pool_id), flavors=known, workloads=workloads)
            for pool in pools
            if pool is not None
        },
        adapter.quotas(read(QUOTAS, "quotas.json"), operation=QUOTAS.name, note=notes),
    )


@given(order=st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_the_order_of_the_answers_does_not_matter(order: Random) -> None:
    """Pools, flavors, nodes by flavor, resources, scopes, workloads and quotas may be listed in any order."""
    assert composed(order) == composed()


def test_two_kinds_of_cards_are_distinguished() -> None:
    """A masked name is of unknown kind where the nodes have GPUs and NPUs; known names show their kind."""
    mixed = compose("pool-1c-mixed")

    assert [(cards.resource, cards.accelerator, cards.free) for cards in mixed.accelerators] == [
        ("nvidia.com/t4", Accelerator.GPU, 2 - 1.073),
        ("tnt004", None, 4),
    ]


def test_without_flavors_abnormal_nodes_leave_free_unknown() -> None:
    """If node flavors are refused, the cards of the abnormal node are unknown; allocated ones are still known."""
    cards = compose(known={}).accelerators[0]

    assert (cards.capacity, cards.allocated, cards.free, cards.unavailable) == (32, 20, None, None)


def test_a_masked_name_gets_the_kind_of_the_nodes_flavor() -> None:
    """`tnt004` counts GPUs in a pool whose nodes have GPUs; without the flavors its kind is unknown."""
    pool = Pool(project="p", pool_id="a", nodes={("f", NodeState.AVAILABLE): 2})
    use = PoolUsage(allocated={"tnt004": 3.0}, capacity={"tnt004": 16.0})

    def kind(known: dict[str, NodeFlavor]) -> Accelerator | None:
        return adapter.compose(pool, used=use, flavors=known, workloads=None).accelerators[0].accelerator

    assert kind({"f": NodeFlavor(accelerator=Accelerator.GPU, cards=8)}) is Accelerator.GPU
    assert kind({"f": NodeFlavor(accelerator=Accelerator.NPU, cards=8)}) is Accelerator.NPU
    assert kind({}) is None


def test_abnormal_nodes_count_for_their_own_kind_of_cards() -> None:
    """In a pool of GPUs and NPUs, an abnormal NPU node does not reduce the GPUs."""
    known = {
        "g": NodeFlavor(accelerator=Accelerator.GPU, cards=8),
        "n": NodeFlavor(accelerator=Accelerator.NPU, cards=16),
        "c": NodeFlavor(accelerator=Accelerator.CPU, cards=0),
    }
    pool = Pool(
        project="p",
        pool_id="a",
        nodes={
            ("g", NodeState.AVAILABLE): 1,
            ("n", NodeState.AVAILABLE): 1,
            ("n", NodeState.ABNORMAL): 1,
            ("c", NodeState.ABNORMAL): 5,
        },
    )
    use = PoolUsage(
        allocated={"nvidia.com/gpu": 2.0, "huawei.com/ascend-1980": 4.0},
        capacity={"nvidia.com/gpu": 8.0, "huawei.com/ascend-1980": 32.0},
    )

    npu, gpu = adapter.compose(pool, used=use, flavors=known, workloads=None).accelerators

    assert (gpu.resource, gpu.free, gpu.unavailable) == ("nvidia.com/gpu", 6, 0)
    assert (npu.resource, npu.free, npu.unavailable) == ("huawei.com/ascend-1980", 12, 16)


def test_two_names_of_one_kind_leave_abnormal_nodes_unknown() -> None:
    """Which of two GPU resources an abnormal GPU node has is unknown, so free is unknown for both."""
    pool = Pool(project="p", pool_id="a", nodes={("g", NodeState.AVAILABLE): 1, ("g", NodeState.ABNORMAL): 1})
    use = PoolUsage(
        allocated={"nvidia.com/t4": 0.0, "nvidia.com/a100": 0.0},
        capacity={"nvidia.com/t4": 8.0, "nvidia.com/a100": 8.0},
    )
    known = {"g": NodeFlavor(accelerator=Accelerator.GPU, cards=8)}

    for cards in adapter.compose(pool, used=use, flavors=known, workloads=None).accelerators:
        assert (cards.allocated, cards.free, cards.unavailable) == (0, None, None)


def test_other_resources_are_not_accelerators() -> None:
    """Pods, disks, huge pages, network cards, shares of cards and a card with capacity 0 have no series."""
    notes = Notes()
    pool = adapter.compose(
        listed("pools.json")["pool-9928-train"],
        used=used("usage_drifted.json", notes)["pool-9928-train"],
        flavors={},
        workloads=None,
    )

    assert pool.accelerators == ()
    assert (pool.cpu_allocated_cores, pool.cpu_capacity_cores) == (None, 8)
    assert pool.memory_allocated_bytes is None  # "6.52 GiB" is the notation of another call
    assert notes.fields.count("v2.pool_usage.allocated") == 2
    assert "v2.pool_usage.metadata.name" in notes.fields


def test_a_missing_answer_is_unknown() -> None:
    """Without the usage call, nodes are known and cores are not."""
    pool = adapter.compose(listed("pools.json")["pool-9928-train"], used=None, flavors=flavors(), workloads=None)

    assert pool.nodes
    assert pool.accelerators == ()
    assert (pool.cpu_capacity_cores, pool.workloads) == (None, None)


def test_statistics_are_counts_by_kind_and_status() -> None:
    """Zeros of the cloud are kept; undocumented words are noted and counted as unknown."""
    notes = Notes()

    counts = adapter.statistics(answer(STATISTICS, "statistics.json"), note=notes)

    assert counts == {
        (TRAIN, WorkloadStatus.PENDING): 0,
        (TRAIN, WorkloadStatus.QUEUED): 234,
        (TRAIN, WorkloadStatus.RUNNING): 2,
        (NOTEBOOK, WorkloadStatus.RUNNING): 1,
        (UNKNOWN, WorkloadStatus.RUNNING): 1,
        (UNKNOWN, WorkloadStatus.UNKNOWN): 2,
    }
    assert notes.noted == [("v2.workloads.type", "x-batch"), ("v2.workloads.status", "Frozen")]


def test_statics_are_statistics() -> None:
    """Trap 37: the other name, one object, counts as text; an empty object is skipped."""
    counts = adapter.statistics(answer(STATISTICS, "statistics_statics.json"), note=Notes())

    assert counts[(TRAIN, WorkloadStatus.QUEUED)] == 3
    assert counts[(TRAIN, WorkloadStatus.COMPLETED)] == 0
    assert (TRAIN, WorkloadStatus.FAILED) not in counts


def test_a_workload_is_counted_unless_it_is_deleted() -> None:
    """`isDeleted` is text; a workload without a status counts, one without a name does not."""
    notes = Notes()
    found = [adapter.workload(item, note=notes) for item in answer(WORKLOADS, "workloads.json").items]

    assert found == [
        ("modelarts-job-a", (TRAIN, WorkloadStatus.RUNNING)),
        ("modelarts-job-b", (TRAIN, WorkloadStatus.QUEUED)),
        ("modelarts-job-c", None),
        ("nb-1", (NOTEBOOK, WorkloadStatus.UNKNOWN)),
        ("modelarts-job-a", (TRAIN, WorkloadStatus.RUNNING)),
        None,
    ]
    assert notes.fields == ["v2.workloads.status", "v2.workloads.name"]


def test_flavors_have_cards_and_kind() -> None:
    """Text or number; an empty object is no accelerator; cards without a number are noted, and not 0."""
    notes = Notes()

    assert flavors(notes) == {
        A100: NodeFlavor(accelerator=Accelerator.GPU, cards=8),
        "modelarts.vm.2t4": NodeFlavor(accelerator=Accelerator.GPU, cards=2),
        "modelarts.vm.masked": NodeFlavor(accelerator=Accelerator.NPU, cards=4),
        "modelarts.vm.cpu.16u": NodeFlavor(accelerator=Accelerator.CPU, cards=0),
    }
    assert notes.noted == [("v1.resourceflavors.size", "many")]


def test_quotas_of_both_calls() -> None:
    """As text or numbers, under either name; a limit of -1 is no limit."""
    by_v1 = adapter.quotas(answer(QUOTAS, "quotas.json"), operation="q", note=Notes())
    by_v2 = adapter.quotas(answer(TRAINING_QUOTAS, "training_quotas.json"), operation="q", note=Notes())

    assert by_v1 == {
        "pool": Quota(limit=15, used=10),
        "network": Quota(limit=15, used=1),
        "node": Quota(limit=None, used=7),
    }
    assert by_v2 == {"job-num": Quota(limit=1000, used=19)}


def test_series_of_a_pool_are_bounded() -> None:
    """A pool has at most 8 resources and 32 flavors per state, whatever the number of names in the response."""
    many = [{"flavor": f"f{n}", "count": 1} for n in range(100)]
    raw = msgspec.Raw(msgspec.json.encode({"metadata": {"name": "a"}, "status": {"resources": {"available": many}}}))
    pool = adapter.pool(raw, project="p", note=Notes())
    assert pool is not None
    assert len(pool.nodes) == 32

    use = PoolUsage(capacity={f"tnt{n}": 1.0 for n in range(100)})
    assert len(adapter.compose(pool, used=use, flavors={}, workloads=None).accelerators) == 8


def test_no_private_data_is_kept() -> None:
    """Trap 28: descriptions, messages and accounts are not read."""
    assert "SECRET-DESCRIPTION" in (FOLDER / "pools.json").read_text()
    assert "SECRET-" not in repr(listed("pools.json"))
    assert not {"jobName", "hostIps"} & {field.name for field in msgspec.structs.fields(wire.Workload)}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 50) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
counts = st.one_of(
    json_values,
    st.lists(
        st.fixed_dictionaries({"flavor": st.sampled_from(["f", "g"]), "count": st.integers(0, 9) | json_values}),
        max_size=3,
    ),
)
pools = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries({"name": st.just("pool-a") | json_values, "labels": json_values}),
        "spec": st.fixed_dictionaries({"type": json_values, "scope": json_values, "resources": counts}),
        "status": st.fixed_dictionaries(
            {
                "phase": st.sampled_from(["Running", "Error"]) | json_values,
                "resources": st.dictionaries(st.sampled_from([state.value for state in NodeState]), counts),
            }
        ),
    }
)
amounts = st.dictionaries(
    st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "tnt004", "huawei.com/ascend-1980"]),
    st.integers(0, 64) | st.sampled_from(["1073m", "2", "15548Mi"]) | json_values,
)


@given(
    found=pools | json_values,
    usage=st.fixed_dictionaries({"allocated": st.fixed_dictionaries({"value": amounts | json_values}),
                                 "capacity": st.fixed_dictionaries({"value": amounts | json_values})}),
)  # fmt: skip
def test_any_pool_is_read_or_noted(found: Any, usage: Any) -> None:
    """Any JSON: no exception, no negative count, and the parts add up."""
    notes = Notes()
    pool = adapter.pool(msgspec.Raw(msgspec.json.encode(found)), project="p", note=notes)
    raw = msgspec.Raw(msgspec.json.encode({"metadata": {"name": "pool-a"}, "table": usage}))
    read = adapter.used(raw, note=notes)
    assert read is not None
    if pool is None:
        assert notes.noted
        return

    known = {"f": NodeFlavor(accelerator=Accelerator.GPU, cards=8)}
    whole = adapter.compose(pool, used=read[1], flavors=known, workloads=None)

    assert all(number >= 0 for number in (*whole.nodes.values(), *whole.spec_nodes.values()))
    for cards in whole.accelerators:
        assert cards.capacity > 0
        if cards.free is not None:
            assert cards.free >= -1e-9


@given(json_values)
def test_any_statistics_are_counts_or_rejected(found: Any) -> None:
    """Any value in place of the counts is read, or rejected as an invalid response."""
    notes = Notes()
    try:
        counted = adapter.statistics(wire.Statistics(statistics=found), note=notes)
    except InvalidResponse:
        assert not isinstance(found, dict)
        return
    assert all(number >= 0 for number in counted.values())


@pytest.mark.parametrize(
    "sliced",
    [
        "npu.accelerator/snt9-5c.1cpu.8g", "npu.accelerator/snt9-10c", "huawei.com/Ascend310P-2c.1cpu",
        "huawei.com/Ascend910-vir08", "nvidia.com/mig-1g.5gb", "nvidia.com/gpu.shared",
    ],
)  # fmt: skip
def test_virtual_slices_are_not_cards(sliced: str) -> None:
    """Fact 50: slices appear beside the cards they are cut from; only the cards are accelerators."""
    cards = "nvidia.com/gpu" if "nvidia" in sliced else "npu.accelerator/snt9"
    used = PoolUsage(allocated={cards: 4.0, sliced: 3.0}, capacity={cards: 8.0, sliced: 12.0})
    pool = adapter.compose(Pool(project="vision", pool_id="p"), used=used, flavors={}, workloads=None)

    assert [(one.resource, one.capacity) for one in pool.accelerators] == [(cards, 8.0)]
