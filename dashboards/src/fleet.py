"""Fleet: what runs, what waits, who holds what, what failed: all projects at a glance."""

from . import annotation, link, palette
from .board import Board, Row
from .palette import AGE_S, NEUTRAL, UTILISATION, WAIT_S, ZERO_IS_GOOD, Thresholds
from .panel import Column, PanelOptions, Query, bar_gauge_panel, stat_panel, table_panel, time_series_panel
from .promql import ACTIVE, FAILED, JOB, PROJECT, Scope, name_public_pool, vocabulary
from .variable import variables

SCOPE = Scope(frozenset({"project", "pool"}))

HELD = SCOPE.select_jobs(SCOPE.dedup("modelarts_training_job_status_accelerators", "accelerator"))
IN_POOLS = SCOPE.dedup("modelarts_training_accelerators", "pool_id", "accelerator", "state", state="held")
"""Held by all jobs of a pool: also by those that a filter hides, unlike HELD, which tells it of each job."""
QUEUED = SCOPE.dedup("modelarts_training_accelerators", "pool_id", "accelerator", "state", state="queued")
OLDEST = SCOPE.dedup("modelarts_training_oldest_queued_timestamp_seconds", "pool_id")
ACTIVE_JOBS = SCOPE.dedup("modelarts_training_jobs", "pool_id", "status", status=ACTIVE)
READING = SCOPE.dedup("modelarts_training_job_accelerator_utilization_ratio", "accelerator")
WAITED = f"(time() - {SCOPE.dedup('modelarts_training_job_submitted_timestamp_seconds')})"
FAILED_OF_DAY = SCOPE.in_status(
    SCOPE.select_jobs(
        f"({SCOPE.dedup('modelarts_training_job_end_timestamp_seconds', over='1d')} > time() - 86400)", over="1d"
    ),
    *FAILED,
    over="1d",
)


def busy(by: str = "") -> str:
    """Tell the utilisation, each job weighed with the accelerators it holds, over the jobs that have a reading."""
    work = f"sum{by} (\n({HELD})\n* on ({JOB}, accelerator)\n{READING}\n)"
    return f"{work}\n/\nsum{by} (\n{HELD}\nand on ({JOB}, accelerator)\n{READING}\n)"


def counted(*statuses: str) -> str:
    """Count jobs by the families of the project: also those that a filter hides."""
    return f"sum({SCOPE.dedup('modelarts_training_jobs', 'pool_id', 'status', status=statuses)})"


def _in_hour(counter: str, *labels: str, by: str = "") -> str:
    """Tell by how much a counter grew within the hour before each moment."""
    return f"sum{f' by ({by})' if by else ''} ({SCOPE.increase(counter, *labels, over='1h')})"


NOW = Row(
    "Now",
    (
        stat_panel(
            PanelOptions(
                title="Projects out of sight",
                description="Projects whose newest poll failed with every exporter that watches them. While this is not "
                "zero, the other numbers miss something or are about to vanish; Target health below says which.",
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
            Query(counted("running", "scaling", "terminating")),
        ),
        stat_panel(
            PanelOptions(
                title="Waiting",
                description="Jobs that wait: queued for resources, or being initialised.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.BLUE, ((50, palette.YELLOW), (200, palette.ORANGE))),
            ),
            Query(counted("initializing", "queued")),
        ),
        stat_panel(
            PanelOptions(
                title="Oldest waiting",
                description="How long the job that is queued longest has waited since its submission. Yellow from half an "
                "hour, orange from two hours, red from a day.",
                unit="s",
                width=3,
                height=4,
                thresholds=WAIT_S,
                decimals=1,
                no_value="none waits",
            ),
            Query(f"max(time() - {OLDEST})"),
        ),
        stat_panel(
            PanelOptions(
                title="Accelerators held",
                description="GPUs and NPUs allocated to jobs now, over all their nodes. CPU jobs have none.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.GREEN),
            ),
            Query(f"sum({IN_POOLS})"),
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
                title="Utilisation while held",
                description="How busy the held accelerators are now, each job weighed with how many it holds. Jobs without "
                "a fresh reading are left out on both sides of the division.",
                unit="percentunit",
                width=3,
                height=4,
                thresholds=UTILISATION,
                decimals=0,
                no_value="no reading",
            ),
            Query(busy()),
        ),
        stat_panel(
            PanelOptions(
                title="Failures of the day",
                description="Jobs that ended as failed or lost within 24 hours, those included that have been deleted "
                "since.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE), (20, palette.RED))),
            ),
            Query(SCOPE.or_zero(f"count({FAILED_OF_DAY})")),
        ),
    ),
)

TIME = Row(
    "Over time",
    (
        time_series_panel(
            PanelOptions(
                title="Active jobs by status",
                description="How many jobs stand where. A growing yellow band is a queue that is not served.",
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
                title="Coming and going, in the hour before",
                description="How many jobs were submitted, started and ended within the hour before each moment. Submitted "
                "above started: the queue grows. Counted from the exporter's counters, so it begins with the "
                "exporter.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
            ),
            Query(_in_hour("modelarts_training_jobs_submitted_total", "pool_id"), "submitted"),
            Query(_in_hour("modelarts_training_jobs_started_total", "pool_id"), "started"),
            Query(_in_hour("modelarts_training_jobs_finished_total", "pool_id", "status"), "ended"),
            colours={"submitted": palette.YELLOW, "started": palette.GREEN, "ended": palette.BLUE},
        ),
        time_series_panel(
            PanelOptions(
                title="Jobs ended in the hour before",
                description="How many jobs ended within the hour before each moment, by how. Failed and lost are failures.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
            ),
            Query(_in_hour("modelarts_training_jobs_finished_total", "pool_id", "status", by="status"), "{{status}}"),
            stacked=True,
            colours={
                status: palette.STATUSES[status].colour
                for status in vocabulary("modelarts_training_jobs_finished_total", "status")
            },
        ),
        time_series_panel(
            PanelOptions(
                title="Accelerators held and queued",
                description="Held: allocated to jobs, by kind, stacked. Queued: what waiting jobs ask for, dashed and not "
                "stacked. Held flat while queued grows: the pools are full, or something blocks the queue.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
            ),
            Query(f"sum by (accelerator) ({IN_POOLS})", "{{accelerator}} held"),
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
                title="Utilisation while held over time",
                description="How busy the held accelerators are, by kind, each job weighed with how many it holds. The "
                "dashed lines are the thresholds: below a fifth is waste, above 70 % is good work.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=UTILISATION,
                decimals=0,
            ),
            Query(busy(" by (accelerator)"), "{{accelerator}}"),
            colours=palette.ACCELERATORS,
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Recoveries in the hour before",
                description="How often the cloud recovered a job from a fault within the hour before each moment, by how. "
                "Restarts of a process are cheap; new schedulings cost minutes of the whole job. Many at once: look "
                "at the nodes. Only the new generation of the API tells.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                no_value="none was recovered",
            ),
            Query(_in_hour("modelarts_training_recoveries_total", "policy", by="policy"), "{{policy}}"),
            stacked=True,
        ),
    ),
)

WHO = Row(
    "Who holds, who waits",
    (
        bar_gauge_panel(
            PanelOptions(
                title="Accelerators held by user",
                description="The ten users who hold most. Click a bar for the user's jobs.",
                unit="none",
                width=8,
                height=9,
                links=(link.to_jobs_of_user(),),
                no_value="nobody holds any",
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
                description="The ten pools of which most is held by training; `public` is the shared pool. Click a bar for "
                "the dedicated pools of its project: what they have, and what is free.",
                unit="none",
                width=8,
                height=9,
                links=(link.to_pools_of_series(),),
                no_value="nothing is held",
            ),
            Query(
                f"sort_desc(topk(10, sum by (project, pool_id) ({name_public_pool(IN_POOLS)}) > 0))",
                "{{project}} {{pool_id}}",
            ),
        ),
        bar_gauge_panel(
            PanelOptions(
                title="Longest waits",
                description="The ten queued jobs that have waited longest since their submission. Click a bar for the job.",
                unit="s",
                width=8,
                height=9,
                thresholds=WAIT_S,
                decimals=1,
                links=(link.to_job_of_series(),),
                no_value="none waits",
            ),
            Query(
                "sort_desc(topk(10, " + SCOPE.join_info(SCOPE.in_status(WAITED, "queued"), "job_name", "user") + "))",
                "{{job_name}} ({{user}})",
            ),
        ),
    ),
)

HEALTH = Row(
    "Can this be trusted?",
    (
        table_panel(
            PanelOptions(
                title="Target health",
                description="Each project the exporters watch: whether the newest poll of any exporter succeeded, how old "
                "the newest complete look at its jobs is, and how many jobs are tracked. Details are on the board of "
                "the exporter.",
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
                Column(title="Project id", label="project_id"),
                Column(
                    title="Seen",
                    value="A",
                    mappings=palette.value_mappings({1: ("yes", palette.GREEN), 0: ("NO", palette.RED)}),
                ),
                Column(title="Age of data", value="B", unit="s", decimals=0, thresholds=AGE_S),
                Column(title="Active jobs", value="D", unit="none"),
                Column(title="Tracked jobs", value="C", unit="none"),
            ),
            sort_by="Seen",
            descending=False,
        ),
    ),
)

BOARD = Board(
    uid=link.FLEET,
    title="ModelArts / Fleet",
    description="What runs, what waits, who holds what and what failed, over all projects of all exporters.",
    variables=variables(SCOPE),
    rows=(NOW, TIME, WHO, HEALTH),
    annotations=(annotation.failures(SCOPE),),
)
