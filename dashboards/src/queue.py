"""Queue: what waits in front of which pool, for how long, whether it is served in time, and how long runs take."""

from . import annotation, link, palette
from .board import Board, Row
from .palette import NEUTRAL, WAIT_S, Thresholds
from .panel import JOB_COLUMNS, Column, PanelOptions, Query, heatmap_panel, stat_panel, table_panel, time_series_panel
from .promql import JOB, Scope, name_public_pool, vocabulary
from .variable import custom_variable, variables

SCOPE = Scope(frozenset({"project", "pool"}))

WAITS = "modelarts_training_queue_seconds"
RUNS = "modelarts_training_run_seconds"
POOL = "cluster, project, pool_id"

QUEUED_JOBS = SCOPE.dedup("modelarts_training_jobs", "pool_id", "status", status="queued")
QUEUED = SCOPE.dedup("modelarts_training_accelerators", "pool_id", "accelerator", "state", state="queued")
HELD = SCOPE.dedup("modelarts_training_accelerators", "pool_id", "accelerator", "state", state="held")
HEAD_WAITS = f"(time() - {SCOPE.dedup('modelarts_training_oldest_queued_timestamp_seconds', 'pool_id')})"
WAITED = f"(time() - {SCOPE.dedup('modelarts_training_job_submitted_timestamp_seconds')})"
WAITING = SCOPE.in_status(WAITED, "queued")
LATE = f"({WAITED} > $objective)"
SHARE_LATE = Thresholds(palette.GREEN, ((0.05, palette.YELLOW), (0.2, palette.RED)))


def _quantile(quantile: float, histogram: str, *by: str, over: str) -> str:
    """Tell a quantile of what was observed within a time; absent where nothing was."""
    labels = ("pool_id", "status") if histogram == RUNS else ("pool_id",)
    grown = SCOPE.increase(f"{histogram}_bucket", *labels, "le", over=over)
    return f"histogram_quantile({quantile}, sum by ({', '.join(('le', *by))}) ({grown})) > 0"


def _started(over: str, *, by: str = "") -> str:
    """Count the first starts within a time."""
    return f"sum{by} ({SCOPE.increase(f'{WAITS}_count', 'pool_id', over=over)})"


def _late_share(over: str, *, by: str = "") -> str:
    """Which part of the first starts within a time came later than the objective allows."""
    in_time = SCOPE.increase(f"{WAITS}_bucket", "pool_id", "le", over=over, le=("$objective", "$objective.0"))
    return f"clamp_min(1 -\nsum{by} ({in_time})\n/\n({_started(over, by=by)} > 0), 0)"


def _in_hour(counter: str) -> str:
    """Tell by how much a counter grew within the hour before each moment."""
    return f"sum({SCOPE.increase(counter, 'pool_id', over='1h')})"


def _by_pool(expr: str) -> str:
    """Add up by pool, each project's by itself; the public pool gets its name last, so that nothing merges."""
    return name_public_pool(f"sum by ({POOL}) ({expr})")


NOW = Row(
    "Now",
    (
        stat_panel(
            PanelOptions(
                title="Queued jobs",
                description="Jobs that wait for resources now, those hidden by a filter of the exporter included.",
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
                description="GPUs and NPUs that queued jobs ask for: the demand that is not served.",
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
                description="How long the job that is queued longest has waited since its submission. Yellow from half an "
                "hour, orange from two hours, red from a day.",
                unit="s",
                width=3,
                height=4,
                thresholds=WAIT_S,
                decimals=1,
                no_value="none waits",
            ),
            Query(f"max({HEAD_WAITS})"),
        ),
        stat_panel(
            PanelOptions(
                title="Waiting too long",
                description="Queued jobs that have already waited longer than the objective chosen above. They will count "
                "as late starts; the list below says which they are.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE), (20, palette.RED))),
            ),
            Query(SCOPE.or_zero(f"count({SCOPE.in_status(SCOPE.select_jobs(LATE), 'queued')})")),
        ),
        stat_panel(
            PanelOptions(
                title="Started",
                description="Jobs that started for the first time within the chosen time, as far as the exporter ran.",
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
                title="Median wait",
                description="Half of the jobs that started within the chosen time had waited less. Jobs that still wait "
                "are not in it. Read off the histogram's buckets, so it is an estimate.",
                unit="s",
                width=3,
                height=4,
                thresholds=WAIT_S,
                decimals=1,
                no_value="none started",
            ),
            Query(_quantile(0.5, WAITS, over="$__range")),
        ),
        stat_panel(
            PanelOptions(
                title="Wait of 90 %",
                description="Nine in ten of the jobs that started within the chosen time had waited less. Far above the "
                "median: some pool or some size of job is served much worse than the rest.",
                unit="s",
                width=3,
                height=4,
                thresholds=WAIT_S,
                decimals=1,
                no_value="none started",
            ),
            Query(_quantile(0.9, WAITS, over="$__range")),
        ),
        stat_panel(
            PanelOptions(
                title="Started late",
                description="Which part of the jobs that started within the chosen time had waited longer than the "
                "objective chosen above.",
                unit="percentunit",
                width=3,
                height=4,
                thresholds=SHARE_LATE,
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
                description="How many jobs wait in front of which pool, the ten longest queues at each moment; `public` is "
                "the shared pool.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                no_value="no jobs are seen",
            ),
            Query(f"topk(10, {_by_pool(QUEUED_JOBS)} > 0)", "{{project}} {{pool_id}}"),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Accelerators queued by pool",
                description="How many GPUs and NPUs the queued jobs ask for, the ten pools with most at each moment. Few "
                "jobs and many accelerators: large jobs wait for room.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                no_value="none is asked for",
            ),
            Query(f"topk(10, {_by_pool(QUEUED)} > 0)", "{{project}} {{pool_id}}"),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Oldest queued by pool",
                description="How long the head of each queue has waited, the ten oldest at each moment. A line that rises "
                "by the clock: this job does not fit, or nothing is served; a saw-tooth is a queue that moves.",
                unit="s",
                width=8,
                height=8,
                thresholds=WAIT_S,
                decimals=1,
                no_value="none waits",
            ),
            Query(f"topk(10, {name_public_pool(HEAD_WAITS)})", "{{project}} {{pool_id}}"),
        ),
        time_series_panel(
            PanelOptions(
                title="Submitted and started, in the hour before",
                description="How many jobs were submitted and how many started within the hour before each moment. "
                "Submitted above started: the queue grows.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
            ),
            Query(_in_hour("modelarts_training_jobs_submitted_total"), "submitted"),
            Query(_in_hour("modelarts_training_jobs_started_total"), "started"),
            colours={"submitted": palette.YELLOW, "started": palette.GREEN},
        ),
        time_series_panel(
            PanelOptions(
                title="Waits of jobs started in the hour before",
                description="Median and 90 % of the waits of those jobs that started within the hour before each moment. "
                "Nothing is drawn where none started.",
                unit="s",
                width=8,
                height=8,
                thresholds=WAIT_S,
                decimals=1,
                no_value="none started",
            ),
            Query(_quantile(0.5, WAITS, over="1h"), "median"),
            Query(_quantile(0.9, WAITS, over="1h"), "90 %"),
            colours={"median": palette.BLUE, "90 %": palette.ORANGE},
        ),
        time_series_panel(
            PanelOptions(
                title="Started late, in the hour before",
                description="Which part of the jobs that started within the hour before each moment had waited longer than "
                "the objective chosen above.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=SHARE_LATE,
                decimals=0,
                no_value="none started",
            ),
            Query(_late_share("1h"), "late"),
            colours={"late": palette.RED},
            zero_to_one=True,
        ),
        heatmap_panel(
            PanelOptions(
                title="Waits over time",
                description="How long the jobs had waited that started at each moment: a column is a moment, a cell a span "
                "of waits, and the darker it is the more jobs. Two bands are two kinds of jobs or pools.",
                unit="s",
                width=24,
                height=8,
                no_value="none started",
            ),
            Query(
                "sum by (le) (" + SCOPE.increase(f"{WAITS}_bucket", "pool_id", "le", over="$__rate_interval") + ")",
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
                title="Pools by queue",
                description="Each pool that has had jobs: what waits in front of it now, what is held in it, and how those "
                "jobs fared that started within the chosen time. `public` is the shared pool.",
                unit="none",
                width=24,
                height=8,
            ),
            {
                "A": _by_pool(QUEUED_JOBS),
                "B": _by_pool(QUEUED),
                "C": _by_pool(HELD),
                "D": name_public_pool(f"max by ({POOL}) ({HEAD_WAITS})"),
                "E": name_public_pool(_started("$__range", by=f" by ({POOL})")),
                "F": name_public_pool(_quantile(0.5, WAITS, "cluster", "project", "pool_id", over="$__range")),
                "G": name_public_pool(_quantile(0.9, WAITS, "cluster", "project", "pool_id", over="$__range")),
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
                Column(title="Started", value="E", unit="none", decimals=0),
                Column(title="Median wait", value="F", unit="s", decimals=1, thresholds=WAIT_S),
                Column(title="90 % waited less", value="G", unit="s", decimals=1, thresholds=WAIT_S),
                Column(title="Started late", value="H", unit="percentunit", decimals=0, thresholds=SHARE_LATE),
            ),
            sort_by="Queued jobs",
        ),
    ),
)


def _of_waiting(expr: str) -> str:
    return SCOPE.in_status(SCOPE.select_jobs(expr), "queued")


WHO = Row(
    "Who waits",
    (
        table_panel(
            PanelOptions(
                title="Longest-waiting jobs",
                description="The 50 queued jobs that have waited longest since their submission. Click a name for the "
                "job's details. One old job that asks for many accelerators, while younger ones start: it does not "
                "fit into what is left free.",
                unit="none",
                width=24,
                height=10,
            ),
            {
                "A": f"topk(50, {SCOPE.join_info(WAITING, 'job_name', 'user', 'pool_id', 'flavor')})",
                "B": _of_waiting(
                    f"sum by ({JOB}) ({SCOPE.dedup('modelarts_training_job_spec_accelerators', 'accelerator')})"
                ),
                "C": _of_waiting(SCOPE.dedup("modelarts_training_job_spec_nodes")),
            },
            (
                *JOB_COLUMNS,
                Column(title="Waiting for", value="A", unit="s", decimals=1, thresholds=WAIT_S),
                Column(title="Asked accelerators", value="B", unit="none", thresholds=NEUTRAL),
                Column(title="Asked nodes", value="C", unit="none"),
                Column(title="Flavor", label="flavor"),
            ),
            sort_by="Waiting for",
        ),
    ),
)

RUN_ROW = Row(
    "How long runs take",
    (
        time_series_panel(
            PanelOptions(
                title="Median run by how it ended, in the hour before",
                description="Half of the jobs that ended so within the hour before each moment had run less. Failures that "
                "come late cost most; completed runs that grow longer are a slow pool or slow data.",
                unit="s",
                width=12,
                height=8,
                decimals=1,
                no_value="none ended",
            ),
            Query(_quantile(0.5, RUNS, "status", over="1h"), "{{status}}"),
            colours={status: palette.STATUSES[status].colour for status in vocabulary(f"{RUNS}_bucket", "status")},
        ),
        table_panel(
            PanelOptions(
                title="Run lengths by how they ended",
                description="Jobs that ended within the chosen time, by how, and how long they had run from their first "
                "start: a tenth, half and nine tenths had run less. Jobs that never started are not in it.",
                unit="none",
                width=12,
                height=8,
            ),
            {
                "A": f"sum by (status) ({SCOPE.increase(f'{RUNS}_count', 'pool_id', 'status', over='$__range')})",
                "B": _quantile(0.1, RUNS, "status", over="$__range"),
                "C": _quantile(0.5, RUNS, "status", over="$__range"),
                "D": _quantile(0.9, RUNS, "status", over="$__range"),
            },
            (
                Column(title="Ended as", label="status"),
                Column(title="Jobs", value="A", unit="none", decimals=0),
                Column(title="10 % ran less", value="B", unit="s", decimals=1),
                Column(title="Median", value="C", unit="s", decimals=1),
                Column(title="90 % ran less", value="D", unit="s", decimals=1),
            ),
            sort_by="Jobs",
        ),
    ),
)

BOARD = Board(
    uid=link.QUEUE,
    title="ModelArts / Queue",
    description="What waits in front of which pool and for how long, whether it is served in time, and how long runs take.",
    variables=[
        *variables(SCOPE),
        custom_variable(
            "objective",
            label="Objective",
            description="How long a job may wait before it counts as late; bounds of the histogram's buckets.",
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
    rows=(NOW, TIME, POOLS, WHO, RUN_ROW),
    annotations=(annotation.failures(SCOPE),),
)
