"""Fleet: what runs, what waits, who holds what, what failed: all projects at a glance."""

from . import annotation, frame, link, palette
from .board import Board, Row
from .palette import AGE_S, NONE_IS_GOOD, PLAIN, UTILISATION, WAIT_S, Thresholds
from .panel import Column, Head, Query, bars, graph, number, rows
from .promql import ACTIVE, FAILED, JOB, PROJECT, Scope, named, vocabulary

SCOPE = Scope(frozenset({"project", "pool"}))

HELD = SCOPE.chosen(SCOPE.one("modelarts_training_job_status_accelerators", "accelerator"))
IN_POOLS = SCOPE.one("modelarts_training_accelerators", "pool_id", "accelerator", "state", state="held")
"""Held by all jobs of a pool: also by those that a filter hides, unlike HELD, which tells it of each job."""
QUEUED = SCOPE.one("modelarts_training_accelerators", "pool_id", "accelerator", "state", state="queued")
OLDEST = SCOPE.one("modelarts_training_oldest_queued_timestamp_seconds", "pool_id")
ACTIVE_JOBS = SCOPE.one("modelarts_training_jobs", "pool_id", "status", status=ACTIVE)
READING = SCOPE.one("modelarts_training_job_accelerator_utilization_ratio", "accelerator")
WAITED = f"(time() - {SCOPE.one('modelarts_training_job_submitted_timestamp_seconds')})"
FAILED_OF_DAY = SCOPE.while_in(
    SCOPE.chosen(
        f"({SCOPE.one('modelarts_training_job_end_timestamp_seconds', over='1d')} > time() - 86400)", over="1d"
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
    return f"sum({SCOPE.one('modelarts_training_jobs', 'pool_id', 'status', status=statuses)})"


def _in_hour(counter: str, *labels: str, by: str = "") -> str:
    """Tell by how much a counter grew within the hour before each moment."""
    return f"sum{f' by ({by})' if by else ''} ({SCOPE.grown(counter, *labels, over='1h')})"


NOW = Row(
    "Now",
    (
        number(
            Head(
                title="Projects out of sight",
                about="Projects whose newest poll failed with every exporter that watches them. While this is not "
                "zero, the other numbers miss something or are about to vanish; Target health below says which.",
                unit="none",
                width=3,
                height=4,
                thresholds=NONE_IS_GOOD,
            ),
            Query(f"count({SCOPE.one('modelarts_up')} == 0)\nor\n0 * count({SCOPE.series('modelarts_up')})"),
        ),
        number(
            Head(
                title="Running",
                about="Jobs that hold nodes: running, scaling or terminating.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.GREEN),
            ),
            Query(counted("running", "scaling", "terminating")),
        ),
        number(
            Head(
                title="Waiting",
                about="Jobs that wait: queued for resources, or being initialised.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.BLUE, ((50, palette.YELLOW), (200, palette.ORANGE))),
            ),
            Query(counted("initializing", "queued")),
        ),
        number(
            Head(
                title="Oldest waiting",
                about="How long the job that is queued longest has waited since its submission. Yellow from half an "
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
        number(
            Head(
                title="Accelerators held",
                about="GPUs and NPUs allocated to jobs now, over all their nodes. CPU jobs have none.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.GREEN),
            ),
            Query(f"sum({IN_POOLS})"),
        ),
        number(
            Head(
                title="Accelerators queued",
                about="GPUs and NPUs that queued jobs ask for: the demand that is not served.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.BLUE, ((1, palette.YELLOW),)),
            ),
            Query(SCOPE.or_zero(f"sum({QUEUED})")),
        ),
        number(
            Head(
                title="Utilisation while held",
                about="How busy the held accelerators are now, each job weighed with how many it holds. Jobs without "
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
        number(
            Head(
                title="Failures of the day",
                about="Jobs that ended as failed or lost within 24 hours, those included that have been deleted "
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
        graph(
            Head(
                title="Active jobs by status",
                about="How many jobs stand where. A growing yellow band is a queue that is not served.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
            ),
            Query(f"sum by (status) ({ACTIVE_JOBS})", "{{status}}"),
            stacked=True,
            colours={status: palette.STATUSES[status].colour for status in ACTIVE},
        ),
        graph(
            Head(
                title="Coming and going, in the hour before",
                about="How many jobs were submitted, started and ended within the hour before each moment. Submitted "
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
        graph(
            Head(
                title="Jobs ended in the hour before",
                about="How many jobs ended within the hour before each moment, by how. Failed and lost are failures.",
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
        graph(
            Head(
                title="Accelerators held and queued",
                about="Held: allocated to jobs, by kind, stacked. Queued: what waiting jobs ask for, dashed and not "
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
        graph(
            Head(
                title="Utilisation while held over time",
                about="How busy the held accelerators are, by kind, each job weighed with how many it holds. The "
                "dashed lines are the thresholds: below a fifth is waste, above 70 % is good work.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=UTILISATION,
                decimals=0,
            ),
            Query(busy(" by (accelerator)"), "{{accelerator}}"),
            colours=palette.ACCELERATORS,
            whole=True,
        ),
        graph(
            Head(
                title="Recoveries in the hour before",
                about="How often the cloud recovered a job from a fault within the hour before each moment, by how. "
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
        bars(
            Head(
                title="Accelerators held by user",
                about="The ten users who hold most. Click a bar for the user's jobs.",
                unit="none",
                width=8,
                height=9,
                links=(link.to_jobs_of_user(),),
                no_value="nobody holds any",
            ),
            Query(
                "sort_desc(topk(10, sum by (user) ("
                + SCOPE.told(f"{SCOPE.one('modelarts_training_job_status_accelerators', 'accelerator')} > 0", "user")
                + ")))",
                "{{user}}",
            ),
        ),
        bars(
            Head(
                title="Accelerators held by pool",
                about="The ten pools of which most is held by training; `public` is the shared pool. Click a bar for "
                "the dedicated pools of its project: what they have, and what is free.",
                unit="none",
                width=8,
                height=9,
                links=(link.to_pools_of_series(),),
                no_value="nothing is held",
            ),
            Query(
                f"sort_desc(topk(10, sum by (project, pool_id) ({named(IN_POOLS)}) > 0))",
                "{{project}} {{pool_id}}",
            ),
        ),
        bars(
            Head(
                title="Longest waits",
                about="The ten queued jobs that have waited longest since their submission. Click a bar for the job.",
                unit="s",
                width=8,
                height=9,
                thresholds=WAIT_S,
                decimals=1,
                links=(link.to_job_of_series(),),
                no_value="none waits",
            ),
            Query(
                "sort_desc(topk(10, " + SCOPE.told(SCOPE.while_in(WAITED, "queued"), "job_name", "user") + "))",
                "{{job_name}} ({{user}})",
            ),
        ),
    ),
)

HEALTH = Row(
    "Can this be trusted?",
    (
        rows(
            Head(
                title="Target health",
                about="Each project the exporters watch: whether the newest poll of any exporter succeeded, how old "
                "the newest complete look at its jobs is, and how many jobs are tracked. Details are on the board of "
                "the exporter.",
                unit="none",
                width=24,
                height=5,
                thresholds=PLAIN,
            ),
            {
                "A": SCOPE.one("modelarts_up"),
                "B": "time() - " + SCOPE.one("modelarts_collector_last_success_timestamp_seconds", collector="jobs"),
                "C": SCOPE.one("modelarts_exporter_tracked_jobs"),
                "D": f"sum by ({PROJECT}) ({ACTIVE_JOBS})",
                "E": SCOPE.one("modelarts_project_info", "project_id", "region", "cloud"),
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
                    words=palette.words({1: ("yes", palette.GREEN), 0: ("NO", palette.RED)}),
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
    about="What runs, what waits, who holds what and what failed, over all projects of all exporters.",
    variables=frame.variables(SCOPE),
    rows=(NOW, TIME, WHO, HEALTH),
    marks=(annotation.failures(SCOPE),),
)
