"""Families of pools and quotas: the samples for known facts, and their absence for unknown ones."""

from dataclasses import replace
from typing import Any

import pytest

from exporter.domain.job import Accelerator, Api, Job
from exporter.domain.pool import (
    NodeState,
    Pool,
    PoolAccelerators,
    PoolStatus,
    Quota,
    WorkloadKind,
    WorkloadStatus,
)
from exporter.domain.snapshot import CollectorState, ProjectSnapshot, Snapshot, TrackedJob
from exporter.metrics.catalog import JOB_FAMILIES, PROJECT_FAMILIES
from exporter.metrics.exposition.family import Family
from exporter.metrics.exposition.renderer import Renderer
from exporter.metrics.families import live, pool

Samples = list[tuple[dict[str, str], float]]

GPUS = PoolAccelerators(
    resource="nvidia.com/gpu", accelerator=Accelerator.GPU, capacity=32, allocated=20, unavailable=8
)
MASKED = PoolAccelerators(resource="tnt004", accelerator=None, capacity=4, allocated=1, unavailable=None)
KNOWN = Pool(
    project="vision",
    pool_id="pool-a",
    name="train",
    workspace_id="0",
    scope="Notebook,Train",
    type="Dedicate",
    status=PoolStatus.RUNNING,
    spec_nodes={"8a100": 4},
    nodes={("8a100", NodeState.AVAILABLE): 3, ("8a100", NodeState.ABNORMAL): 1},
    accelerators=(GPUS, MASKED),
    cpu_allocated_cores=211.5,
    cpu_capacity_cores=416.0,
    memory_allocated_bytes=1e9,
    memory_capacity_bytes=4e9,
    workloads={
        (WorkloadKind.TRAIN, WorkloadStatus.QUEUED): 0,
        (WorkloadKind.TRAIN, WorkloadStatus.RUNNING): 3,
        (WorkloadKind.NOTEBOOK, WorkloadStatus.RUNNING): 1,
    },
)
UNKNOWN = Pool(project="vision", pool_id="pool-b")


def samples_of(family: Family[Any], subject: object) -> Samples:
    assert family.samples is not None
    return [(dict(labels), value) for labels, value in family.samples(subject)]


@pytest.mark.parametrize(
    "family, expected",
    [
        pytest.param(
            pool.INFO,
            [({"pool_name": "train", "workspace_id": "0", "scope": "Notebook,Train", "type": "Dedicate"}, 1.0)],
            id="info",
        ),
        pytest.param(pool.STATUS, [({"status": "running"}, 1.0)], id="status"),
        pytest.param(pool.SPEC_NODES, [({"flavor": "8a100"}, 4.0)], id="spec nodes"),
        pytest.param(
            pool.NODES,
            [({"flavor": "8a100", "state": "abnormal"}, 1.0), ({"flavor": "8a100", "state": "available"}, 3.0)],
            id="nodes",
        ),
        pytest.param(
            pool.ACCELERATOR_CAPACITY,
            [
                ({"accelerator": "gpu", "resource": "nvidia.com/gpu"}, 32.0),
                ({"accelerator": "unknown", "resource": "tnt004"}, 4.0),
            ],
            id="capacity",
        ),
        pytest.param(
            pool.ACCELERATORS,  # 32 - 20 - 8 = 4 free; of the masked ones the free number is unknown
            [
                ({"accelerator": "gpu", "resource": "nvidia.com/gpu", "state": "allocated"}, 20.0),
                ({"accelerator": "gpu", "resource": "nvidia.com/gpu", "state": "free"}, 4.0),
                ({"accelerator": "gpu", "resource": "nvidia.com/gpu", "state": "unavailable"}, 8.0),
                ({"accelerator": "unknown", "resource": "tnt004", "state": "allocated"}, 1.0),
            ],
            id="accelerators",
        ),
        pytest.param(pool.CPU_ALLOCATED, [({}, 211.5)], id="cores allocated"),
        pytest.param(pool.CPU_CAPACITY, [({}, 416.0)], id="cores"),
        pytest.param(pool.MEMORY_ALLOCATED, [({}, 1e9)], id="memory allocated"),
        pytest.param(pool.MEMORY_CAPACITY, [({}, 4e9)], id="memory"),
        pytest.param(
            pool.WORKLOADS,
            [
                ({"kind": "notebook", "status": "running"}, 1.0),
                ({"kind": "train", "status": "queued"}, 0.0),
                ({"kind": "train", "status": "running"}, 3.0),
            ],
            id="workloads",
        ),
    ],
)
def test_a_pool_gives_these_samples(family: Family[Pool], expected: Samples) -> None:
    """Each fact of a pool gives its sample."""
    assert samples_of(family, KNOWN) == expected


@pytest.mark.parametrize("family", pool.FAMILIES, ids=lambda family: family.name)
def test_unknown_facts_have_no_samples(family: Family[Pool]) -> None:
    """A pool with only a known id has an info and no other sample, not even 0."""
    empty = [({"pool_name": "", "workspace_id": "", "scope": "", "type": ""}, 1.0)]

    assert samples_of(family, UNKNOWN) == (empty if family is pool.INFO else [])


@pytest.mark.parametrize("family", pool.FAMILIES, ids=lambda family: family.name)
def test_samples_match_the_declaration(family: Family[Pool]) -> None:
    """Label names, their order and their values are the declared ones, and no labels are repeated."""
    samples = samples_of(family, KNOWN)

    assert samples
    assert len({tuple(labels.items()) for labels, _ in samples}) == len(samples)
    for labels, _ in samples:
        assert list(labels) == [label.name for label in family.labels]
        for label in family.labels:
            assert not label.values or labels[label.name] in label.values


def test_the_declared_values_are_those_of_the_domain() -> None:
    """Every status, state and kind in the domain is a declared label value."""
    values = {label.name: set(label.values) for family in pool.FAMILIES for label in family.labels}

    assert set(PoolStatus) == set(pool.STATUS.labels[0].values)
    assert set(NodeState) == set(pool.NODES.labels[1].values)
    assert set(WorkloadKind) == values["kind"]
    assert set(WorkloadStatus) == set(pool.WORKLOADS.labels[1].values)


def test_quotas_by_resource() -> None:
    """A quota without a limit has only the used amount, and an unknown quota has no sample."""
    snapshot = ProjectSnapshot(
        project="vision",
        quotas={"pool": Quota(limit=15, used=4), "node": Quota(used=7), "network": Quota()},
    )

    assert samples_of(pool.QUOTA, snapshot) == [({"resource": "pool"}, 15.0)]
    assert samples_of(pool.QUOTA_USED, snapshot) == [({"resource": "node"}, 7.0), ({"resource": "pool"}, 4.0)]


def test_a_disabled_collector_is_not_failing() -> None:
    """A disabled collector has `enabled` 0, and no `up`, last success or duration."""
    off = CollectorState(name="pools", ok=False, enabled=False, last_success_at=5.0, duration_s=1.0)
    on = CollectorState(name="jobs", ok=True, last_success_at=5.0, duration_s=1.0)
    snapshot = ProjectSnapshot(project="vision", collectors=(on, off))

    assert samples_of(live.COLLECTOR_ENABLED, snapshot) == [
        ({"collector": "jobs"}, 1.0),
        ({"collector": "pools"}, 0.0),
    ]
    for family in (live.COLLECTOR_UP, live.COLLECTOR_LAST_SUCCESS, live.COLLECTOR_DURATION):
        assert [labels for labels, _ in samples_of(family, snapshot)] == [{"collector": "jobs"}]


def test_pools_have_project_and_pool_id() -> None:
    """Identity labels come first; pools with the same id in two projects have separate series."""
    renderer = Renderer((), (), pool_families=pool.FAMILIES)
    projects = tuple(
        ProjectSnapshot(project=name, pools={"pool-a": replace(KNOWN, project=name)}) for name in ("vision", "speech")
    )

    rendered = renderer.render(Snapshot(taken_at=0.0, projects=projects))

    text = rendered.text.decode()
    assert 'modelarts_pool_status{project="vision",pool_id="pool-a",status="running"} 1\n' in text
    assert 'modelarts_pool_status{project="speech",pool_id="pool-a",status="running"} 1\n' in text
    assert rendered.series == {"vision": 18, "speech": 18}
    assert rendered.failed == 0


def test_withdrawn_pools_have_no_series() -> None:
    """Unknown pools (None) and an empty list of pools both render, without series."""
    renderer = Renderer((), (), pool_families=pool.FAMILIES)

    for pools in ({"pool-a": KNOWN}, None, {}):
        snapshot = ProjectSnapshot(project="vision", pools=pools)
        rendered = renderer.render(Snapshot(taken_at=0.0, projects=(snapshot,)))
        assert bool(rendered.text) == bool(pools)


def test_pools_are_never_dropped_for_the_limit() -> None:
    """Series of pools count towards the limit like aggregates: jobs are dropped, and pools are not."""
    jobs = {
        f"j{n}": TrackedJob(project="vision", job=Job(job_id=f"j{n}", api=Api.V2, submitted_at=float(n)))
        for n in range(10)
    }
    snapshot = ProjectSnapshot(project="vision", jobs=jobs, pools={"pool-a": KNOWN})
    limited = Renderer(JOB_FAMILIES, PROJECT_FAMILIES, pool_families=pool.FAMILIES, max_series_per_project=50).render(
        Snapshot(taken_at=0.0, projects=(snapshot,))
    )

    assert limited.text.decode().count("modelarts_pool_accelerators{") == 4
    assert limited.series["vision"] <= 50
    assert limited.dropped["vision"] > 0
