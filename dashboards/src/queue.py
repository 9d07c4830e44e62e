"""Queue: queued jobs by pool, queue times against an objective, and run times."""

from . import annotation, link, palette
from .board import Board, Row
from .palette import NEUTRAL, WAIT_S, Thresholds
from .panel import JOB_COLUMNS, Column, PanelOptions, Query, heatmap_panel, stat_panel, table_panel, time_series_panel
from .promql import JOB, Scope, name_public_pool, vocabulary
from .variable import custom_variable, variables

SCOPE = Scope(frozenset({"project", "pool"}))

QUEUE_S = "modelarts_training_queue_duration_seconds"
RUN_S = "modelarts_training_run_duration_seconds"
POOL = "cluster, project, pool_id"

QUEUED_JOBS = SCOPE.dedup("modelarts_training_jobs", "pool_id", "status", status="queued")
QUEUED = SCOPE.dedup("modelarts_training_accelerators", "pool_id", "accelerator", "state", state="queued")
HELD = SCOPE.dedup("modelarts_training_accelerators", "pool_id", "accelerator", "state", state="held")
OLDEST_QUEUE_TIME = f"(time() - {SCOPE.dedup('modelarts_training_oldest_queued_timestamp_seconds', 'pool_id')})"
QUEUE_TIME = f"(time() - {SCOPE.dedup('modelarts_training_job_waiting_since_timestamp_seconds')})"
QUEUED_TIME = SCOPE.in_status(QUEUE_TIME, "queued")
LATE = f"({QUEUE_TIME} > $objective)"
LATE_SHARE = Thresholds(palette.GREEN, ((0.05, palette.YELLOW), (0.2, palette.RED)))


def _quantile(quantile: float, histogram: str, *by: str, over: str) -> str:
    """Return a quantile of the observations within a time; absent without observations."""
    labels = ("pool_id", "status") if histogram == RUN_S else ("pool_id",)
    grown = SCOPE.increase(f"{histogram}_bucket", *labels, "le", over=over)
    return f"histogram_quantile({quantile}, sum by ({', '.join(('le', *by))}) ({grown})) > 0"


def _started(over: str, *, by: str = "") -> str:
    """Count the jobs that started for the first time within a time."""
    return f"sum{by} ({SCOPE.increase(f'{QUEUE_S}_count', 'pool_id', over=over)})"


def _late_share(over: str, *, by: str = "") -> str:
    """Return the share of started jobs whose queue time exceeded the objective."""
    in_time = SCOPE.increase(f"{QUEUE_S}_bucket", "pool_id", "le", over=over, le=("$objective", "$objective.0"))
    return f"clamp_min(1 -\nsum{by} ({in_time})\n/\n({_started(over, by=by)} > 0), 0)"


def _increase_1h(counter: str) -> str:
    """Return the increase of a counter in the hour before each point."""
    return f"sum({SCOPE.increase(counter, 'pool_id', over='1h')})"


def _by_pool(expr: str) -> str:
    """Sum by project and pool. The public pool is renamed after the sum, so that no series are merged."""
    return name_public_pool(f"sum by ({POOL}) ({expr})")


NOW = Row(
    "Now",
    (
        stat_panel(
            PanelOptions(
                title="Queued jobs",
                description="Jobs that are queued now, including jobs hidden by a filter of the exporter.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.BLUE, ((50, palette.YELLOW), (200, palette.ORANGE))),
            ),
            Query(f"sum({QUEUED_JOBS})"),
        ),
        stat_panel(
            PanelOptions(
                title="Accelerators queued",
                description="GPUs and NPUs that queued jobs request.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.BLUE, ((1, palette.YELLOW),)),
            ),
            Query(SCOPE.or_zero(f"sum({QUEUED})")),
        ),
        stat_panel(
            PanelOptions(
                title="Oldest queued",
                description="Queue time of the job that has been queued longest. Yellow from half an hour, orange "
                "from two hours, red from a day.",
                unit="s",
                width=3,
                height=4,
                thresholds=WAIT_S,
                decimals=1,
                no_value="no queued jobs",
            ),
            Query(f"max({OLDEST_QUEUE_TIME})"),
        ),
        stat_panel(
            PanelOptions(
                title="Beyond objective",
                description="Queued jobs whose queue time already exceeds the objective selected above. They will "
                "count as late starts; the table below lists them.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE), (20, palette.RED))),
            ),
            Query(SCOPE.or_zero(f"count({SCOPE.in_status(SCOPE.select_jobs(LATE), 'queued')})")),
        ),
        stat_panel(
            PanelOptions(
                title="Started jobs",
                description="Jobs that started for the first time in the selected time range, while the exporter "
                "was running.",
                unit="none",
                width=3,
                height=4,
                decimals=0,
                thresholds=Thresholds(palette.GREEN),
            ),
            Query(_started("$__range")),
        ),
        stat_panel(
            PanelOptions(
                title="Queue time p50",
                description="Half of the jobs that started in the selected time range had a shorter queue time. "
                "Jobs that are still queued do not count. An estimate from the buckets of the histogram.",
                unit="s",
                width=3,
                height=4,
                thresholds=WAIT_S,
                decimals=1,
                no_value="none started",
            ),
            Query(_quantile(0.5, QUEUE_S, over="$__range")),
        ),
        stat_panel(
            PanelOptions(
                title="Queue time p90",
                description="90 % of the jobs that started in the selected time range had a shorter queue time. If "
                "it is far above p50, some pool or some size of job waits much longer than the rest.",
                unit="s",
                width=3,
                height=4,
                thresholds=WAIT_S,
                decimals=1,
                no_value="none started",
            ),
            Query(_quantile(0.9, QUEUE_S, over="$__range")),
        ),
        stat_panel(
            PanelOptions(
                title="Late starts",
                description="Share of the jobs that started in the selected time range whose queue time exceeded "
                "the objective selected above.",
                unit="percentunit",
                width=3,
                height=4,
                thresholds=LATE_SHARE,
                decimals=0,
                no_value="none started",
            ),
            Query(_late_share("$__range")),
        ),
    ),
)

TIME = Row(
    "Over time",
    (
        time_series_panel(
            PanelOptions(
                title="Queued jobs by pool",
                description="Queued jobs by pool, the ten longest queues at each point; `public` is the public pool.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                no_value="no queued jobs",
            ),
            Query(f"topk(10, {_by_pool(QUEUED_JOBS)} > 0)", "{{project}} {{pool_id}}"),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Accelerators queued by pool",
                description="GPUs and NPUs that queued jobs request, the ten highest pools at each point. Few jobs "
                "and many accelerators: large jobs wait for free nodes.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                no_value="none requested",
            ),
            Query(f"topk(10, {_by_pool(QUEUED)} > 0)", "{{project}} {{pool_id}}"),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Oldest queued by pool",
                description="Queue time of the oldest job of each pool, the ten oldest at each point. A line that "
                "rises steadily: this job does not fit, or no job starts. A saw-tooth is a queue that moves.",
                unit="s",
                width=8,
                height=8,
                thresholds=WAIT_S,
                decimals=1,
                no_value="no queued jobs",
            ),
            Query(f"topk(10, {name_public_pool(OLDEST_QUEUE_TIME)})", "{{project}} {{pool_id}}"),
        ),
        time_series_panel(
            PanelOptions(
                title="Submitted / started (1 h)",
                description="Jobs submitted and jobs started in the hour before each point. More submitted than "
                "started: the queue grows.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
            ),
            Query(_increase_1h("modelarts_training_jobs_submitted_total"), "submitted"),
            Query(_increase_1h("modelarts_training_jobs_started_total"), "started"),
            colours={"submitted": palette.YELLOW, "started": palette.GREEN},
        ),
        time_series_panel(
            PanelOptions(
                title="Queue time p50 / p90 (1 h)",
                description="Queue time p50 and p90 of the jobs that started in the hour before each point. Empty "
                "where no job started.",
                unit="s",
                width=8,
                height=8,
                thresholds=WAIT_S,
                decimals=1,
                no_value="none started",
            ),
            Query(_quantile(0.5, QUEUE_S, over="1h"), "p50"),
            Query(_quantile(0.9, QUEUE_S, over="1h"), "p90"),
            colours={"p50": palette.BLUE, "p90": palette.ORANGE},
        ),
        time_series_panel(
            PanelOptions(
                title="Late starts (1 h)",
                description="Share of the jobs that started in the hour before each point whose queue time exceeded "
                "the objective selected above.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=LATE_SHARE,
                decimals=0,
                no_value="none started",
            ),
            Query(_late_share("1h"), "late"),
            colours={"late": palette.RED},
            zero_to_one=True,
        ),
        heatmap_panel(
            PanelOptions(
                title="Queue time distribution",
                description="Queue times of the jobs by the time of their start: the darker a cell, the more jobs. "
                "Two bands point to two kinds of jobs or pools.",
                unit="s",
                width=24,
                height=8,
                no_value="none started",
            ),
            Query(
                "sum by (le) (" + SCOPE.increase(f"{QUEUE_S}_bucket", "pool_id", "le", over="$__rate_interval") + ")",
                "{{le}}",
            ),
        ),
    ),
)

POOLS = Row(
    "By pool",
    (
        table_panel(
            PanelOptions(
                title="Queue by pool",
                description="Each pool with jobs: queued jobs and accelerators, held accelerators, and the queue "
                "times of the jobs that started in the selected time range. `public` is the public pool.",
                unit="none",
                width=24,
                height=8,
            ),
            {
                "A": _by_pool(QUEUED_JOBS),
                "B": _by_pool(QUEUED),
                "C": _by_pool(HELD),
                "D": name_public_pool(f"max by ({POOL}) ({OLDEST_QUEUE_TIME})"),
                "E": name_public_pool(_started("$__range", by=f" by ({POOL})")),
                "F": name_public_pool(_quantile(0.5, QUEUE_S, "cluster", "project", "pool_id", over="$__range")),
                "G": name_public_pool(_quantile(0.9, QUEUE_S, "cluster", "project", "pool_id", over="$__range")),
                "H": name_public_pool(_late_share("$__range", by=f" by ({POOL})")),
            },
            (
                Column(title="Project", label="project"),
                Column(title="Pool", label="pool_id"),
                Column(title="Cluster", label="cluster"),
                Column(title="Queued jobs", value="A", unit="none"),
                Column(title="Accelerators queued", value="B", unit="none", thresholds=NEUTRAL),
                Column(title="Accelerators held", value="C", unit="none", thresholds=NEUTRAL),
                Column(title="Oldest queued", value="D", unit="s", decimals=1, thresholds=WAIT_S),
                Column(title="Started jobs", value="E", unit="none", decimals=0),
                Column(title="Queue time p50", value="F", unit="s", decimals=1, thresholds=WAIT_S),
                Column(title="Queue time p90", value="G", unit="s", decimals=1, thresholds=WAIT_S),
                Column(title="Late starts", value="H", unit="percentunit", decimals=0, thresholds=LATE_SHARE),
            ),
            sort_by="Queued jobs",
        ),
    ),
)


def _of_queued(expr: str) -> str:
    return SCOPE.in_status(SCOPE.select_jobs(expr), "queued")


JOBS = Row(
    "Queued jobs",
    (
        table_panel(
            PanelOptions(
                title="Longest queue times",
                description="The 50 jobs that have been queued longest. Click a name for its details. If one old "
                "job requests many accelerators while newer jobs start, it does not fit into the free accelerators.",
                unit="none",
                width=24,
                height=10,
            ),
            {
                "A": f"topk(50, {SCOPE.join_info(QUEUED_TIME, 'job_name', 'user', 'pool_id', 'flavor')})",
                "B": _of_queued(
                    f"sum by ({JOB}) ({SCOPE.dedup('modelarts_training_job_spec_accelerators', 'accelerator')})"
                ),
                "C": _of_queued(SCOPE.dedup("modelarts_training_job_spec_nodes")),
            },
            (
                *JOB_COLUMNS,
                Column(title="Queue time", value="A", unit="s", decimals=1, thresholds=WAIT_S),
                Column(title="Requested accelerators", value="B", unit="none", thresholds=NEUTRAL),
                Column(title="Requested nodes", value="C", unit="none"),
                Column(title="Flavor", label="flavor"),
            ),
            sort_by="Queue time",
        ),
    ),
)

RUN_TIMES = Row(
    "Run times",
    (
        time_series_panel(
            PanelOptions(
                title="Run time p50 by final status (1 h)",
                description="Half of the jobs that finished with this status in the hour before each point had a "
                "shorter run time. Late failures cost most. Growing run times of completed jobs point to a slow "
                "pool or slow data.",
                unit="s",
                width=12,
                height=8,
                decimals=1,
                no_value="none finished",
            ),
            Query(_quantile(0.5, RUN_S, "status", over="1h"), "{{status}}"),
            colours={status: palette.STATUSES[status].colour for status in vocabulary(f"{RUN_S}_bucket", "status")},
        ),
        table_panel(
            PanelOptions(
                title="Run time by final status",
                description="Jobs that finished in the selected time range by final status, and p10, p50 and p90 of "
                "their run time since the first start. Jobs that never started do not count.",
                unit="none",
                width=12,
                height=8,
            ),
            {
                "A": f"sum by (status) ({SCOPE.increase(f'{RUN_S}_count', 'pool_id', 'status', over='$__range')})",
                "B": _quantile(0.1, RUN_S, "status", over="$__range"),
                "C": _quantile(0.5, RUN_S, "status", over="$__range"),
                "D": _quantile(0.9, RUN_S, "status", over="$__range"),
            },
            (
                Column(title="Final status", label="status"),
                Column(title="Jobs", value="A", unit="none", decimals=0),
                Column(title="p10", value="B", unit="s", decimals=1),
                Column(title="p50", value="C", unit="s", decimals=1),
                Column(title="p90", value="D", unit="s", decimals=1),
            ),
            sort_by="Jobs",
        ),
    ),
)

BOARD = Board(
    uid=link.QUEUE,
    title="ModelArts / Queue",
    description="What waits in front of which pool and for how long, whether it is served in time, and how long "
    "runs take.",
    variables=[
        *variables(SCOPE),
        custom_variable(
            "objective",
            label="Objective",
            description="Queue time above which a start is late; the options are bucket bounds of the histogram.",
            options={
                "1 min": "60",
                "5 min": "300",
                "10 min": "600",
                "30 min": "1800",
                "1 h": "3600",
                "2 h": "7200",
                "4 h": "14400",
                "1 d": "86400",
            },
            default="30 min",
        ),
    ],
    rows=(NOW, TIME, POOLS, JOBS, RUN_TIMES),
    annotations=(annotation.failures(SCOPE),),
)
