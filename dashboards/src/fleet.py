"""Fleet: running, queued and failed jobs and held accelerators of all projects."""

from . import annotation, link, palette
from .board import Board, Row
from .palette import AGE_S, NEUTRAL, UTILISATION, WAIT_S, ZERO_IS_GOOD, Thresholds
from .panel import Column, PanelOptions, Query, bar_gauge_panel, stat_panel, table_panel, time_series_panel
from .promql import ACTIVE, FAILED, JOB, PROJECT, Scope, name_public_pool, vocabulary
from .variable import variables

SCOPE = Scope(frozenset({"project", "pool"}))

HELD = SCOPE.select_jobs(SCOPE.dedup("modelarts_training_job_status_accelerators", "accelerator"))
POOL_HELD = SCOPE.dedup("modelarts_training_accelerators", "pool_id", "accelerator", "state", state="held")
"""Accelerators held by all jobs of a pool, including jobs hidden by a filter, which HELD does not include."""
QUEUED = SCOPE.dedup("modelarts_training_accelerators", "pool_id", "accelerator", "state", state="queued")
OLDEST_QUEUED = SCOPE.dedup("modelarts_training_oldest_queued_timestamp_seconds", "pool_id")
ACTIVE_JOBS = SCOPE.dedup("modelarts_training_jobs", "pool_id", "status", status=ACTIVE)
UTILISATION_RATIO = SCOPE.dedup("modelarts_training_job_accelerator_utilization_ratio", "accelerator")
QUEUE_TIME = f"(time() - {SCOPE.dedup('modelarts_training_job_waiting_since_timestamp_seconds')})"
FAILED_1D = SCOPE.in_status(
    SCOPE.select_jobs(
        f"({SCOPE.dedup('modelarts_training_job_end_timestamp_seconds', over='1d')} > time() - 86400)", over="1d"
    ),
    *FAILED,
    over="1d",
)


def utilisation(by: str = "") -> str:
    """Return the utilisation of jobs with samples, each job weighted by its held accelerators."""
    busy = f"sum{by} (\n({HELD})\n* on ({JOB}, accelerator)\n{UTILISATION_RATIO}\n)"
    return f"{busy}\n/\nsum{by} (\n{HELD}\nand on ({JOB}, accelerator)\n{UTILISATION_RATIO}\n)"


def job_count(*statuses: str) -> str:
    """Count jobs, including jobs hidden by a filter."""
    return f"sum({SCOPE.dedup('modelarts_training_jobs', 'pool_id', 'status', status=statuses)})"


def _increase_1h(counter: str, *labels: str, by: str = "") -> str:
    """Return the increase of a counter in the hour before each point."""
    return f"sum{f' by ({by})' if by else ''} ({SCOPE.increase(counter, *labels, over='1h')})"


def _recovery_quantile(quantile: float) -> str:
    """Return a quantile of the recovery durations in the hour before each point; absent without recoveries."""
    buckets = _increase_1h("modelarts_training_recovery_duration_seconds_bucket", "policy", "le", by="le, policy")
    return f"histogram_quantile({quantile}, {buckets}) > 0"


NOW = Row(
    "Now",
    (
        stat_panel(
            PanelOptions(
                title="Projects not monitored",
                description="Projects whose newest poll failed on every exporter that watches them. While this is "
                "not zero, the other numbers are incomplete; Target health below shows the projects.",
                unit="none",
                width=3,
                height=4,
                thresholds=ZERO_IS_GOOD,
            ),
            Query(f"count({SCOPE.dedup('modelarts_up')} == 0)\nor\n0 * count({SCOPE.selector('modelarts_up')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Running",
                description="Jobs that hold nodes: running, scaling or terminating.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.GREEN),
            ),
            Query(job_count("running", "scaling", "terminating")),
        ),
        stat_panel(
            PanelOptions(
                title="Waiting",
                description="Jobs that wait: queued or initializing.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.BLUE, ((50, palette.YELLOW), (200, palette.ORANGE))),
            ),
            Query(job_count("initializing", "queued")),
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
            Query(f"max(time() - {OLDEST_QUEUED})"),
        ),
        stat_panel(
            PanelOptions(
                title="Accelerators held",
                description="GPUs and NPUs allocated to jobs now, on all their nodes. CPU jobs have none.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.GREEN),
            ),
            Query(f"sum({POOL_HELD})"),
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
                title="Utilisation",
                description="Current utilisation of held accelerators, each job weighted by its number of "
                "accelerators. Jobs without a current sample are excluded.",
                unit="percentunit",
                width=3,
                height=4,
                thresholds=UTILISATION,
                decimals=0,
                no_value="no samples",
            ),
            Query(utilisation()),
        ),
        stat_panel(
            PanelOptions(
                title="Failures (24 h)",
                description="Jobs that ended as failed or lost in the last 24 hours, including jobs that have been "
                "deleted since.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE), (20, palette.RED))),
            ),
            Query(SCOPE.or_zero(f"count({FAILED_1D})")),
        ),
    ),
)

TIME = Row(
    "Over time",
    (
        time_series_panel(
            PanelOptions(
                title="Active jobs by status",
                description="Active jobs by status. A growing yellow area is a queue in which jobs do not start.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
            ),
            Query(f"sum by (status) ({ACTIVE_JOBS})", "{{status}}"),
            stacked=True,
            colours={status: palette.STATUSES[status].colour for status in ACTIVE},
        ),
        time_series_panel(
            PanelOptions(
                title="Submitted / started / finished (1 h)",
                description="Jobs submitted, started and finished in the hour before each point. More submitted "
                "than started: the queue grows. From the exporter's counters, so it begins with the start of the "
                "exporter.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
            ),
            Query(_increase_1h("modelarts_training_jobs_submitted_total", "pool_id"), "submitted"),
            Query(_increase_1h("modelarts_training_jobs_started_total", "pool_id"), "started"),
            Query(_increase_1h("modelarts_training_jobs_finished_total", "pool_id", "status"), "finished"),
            colours={"submitted": palette.YELLOW, "started": palette.GREEN, "finished": palette.BLUE},
        ),
        time_series_panel(
            PanelOptions(
                title="Finished jobs by status (1 h)",
                description="Jobs that finished in the hour before each point, by status. Failed and lost are "
                "failures.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
            ),
            Query(
                _increase_1h("modelarts_training_jobs_finished_total", "pool_id", "status", by="status"), "{{status}}"
            ),
            stacked=True,
            colours={
                status: palette.STATUSES[status].colour
                for status in vocabulary("modelarts_training_jobs_finished_total", "status")
            },
        ),
        time_series_panel(
            PanelOptions(
                title="Accelerators held and queued",
                description="Held: allocated to jobs, by kind, stacked. Queued: requested by queued jobs, dashed "
                "and not stacked. Held is constant while queued grows: the pools are full, or the queue is blocked.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
            ),
            Query(f"sum by (accelerator) ({POOL_HELD})", "{{accelerator}} held"),
            Query(f"sum by (accelerator) ({QUEUED})", "{{accelerator}} queued"),
            stacked=True,
            dashed="/queued$/",
            colours={
                f"{kind} {what}": colour
                for kind, colour in palette.ACCELERATORS.items()
                for what in ("held", "queued")
            },
        ),
        time_series_panel(
            PanelOptions(
                title="Utilisation over time",
                description="Utilisation of held accelerators by kind, each job weighted by its number of "
                "accelerators. The dashed lines are the thresholds: below 20 % is waste, above 70 % is good.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=UTILISATION,
                decimals=0,
            ),
            Query(utilisation(" by (accelerator)"), "{{accelerator}}"),
            colours=palette.ACCELERATORS,
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Recoveries (1 h)",
                description="How often the cloud recovered jobs from faults in the hour before each point, by "
                "policy. Restarting a process takes seconds; scheduling the job again takes minutes. Many "
                "recoveries at once point to nodes. Only the v2 API reports them.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                no_value="no recoveries",
            ),
            Query(_increase_1h("modelarts_training_recoveries_total", "policy", by="policy"), "{{policy}}"),
            stacked=True,
        ),
    ),
)

FAULTS = Row(
    "Faults",
    (
        time_series_panel(
            PanelOptions(
                title="Faults (1 h)",
                description="Faults of jobs in the hour before each point, by scenario and by result of the "
                "recovery: the ten most frequent. Each is counted when its recovery has a result. "
                "`downgrade`: the policy was not sufficient and another one was used. Only the v2 API reports them.",
                unit="none",
                width=12,
                height=8,
                decimals=0,
                no_value="no faults",
            ),
            Query(
                "topk(10, "
                + _increase_1h(
                    "modelarts_training_faults_total", "pool_id", "scenario", "result", by="scenario, result"
                )
                + " > 0)",
                "{{scenario}} {{result}}",
            ),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Recovery duration (1 h)",
                description="Time from the beginning of a recovery to its success: p50 and p90 by policy, of the "
                "recoveries in the hour before each point. Recoveries that failed are excluded. Only the v2 API "
                "reports them.",
                unit="s",
                width=12,
                height=8,
                no_value="no recoveries",
            ),
            Query(_recovery_quantile(0.5), "{{policy}} p50"),
            Query(_recovery_quantile(0.9), "{{policy}} p90"),
            dashed="/p90$/",
        ),
    ),
)

USERS = Row(
    "Users and pools",
    (
        bar_gauge_panel(
            PanelOptions(
                title="Accelerators held by user",
                description="The ten users who hold most accelerators. Click a bar for the jobs of the user.",
                unit="none",
                width=8,
                height=9,
                links=(link.to_jobs_of_user(),),
                no_value="none held",
            ),
            Query(
                "sort_desc(topk(10, sum by (user) ("
                + SCOPE.join_info(
                    f"{SCOPE.dedup('modelarts_training_job_status_accelerators', 'accelerator')} > 0", "user"
                )
                + ")))",
                "{{user}}",
            ),
        ),
        bar_gauge_panel(
            PanelOptions(
                title="Accelerators held by pool",
                description="The ten pools in which training jobs hold most accelerators; `public` is the public "
                "pool. Click a bar for the dedicated pools of its project.",
                unit="none",
                width=8,
                height=9,
                links=(link.to_pools_of_series(),),
                no_value="none held",
            ),
            Query(
                f"sort_desc(topk(10, sum by (project, pool_id) ({name_public_pool(POOL_HELD)}) > 0))",
                "{{project}} {{pool_id}}",
            ),
        ),
        bar_gauge_panel(
            PanelOptions(
                title="Longest queue times",
                description="The ten jobs that have been queued longest. Click a bar for the job.",
                unit="s",
                width=8,
                height=9,
                thresholds=WAIT_S,
                decimals=1,
                links=(link.to_job_of_series(),),
                no_value="no queued jobs",
            ),
            Query(
                "sort_desc(topk(10, "
                + SCOPE.join_info(SCOPE.in_status(QUEUE_TIME, "queued"), "job_name", "user")
                + "))",
                "{{job_name}} ({{user}})",
            ),
        ),
    ),
)

HEALTH = Row(
    "Data quality",
    (
        table_panel(
            PanelOptions(
                title="Target health",
                description="Each project: whether the newest poll of any exporter succeeded, the time since the "
                "last successful jobs poll, and the number of tracked jobs. Details are on the board Exporter.",
                unit="none",
                width=24,
                height=5,
                thresholds=NEUTRAL,
            ),
            {
                "A": SCOPE.dedup("modelarts_up"),
                "B": "time() - "
                + SCOPE.dedup("modelarts_collector_last_success_timestamp_seconds", collector="jobs"),
                "C": SCOPE.dedup("modelarts_exporter_tracked_jobs"),
                "D": f"sum by ({PROJECT}) ({ACTIVE_JOBS})",
                "E": SCOPE.dedup("modelarts_project_info", "project_id", "region", "cloud"),
            },
            (
                Column(
                    title="Project",
                    label="project",
                    link=link.to_board("Exporter", link.EXPORTER, project="${__data.fields.Project}"),
                ),
                Column(title="Cluster", label="cluster"),
                Column(title="Cloud", label="cloud"),
                Column(title="Region", label="region"),
                Column(title="Project ID", label="project_id"),
                Column(
                    title="Newest poll",
                    value="A",
                    mappings=palette.value_mappings({1: ("ok", palette.GREEN), 0: ("FAILED", palette.RED)}),
                ),
                Column(title="Age of data", value="B", unit="s", decimals=0, thresholds=AGE_S),
                Column(title="Active jobs", value="D", unit="none"),
                Column(title="Tracked jobs", value="C", unit="none"),
            ),
            sort_by="Newest poll",
            descending=False,
        ),
    ),
)

BOARD = Board(
    uid=link.FLEET,
    title="ModelArts / Fleet",
    description="Running, queued and failed jobs and held accelerators of all projects of all exporters.",
    variables=variables(SCOPE),
    rows=(NOW, TIME, FAULTS, USERS, HEALTH),
    annotations=(annotation.failures(SCOPE),),
)
