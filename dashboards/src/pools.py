"""Pools: what dedicated pools have, what of it is allocated, free and broken, what runs in them, and the quotas."""

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
"""Accelerators that queued training jobs ask for in front of dedicated pools, not the public one."""
NODES = SCOPE.dedup("modelarts_pool_nodes", "flavor", "state")
WORKLOADS = SCOPE.dedup("modelarts_pool_workloads", "kind", "status")
PRESENT = ("queued", "pending", "creating", "running", "terminating", "abnormal")
"""Statuses of workloads that are not over."""
FULL = Thresholds(palette.GREEN, ((0.8, palette.YELLOW), (0.95, palette.RED)))
"""Which part of what there is is taken."""


def _cards(state: str) -> str:
    return SCOPE.dedup(ACCELERATORS, "accelerator", "resource", "state", state=state)


def _allocated(what: str, unit: str) -> str:
    """Which part of a pool's cores or memory is reserved, by pool."""
    return (
        f"{SCOPE.dedup(f'modelarts_pool_{what}_allocated_{unit}')}\n/\n"
        f"({SCOPE.dedup(f'modelarts_pool_{what}_capacity_{unit}')} > 0)"
    )


def _told(expr: str) -> str:
    """Add the name of the pool, for legends."""
    return f"({expr})\n* on ({POOL}) group_left (pool_name)\n{INFO}"


CARDS_SHARE = f"sum by ({POOL}) ({_cards('allocated')})\n/\n(sum by ({POOL}) ({CAPACITY}) > 0)"
LEGEND = "{{project}} {{pool_name}}"

NOW = Row(
    "Now",
    (
        stat_panel(
            PanelOptions(
                title="Pools seen",
                description="Dedicated pools of which there is fresh data. None, and the collector is on: the project has "
                "none. The public pool belongs to nobody and is on no panel of this board.",
                unit="none",
                width=3,
                height=4,
                no_value="none",
            ),
            Query(f"count({SCOPE.dedup('modelarts_pool_info')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Collectors off",
                description="Projects of which the API refuses to list pools: no such call there, or no permission for the "
                "exporter's user. Their pools are missing here, which is no failure; the exporter asks again every "
                "hour. The table at the end says which projects.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.YELLOW),)),
                no_value="not asked yet",
            ),
            Query(f"sum(1 - {SCOPE.dedup('modelarts_collector_enabled', 'collector', collector='pools')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Pools in trouble",
                description="Pools in any other status than running.",
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
                title="Nodes abnormal",
                description="Nodes that take no new workload, in all pools. What runs on them goes on, or has gone.",
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
                description="GPUs and NPUs on all nodes that are there, those of abnormal nodes included.",
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
                title="Allocated",
                description="Which part of the accelerators is allocated to workloads of any kind. Yellow from 80 %, red "
                "from 95 %: what comes now waits.",
                unit="percentunit",
                width=3,
                height=4,
                thresholds=FULL,
                decimals=0,
                no_value="unknown",
            ),
            Query(f"sum({_cards('allocated')})\n/\n(sum({CAPACITY}) > 0)"),
        ),
        stat_panel(
            PanelOptions(
                title="Free",
                description="Accelerators that a workload could take now, over all pools: a job still needs them in one "
                "pool, and enough on each node. Pools of which nothing tells how many an abnormal node has are left "
                "out.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.RED, ((1, palette.YELLOW), (8, palette.GREEN))),
                decimals=0,
                no_value="unknown",
            ),
            Query(f"sum({_cards('free')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Unavailable",
                description="Accelerators on abnormal nodes that are not allocated: paid for, and of no use.",
                unit="none",
                width=3,
                height=4,
                thresholds=ZERO_IS_GOOD,
                decimals=0,
                no_value="unknown",
            ),
            Query(f"sum({_cards('unavailable')})"),
        ),
    ),
)

TIME = Row(
    "Allocation against capacity",
    (
        time_series_panel(
            PanelOptions(
                title="Accelerators by state",
                description="All accelerators of the chosen pools by what can be done with them, stacked; the dashed line "
                "is their capacity. A gap below it: nothing tells what is free in some pool.",
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
                title="Queued demand against free",
                description="Accelerators that queued training jobs ask for in front of the chosen pools (dashed), and "
                "what is free in them. Both high for long: what is free does not fit what waits, or something "
                "blocks the queue; queued without free: the pools are full.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                no_value="no accelerators",
            ),
            Query(f"sum({_cards('free')})", "free"),
            Query(f"sum({QUEUED})", "queued"),
            dashed="/^queued$/",
            colours=palette.POOL_STATES,
        ),
        time_series_panel(
            PanelOptions(
                title="Allocated share by pool",
                description="Which part of each pool's accelerators is allocated, the ten fullest at each moment. A pool "
                "that is never full is larger than it need be; one that always is makes people wait.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=FULL,
                decimals=0,
                no_value="unknown",
            ),
            Query(f"topk(10, {_told(CARDS_SHARE)})", LEGEND),
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Nodes by state",
                description="Nodes of the chosen pools by state, stacked; the dashed line is how many there should be. "
                "Below it: nodes are missing, or still to come.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                no_value="no nodes",
            ),
            Query(f"sum by (state) ({NODES})", "{{state}}"),
            Query(f"sum({SCOPE.dedup('modelarts_pool_spec_nodes', 'flavor')})", "asked for"),
            stacked=True,
            dashed="/^asked for$/",
            colours={**palette.POOL_STATES, "asked for": palette.GREY},
        ),
        time_series_panel(
            PanelOptions(
                title="CPU allocated by pool",
                description="Which part of each pool's cores is reserved by workloads, used or not, the ten fullest. Full "
                "while accelerators are free: notebooks or data work keep training out.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=FULL,
                decimals=0,
                no_value="unknown",
            ),
            Query(f"topk(10, {_told(_allocated('cpu', 'cores'))})", LEGEND),
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Memory allocated by pool",
                description="Which part of each pool's main memory is reserved by workloads, used or not, the ten fullest.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=FULL,
                decimals=0,
                no_value="unknown",
            ),
            Query(f"topk(10, {_told(_allocated('memory', 'bytes'))})", LEGEND),
            zero_to_one=True,
        ),
    ),
)

WORK = Row(
    "Workloads",
    (
        time_series_panel(
            PanelOptions(
                title="Workloads by kind",
                description="Workloads in the chosen pools that are not over, by kind: training is not alone there. What "
                "everybody runs, also of other projects that share the pool.",
                unit="none",
                width=12,
                height=8,
                decimals=0,
                no_value="no workloads",
            ),
            Query(
                f"sum by (kind) ({SCOPE.dedup('modelarts_pool_workloads', 'kind', 'status', status=PRESENT)})",
                "{{kind}}",
            ),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Workloads by status",
                description="Workloads in the chosen pools that are not over, by the pool's own word. Queued ones wait, "
                "pending ones are being scheduled: many pending ones for long do not find a node.",
                unit="none",
                width=12,
                height=8,
                decimals=0,
                no_value="no workloads",
            ),
            Query(
                f"sum by (status) ({SCOPE.dedup('modelarts_pool_workloads', 'kind', 'status', status=PRESENT)})",
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


EACH = Row(
    "Each pool",
    (
        table_panel(
            PanelOptions(
                title="Dedicated pools",
                description="Each pool: its nodes, its accelerators by what can be done with them, the queue in front of "
                "it, and what else fills it. Queued above free: what waits cannot start; queued below free: it does "
                "not fit on the nodes.",
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
                "F": _by_pool(_cards("allocated")),
                "G": _by_pool(_cards("free")),
                "H": _by_pool(_cards("unavailable")),
                "I": _by_pool(QUEUED),
                "J": CARDS_SHARE,
                "K": _allocated("cpu", "cores"),
                "L": _allocated("memory", "bytes"),
                "M": SCOPE.dedup(STATUS, "status"),
            },
            (
                Column(title="Pool", label="pool_name"),
                Column(title="Id", label="pool_id"),
                Column(title="Project", label="project"),
                Column(title="Status", label="status"),
                Column(title="Type", label="type"),
                Column(title="Takes", label="scope"),
                Column(title="Nodes asked", value="B", unit="none"),
                Column(title="Available", value="C", unit="none"),
                Column(title="Abnormal", value="D", unit="none", thresholds=ZERO_IS_GOOD),
                Column(title="Accelerators", value="E", unit="none", decimals=0),
                Column(title="Allocated", value="F", unit="none", decimals=0),
                Column(title="Free", value="G", unit="none", decimals=0, thresholds=NEUTRAL),
                Column(title="Unavailable", value="H", unit="none", decimals=0, thresholds=ZERO_IS_GOOD),
                Column(title="Queued", value="I", unit="none", decimals=0),
                Column(title="Share", value="J", unit="percentunit", decimals=0, thresholds=FULL),
                Column(title="CPU", value="K", unit="percentunit", decimals=0, thresholds=FULL),
                Column(title="Memory", value="L", unit="percentunit", decimals=0, thresholds=FULL),
            ),
            sort_by="Share",
            drop=("cluster",),
        ),
        table_panel(
            PanelOptions(
                title="Nodes by flavor",
                description="Nodes of each pool by flavor and state. Available below asked for: they are being created, "
                "repaired or missing.",
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
                Column(title="Asked", value="A", unit="none"),
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
            sort_by="Asked",
            drop=("cluster",),
        ),
        table_panel(
            PanelOptions(
                title="Workloads in each pool",
                description="How many workloads each pool has by kind and status, in the pool's own words; those that are "
                "over included, as far as the cloud still counts them.",
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

LIMITS = Row(
    "Quotas, and whether pools are seen",
    (
        table_panel(
            PanelOptions(
                title="Quotas",
                description="What each project may have and has, by the cloud's own count. At the quota, what is new is "
                "refused. No quota: the cloud sets no limit, or does not say.",
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
                Column(title="Share", value="C", unit="percentunit", decimals=0, thresholds=FULL),
            ),
            sort_by="Share",
            drop=("cluster",),
        ),
        table_panel(
            PanelOptions(
                title="Are pools seen?",
                description="Each project: whether its pools are asked for, whether the newest poll of them succeeded, and "
                "when one last did. Off: the API refuses the calls, so pools and quotas have no series; asked again "
                "every hour.",
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
                    mappings=palette.value_mappings({1: ("on", palette.GREEN), 0: ("OFF: refused", palette.YELLOW)}),
                ),
                Column(
                    title="Newest poll",
                    value="B",
                    mappings=palette.value_mappings({1: ("good", palette.GREEN), 0: ("FAILED", palette.RED)}),
                ),
                Column(title="Last success", value="C", unit="s", decimals=0, thresholds=palette.AGE_S),
                Column(title="Pools seen", value="D", unit="none"),
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
    description="What dedicated pools have, what of it is allocated, free and broken, what runs in them, and the quotas.",
    variables=variables(SCOPE, dedicated=True),
    rows=(NOW, TIME, WORK, EACH, LIMITS),
    annotations=(annotation.failures(SCOPE),),
)
