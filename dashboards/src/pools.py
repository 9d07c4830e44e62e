"""Pools: accelerators and nodes of dedicated pools by state, their workloads, and quotas."""

from . import annotation, link, palette
from .board import Board, Row
from .palette import NEUTRAL, ZERO_IS_GOOD, Thresholds
from .panel import Column, PanelOptions, Query, stat_panel, table_panel, time_series_panel
from .promql import PROJECT, Scope, vocabulary
from .variable import variables

SCOPE = Scope(frozenset({"project", "pool"}))

POOL = "cluster, project, pool_id"
ACCELERATORS = "modelarts_pool_accelerators"
STATUS = "modelarts_pool_status"

INFO = SCOPE.dedup("modelarts_pool_info", "pool_name")
CAPACITY = SCOPE.dedup("modelarts_pool_accelerator_capacity", "accelerator", "resource")
QUEUED = (
    SCOPE.dedup("modelarts_training_accelerators", "pool_id", "accelerator", "state", state="queued")
    + f"\nand on ({POOL})\n{SCOPE.selector('modelarts_pool_info')}"
)
"""Accelerators that queued training jobs request in dedicated pools, without the public pool."""
NODES = SCOPE.dedup("modelarts_pool_nodes", "flavor", "state")
WORKLOADS = SCOPE.dedup("modelarts_pool_workloads", "kind", "status")
ACTIVE = ("queued", "pending", "creating", "running", "terminating", "abnormal")
"""Statuses of workloads that have not finished."""
ALLOCATED_SHARE = Thresholds(palette.GREEN, ((0.8, palette.YELLOW), (0.95, palette.RED)))
"""Thresholds for the allocated share of a resource."""


def _accelerators(state: str) -> str:
    return SCOPE.dedup(ACCELERATORS, "accelerator", "resource", "state", state=state)


def _allocated(what: str, unit: str) -> str:
    """Return the reserved share of the cores or memory of each pool."""
    return (
        f"{SCOPE.dedup(f'modelarts_pool_{what}_allocated_{unit}')}\n/\n"
        f"({SCOPE.dedup(f'modelarts_pool_{what}_capacity_{unit}')} > 0)"
    )


def _join_pool_name(expr: str) -> str:
    """Add the label pool_name, for legends."""
    return f"({expr})\n* on ({POOL}) group_left (pool_name)\n{INFO}"


ACCELERATOR_SHARE = f"sum by ({POOL}) ({_accelerators('allocated')})\n/\n(sum by ({POOL}) ({CAPACITY}) > 0)"
LEGEND = "{{project}} {{pool_name}}"

NOW = Row(
    "Now",
    (
        stat_panel(
            PanelOptions(
                title="Dedicated pools",
                description="Dedicated pools with current data. If there are none although the collector is "
                "enabled, the project has none. The public pool is not on this board.",
                unit="none",
                width=3,
                height=4,
                no_value="none",
            ),
            Query(f"count({SCOPE.dedup('modelarts_pool_info')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Disabled collectors",
                description="Projects for which the API rejects the listing of pools: the operation does not exist, "
                "or the exporter's user lacks a permission. Their pools are missing here. This is not a failure; "
                "the exporter tries again every hour. The table at the end shows the projects.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.YELLOW),)),
                no_value="no poll yet",
            ),
            Query(f"sum(1 - {SCOPE.dedup('modelarts_collector_enabled', 'collector', collector='pools')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Pools not running",
                description="Pools with a status other than running.",
                unit="none",
                width=3,
                height=4,
                thresholds=ZERO_IS_GOOD,
                no_value="none",
            ),
            Query(
                "count("
                + SCOPE.dedup(STATUS, "status", status=vocabulary(STATUS, "status", without=("running",)))
                + f")\nor\n0 * count({SCOPE.dedup('modelarts_pool_info')})"
            ),
        ),
        stat_panel(
            PanelOptions(
                title="Abnormal nodes",
                description="Nodes that accept no new workload, in all pools.",
                unit="none",
                width=3,
                height=4,
                thresholds=ZERO_IS_GOOD,
                no_value="none",
            ),
            Query(
                f"sum({SCOPE.dedup('modelarts_pool_nodes', 'flavor', 'state', state='abnormal')})\nor\n"
                f"0 * count({SCOPE.dedup('modelarts_pool_info')})"
            ),
        ),
        stat_panel(
            PanelOptions(
                title="Accelerators",
                description="GPUs and NPUs on all existing nodes, including abnormal nodes.",
                unit="none",
                width=3,
                height=4,
                decimals=0,
                no_value="none",
            ),
            Query(f"sum({CAPACITY})"),
        ),
        stat_panel(
            PanelOptions(
                title="Allocated share",
                description="Share of the accelerators that is allocated to workloads of any kind. Yellow from 80 "
                "%, red from 95 %: new workloads have to wait.",
                unit="percentunit",
                width=3,
                height=4,
                thresholds=ALLOCATED_SHARE,
                decimals=0,
                no_value="unknown",
            ),
            Query(f"sum({_accelerators('allocated')})\n/\n(sum({CAPACITY}) > 0)"),
        ),
        stat_panel(
            PanelOptions(
                title="Free",
                description="Free accelerators over all pools. A job needs all its accelerators in one pool, and "
                "enough on each node. Pools with an unknown number of accelerators on an abnormal node are excluded.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.RED, ((1, palette.YELLOW), (8, palette.GREEN))),
                decimals=0,
                no_value="unknown",
            ),
            Query(f"sum({_accelerators('free')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Unavailable",
                description="Accelerators on abnormal nodes that are not allocated. They are paid for and cannot be "
                "used.",
                unit="none",
                width=3,
                height=4,
                thresholds=ZERO_IS_GOOD,
                decimals=0,
                no_value="unknown",
            ),
            Query(f"sum({_accelerators('unavailable')})"),
        ),
    ),
)

TIME = Row(
    "Allocation and capacity",
    (
        time_series_panel(
            PanelOptions(
                title="Accelerators by state",
                description="Accelerators of the selected pools by state, stacked; the dashed line is the capacity. "
                "A gap below the line: the free accelerators of a pool are unknown.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                no_value="no accelerators",
            ),
            Query(
                "sum by (state) (" + SCOPE.dedup(ACCELERATORS, "accelerator", "resource", "state") + ")", "{{state}}"
            ),
            Query(f"sum({CAPACITY})", "capacity"),
            stacked=True,
            dashed="/^capacity$/",
            colours={**palette.POOL_STATES, "capacity": palette.GREY},
        ),
        time_series_panel(
            PanelOptions(
                title="Queued and free accelerators",
                description="Accelerators that queued training jobs request in the selected pools (dashed), and "
                "free accelerators. Both high for a long time: the free accelerators do not fit the jobs, or the "
                "queue is blocked. Queued high, free low: the pools are full.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                no_value="no accelerators",
            ),
            Query(f"sum({_accelerators('free')})", "free"),
            Query(f"sum({QUEUED})", "queued"),
            dashed="/^queued$/",
            colours=palette.POOL_STATES,
        ),
        time_series_panel(
            PanelOptions(
                title="Allocated share by pool",
                description="Share of the accelerators of each pool that is allocated, the ten highest at each "
                "point. A pool that is never full is larger than necessary; in a pool that is always full, jobs "
                "wait.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=ALLOCATED_SHARE,
                decimals=0,
                no_value="unknown",
            ),
            Query(f"topk(10, {_join_pool_name(ACCELERATOR_SHARE)})", LEGEND),
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Nodes by state",
                description="Nodes of the selected pools by state, stacked; the dashed line is the requested "
                "number. A gap below the line: nodes are missing or not created yet.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                no_value="no nodes",
            ),
            Query(f"sum by (state) ({NODES})", "{{state}}"),
            Query(f"sum({SCOPE.dedup('modelarts_pool_spec_nodes', 'flavor')})", "requested"),
            stacked=True,
            dashed="/^requested$/",
            colours={**palette.POOL_STATES, "requested": palette.GREY},
        ),
        time_series_panel(
            PanelOptions(
                title="CPU allocated by pool",
                description="Share of the CPU cores of each pool that workloads reserve, the ten highest. If it is "
                "full while accelerators are free, notebooks or data processing block training jobs.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=ALLOCATED_SHARE,
                decimals=0,
                no_value="unknown",
            ),
            Query(f"topk(10, {_join_pool_name(_allocated('cpu', 'cores'))})", LEGEND),
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Memory allocated by pool",
                description="Share of the main memory of each pool that workloads reserve, the ten highest.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=ALLOCATED_SHARE,
                decimals=0,
                no_value="unknown",
            ),
            Query(f"topk(10, {_join_pool_name(_allocated('memory', 'bytes'))})", LEGEND),
            zero_to_one=True,
        ),
    ),
)

WORKLOAD_ROW = Row(
    "Workloads",
    (
        time_series_panel(
            PanelOptions(
                title="Workloads by kind",
                description="Active workloads in the selected pools by kind, training and others, including those "
                "of other projects that share the pool.",
                unit="none",
                width=12,
                height=8,
                decimals=0,
                no_value="no workloads",
            ),
            Query(
                f"sum by (kind) ({SCOPE.dedup('modelarts_pool_workloads', 'kind', 'status', status=ACTIVE)})",
                "{{kind}}",
            ),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Workloads by status",
                description="Active workloads in the selected pools by the status that the pool reports. Queued "
                "workloads wait; pending workloads are being scheduled. Many pending workloads for a long time: no "
                "node fits them.",
                unit="none",
                width=12,
                height=8,
                decimals=0,
                no_value="no workloads",
            ),
            Query(
                f"sum by (status) ({SCOPE.dedup('modelarts_pool_workloads', 'kind', 'status', status=ACTIVE)})",
                "{{status}}",
            ),
            stacked=True,
            colours={
                "queued": palette.YELLOW,
                "pending": "light-yellow",
                "creating": "light-blue",
                "running": palette.GREEN,
                "terminating": palette.ORANGE,
                "abnormal": palette.RED,
            },
        ),
    ),
)


def _by_pool(expr: str) -> str:
    return f"sum by ({POOL}) ({expr})"


POOL_TABLES = Row(
    "By pool",
    (
        table_panel(
            PanelOptions(
                title="Pools",
                description="Each pool: its nodes, its accelerators by state, and the accelerators that queued jobs "
                "request. Queued above free: the jobs cannot start. Queued below free: the jobs do not fit on the "
                "nodes.",
                unit="none",
                width=24,
                height=9,
            ),
            {
                "A": SCOPE.dedup("modelarts_pool_info", "pool_name", "type", "scope"),
                "B": _by_pool(SCOPE.dedup("modelarts_pool_spec_nodes", "flavor")),
                "C": _by_pool(SCOPE.dedup("modelarts_pool_nodes", "flavor", "state", state="available")),
                "D": _by_pool(SCOPE.dedup("modelarts_pool_nodes", "flavor", "state", state="abnormal")),
                "E": _by_pool(CAPACITY),
                "F": _by_pool(_accelerators("allocated")),
                "G": _by_pool(_accelerators("free")),
                "H": _by_pool(_accelerators("unavailable")),
                "I": _by_pool(QUEUED),
                "J": ACCELERATOR_SHARE,
                "K": _allocated("cpu", "cores"),
                "L": _allocated("memory", "bytes"),
                "M": SCOPE.dedup(STATUS, "status"),
            },
            (
                Column(title="Pool", label="pool_name"),
                Column(title="ID", label="pool_id"),
                Column(title="Project", label="project"),
                Column(title="Status", label="status"),
                Column(title="Type", label="type"),
                Column(title="Scope", label="scope"),
                Column(title="Requested nodes", value="B", unit="none"),
                Column(title="Available", value="C", unit="none"),
                Column(title="Abnormal", value="D", unit="none", thresholds=ZERO_IS_GOOD),
                Column(title="Accelerators", value="E", unit="none", decimals=0),
                Column(title="Allocated", value="F", unit="none", decimals=0),
                Column(title="Free", value="G", unit="none", decimals=0, thresholds=NEUTRAL),
                Column(title="Unavailable", value="H", unit="none", decimals=0, thresholds=ZERO_IS_GOOD),
                Column(title="Queued", value="I", unit="none", decimals=0),
                Column(title="Share", value="J", unit="percentunit", decimals=0, thresholds=ALLOCATED_SHARE),
                Column(title="CPU", value="K", unit="percentunit", decimals=0, thresholds=ALLOCATED_SHARE),
                Column(title="Memory", value="L", unit="percentunit", decimals=0, thresholds=ALLOCATED_SHARE),
            ),
            sort_by="Share",
            drop=("cluster",),
        ),
        table_panel(
            PanelOptions(
                title="Nodes by flavor",
                description="Nodes of each pool by flavor and state. Fewer available than requested: nodes are "
                "being created, being repaired, or missing.",
                unit="none",
                width=12,
                height=8,
            ),
            {
                "A": SCOPE.dedup("modelarts_pool_spec_nodes", "flavor"),
                **{
                    letter: f"sum by ({POOL}, flavor) ("
                    + SCOPE.dedup("modelarts_pool_nodes", "flavor", "state", state=state)
                    + ")"
                    for letter, state in zip("BCDE", vocabulary("modelarts_pool_nodes", "state"), strict=True)
                },
            },
            (
                Column(title="Project", label="project"),
                Column(title="Pool", label="pool_id"),
                Column(title="Flavor", label="flavor"),
                Column(title="Requested", value="A", unit="none"),
                *(
                    Column(
                        title=state.capitalize(),
                        value=letter,
                        unit="none",
                        thresholds=ZERO_IS_GOOD if state == "abnormal" else None,
                    )
                    for letter, state in zip("BCDE", vocabulary("modelarts_pool_nodes", "state"), strict=True)
                ),
            ),
            sort_by="Requested",
            drop=("cluster",),
        ),
        table_panel(
            PanelOptions(
                title="Workloads by pool",
                description="Workloads of each pool by kind and status, as the pool reports them. Finished "
                "workloads are included while the API still counts them.",
                unit="none",
                width=12,
                height=8,
            ),
            {"A": f"{WORKLOADS} > 0"},
            (
                Column(title="Project", label="project"),
                Column(title="Pool", label="pool_id"),
                Column(title="Kind", label="kind"),
                Column(title="Status", label="status"),
                Column(title="Workloads", value="A", unit="none", thresholds=NEUTRAL),
            ),
            sort_by="Workloads",
            drop=("cluster",),
        ),
    ),
)

QUOTAS = Row(
    "Quotas and collector",
    (
        table_panel(
            PanelOptions(
                title="Quotas",
                description="Quota and usage of each project, as the API reports them. At the quota, new requests "
                "are rejected. No quota: there is no limit, or the API does not report it.",
                unit="none",
                width=12,
                height=8,
            ),
            {
                "A": SCOPE.dedup("modelarts_quota_used", "resource"),
                "B": SCOPE.dedup("modelarts_quota", "resource"),
                "C": f"{SCOPE.dedup('modelarts_quota_used', 'resource')}\n/\n"
                f"({SCOPE.dedup('modelarts_quota', 'resource')} > 0)",
            },
            (
                Column(title="Project", label="project"),
                Column(title="Resource", label="resource"),
                Column(title="Used", value="A", unit="none"),
                Column(title="Quota", value="B", unit="none"),
                Column(title="Share", value="C", unit="percentunit", decimals=0, thresholds=ALLOCATED_SHARE),
            ),
            sort_by="Share",
            drop=("cluster",),
        ),
        table_panel(
            PanelOptions(
                title="Pools collector",
                description="Each project: whether the pools collector is enabled, whether its newest poll "
                "succeeded, and the time since the last successful poll. Disabled: the API rejects the calls, so "
                "pools and quotas have no series; the exporter tries again every hour.",
                unit="none",
                width=12,
                height=8,
            ),
            {
                "A": SCOPE.dedup("modelarts_collector_enabled", "collector", collector="pools"),
                "B": SCOPE.dedup("modelarts_collector_up", "collector", collector="pools"),
                "C": "time() - "
                + SCOPE.dedup("modelarts_collector_last_success_timestamp_seconds", "collector", collector="pools"),
                "D": f"count by ({PROJECT}) ({SCOPE.dedup('modelarts_pool_info')})",
            },
            (
                Column(title="Project", label="project"),
                Column(
                    title="Collector",
                    value="A",
                    mappings=palette.value_mappings({1: ("enabled", palette.GREEN), 0: ("DISABLED", palette.YELLOW)}),
                ),
                Column(
                    title="Newest poll",
                    value="B",
                    mappings=palette.value_mappings({1: ("ok", palette.GREEN), 0: ("FAILED", palette.RED)}),
                ),
                Column(title="Since last success", value="C", unit="s", decimals=0, thresholds=palette.AGE_S),
                Column(title="Pools", value="D", unit="none"),
            ),
            sort_by="Project",
            descending=False,
            drop=("cluster", "collector"),
        ),
    ),
)

BOARD = Board(
    uid=link.POOLS,
    title="ModelArts / Pools",
    description="Accelerators and nodes of dedicated pools by state, their workloads, and quotas.",
    variables=variables(SCOPE, dedicated=True),
    rows=(NOW, TIME, WORKLOAD_ROW, POOL_TABLES, QUOTAS),
    annotations=(annotation.failures(SCOPE),),
)
