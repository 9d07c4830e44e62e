"""Jobs: running and waiting jobs, their status over time, and recent failures with their reasons."""

from . import annotation, link, palette
from .board import Board, Row
from .palette import IDLE_S, NEUTRAL, UTILISATION, WAIT_S, ZERO_IS_GOOD, Thresholds
from .panel import JOB_COLUMNS, MAX_SERIES, Column, PanelOptions, Query, stat_panel, state_timeline_panel, table_panel
from .promql import FAILED, HOLDING, INFO, JOB, STATUS, WAITING, Scope, status_code
from .variable import variables

SCOPE = Scope(frozenset({"project", "pool", "user", "training_job"}))


def _in_status(statuses: tuple[str, ...], expr: str) -> str:
    """Keep only selected jobs in one of the statuses, for the rows of one table."""
    return SCOPE.in_status(SCOPE.select_jobs(expr), *statuses)


def _of_job(name: str) -> str:
    """Return one value for each job, summed over other labels."""
    return f"sum by ({JOB}) ({SCOPE.dedup(name, 'accelerator')})"


SUSPECTED_HANG = SCOPE.dedup("modelarts_training_job_suspected_hang")
CRASH_LOOPING = SCOPE.in_status(f"({SCOPE.dedup('modelarts_training_job_crash_loop_runs')} > 1)", *HOLDING)
STUCK = f"{SCOPE.dedup(STATUS, 'status', status=HOLDING)}\nand on ({JOB})\n({SUSPECTED_HANG} == 1 or {CRASH_LOOPING})"
"""Jobs that are suspected to hang or are in a crash loop."""


def _stuck(expr: str) -> str:
    """Keep only stuck jobs, for the rows of their table."""
    return SCOPE.select_jobs(f"{expr}\nand on ({JOB})\n{STUCK}")


STATUS_COLUMN = Column(title="Status", label="status")
REASON_COLUMN = Column(title="Reason", label="reason")


def _reason(statuses: tuple[str, ...]) -> str:
    """Return the reason that the API reports for each job, as a label."""
    return _in_status(statuses, SCOPE.dedup("modelarts_training_job_status_reason", "reason"))


NOW = Row(
    "Now",
    tuple(
        stat_panel(
            PanelOptions(title=title, description=description, unit="none", width=3, height=4, thresholds=thresholds),
            Query(SCOPE.or_zero(f"count({SCOPE.select_jobs(jobs)})")),
        )
        for title, description, jobs, thresholds in (
            (
                "Initializing",
                "Selected jobs that are being created, before they are queued or start.",
                SCOPE.dedup(STATUS, status="initializing"),
                Thresholds(palette.BLUE),
            ),
            (
                "Queued",
                "Selected jobs that wait for resources.",
                SCOPE.dedup(STATUS, status="queued"),
                Thresholds(palette.YELLOW),
            ),
            (
                "Running",
                "Selected jobs that run or are being scaled.",
                SCOPE.dedup(STATUS, status=("running", "scaling")),
                Thresholds(palette.GREEN),
            ),
            (
                "Terminating",
                "Selected jobs that are being terminated and still hold their nodes.",
                SCOPE.dedup(STATUS, status="terminating"),
                Thresholds(palette.BLUE, ((1, palette.ORANGE),)),
            ),
            (
                "Completed",
                "Selected jobs that completed, until their retention ends (collection.retention).",
                SCOPE.dedup(STATUS, status="completed"),
                Thresholds(palette.GREEN),
            ),
            (
                "Failed or lost",
                "Selected jobs that failed or were lost, until their retention ends.",
                SCOPE.dedup(STATUS, status=FAILED),
                Thresholds(palette.GREEN, ((1, palette.ORANGE), (20, palette.RED))),
            ),
            (
                "Suspected hangs",
                "Selected jobs that were busy before and whose samples have not changed for metrics.hang_after.",
                f"{SUSPECTED_HANG} == 1",
                ZERO_IS_GOOD,
            ),
            (
                "Crash loops",
                "Selected jobs whose newest runs, two or more, each failed within ten minutes and were recovered.",
                CRASH_LOOPING,
                ZERO_IS_GOOD,
            ),
        )
    ),
)

STUCK_ROW = Row(
    "Stuck",
    (
        table_panel(
            PanelOptions(
                title="Stuck jobs",
                description="Jobs that are suspected to hang (no sampled value has changed for metrics.hang_after) "
                "or are in a crash loop (two or more runs in a row failed within ten minutes of their start). Both "
                "hold nodes without progress. Sorted by accelerators.",
                unit="none",
                width=24,
                height=6,
            ),
            {
                "A": SCOPE.join_info(STUCK, "job_name", "user", "pool_id"),
                "B": _stuck(SUSPECTED_HANG),
                "C": _stuck(SCOPE.dedup("modelarts_training_job_flat_seconds")),
                "D": _stuck(SCOPE.dedup("modelarts_training_job_crash_loop_runs")),
                "E": _stuck(f"sum by ({JOB}) ({SCOPE.dedup('modelarts_training_job_recoveries', 'policy')})"),
                "F": _stuck(f"(time() - {SCOPE.dedup('modelarts_training_job_last_recovery_timestamp_seconds')})"),
                "G": _stuck(_of_job("modelarts_training_job_accelerator_utilization_ratio")),
                "H": _stuck(_of_job("modelarts_training_job_status_accelerators")),
            },
            (
                *JOB_COLUMNS,
                STATUS_COLUMN,
                Column(title="Accelerators", value="H", unit="none", thresholds=NEUTRAL),
                Column(
                    title="Hang",
                    value="B",
                    mappings=palette.value_mappings({1: ("suspected", palette.RED), 0: ("no", palette.GREEN)}),
                ),
                Column(title="No change for", value="C", unit="s", decimals=0, thresholds=IDLE_S),
                Column(title="Utilisation", value="G", unit="percentunit", decimals=0, thresholds=UTILISATION),
                Column(title="Failed runs in a row", value="D", unit="none", thresholds=palette.CRASH_LOOP),
                Column(title="Recoveries", value="E", unit="none"),
                Column(title="Since last recovery", value="F", unit="s", decimals=0),
            ),
            sort_by="Accelerators",
        ),
    ),
)

RUNNING = Row(
    "Running",
    (
        table_panel(
            PanelOptions(
                title="Running jobs",
                description="Jobs that hold nodes. Click a name for its details. Check jobs with low utilisation "
                "and many accelerators first. A slowest task far below the mean is a straggler. Fewer nodes than "
                "requested: the job runs degraded.",
                unit="none",
                width=24,
                height=11,
            ),
            {
                "A": SCOPE.join_info(SCOPE.dedup(STATUS, "status", status=HOLDING), "job_name", "user", "pool_id"),
                "B": _in_status(
                    HOLDING, f"(time() - {SCOPE.dedup('modelarts_training_job_start_timestamp_seconds')})"
                ),
                "C": _in_status(HOLDING, _of_job("modelarts_training_job_status_accelerators")),
                "D": _in_status(HOLDING, SCOPE.dedup("modelarts_training_job_status_nodes")),
                "E": _in_status(HOLDING, SCOPE.dedup("modelarts_training_job_spec_nodes")),
                "F": _in_status(HOLDING, _of_job("modelarts_training_job_accelerator_utilization_ratio")),
                "G": _in_status(HOLDING, _of_job("modelarts_training_job_accelerator_utilization_min_ratio")),
                "H": _in_status(HOLDING, _of_job("modelarts_training_job_accelerator_memory_utilization_ratio")),
                "I": _in_status(HOLDING, SCOPE.dedup("modelarts_training_job_idle_seconds")),
            },
            (
                *JOB_COLUMNS,
                STATUS_COLUMN,
                Column(title="Run time", value="B", unit="s", decimals=1),
                Column(title="Accelerators", value="C", unit="none", thresholds=NEUTRAL),
                Column(title="Nodes", value="D", unit="none"),
                Column(title="Requested nodes", value="E", unit="none"),
                Column(title="Utilisation", value="F", unit="percentunit", decimals=0, thresholds=UTILISATION),
                Column(title="Slowest task", value="G", unit="percentunit", decimals=0, thresholds=UTILISATION),
                Column(title="Memory", value="H", unit="percentunit", decimals=0, thresholds=NEUTRAL),
                Column(title="Idle for", value="I", unit="s", decimals=0, thresholds=IDLE_S),
            ),
            sort_by="Accelerators",
        ),
    ),
)

QUEUE = Row(
    "Waiting",
    (
        table_panel(
            PanelOptions(
                title="Waiting jobs",
                description="Jobs that are initializing or queued, the longest queue time first, with what they "
                "request and the reason that the API reports.",
                unit="none",
                width=24,
                height=8,
            ),
            {
                "A": SCOPE.join_info(
                    SCOPE.dedup(STATUS, "status", status=WAITING), "job_name", "user", "pool_id", "flavor"
                ),
                "B": _in_status(
                    WAITING, f"(time() - {SCOPE.dedup('modelarts_training_job_waiting_since_timestamp_seconds')})"
                ),
                "C": _reason(WAITING),
                "D": _in_status(WAITING, _of_job("modelarts_training_job_spec_accelerators")),
                "E": _in_status(WAITING, SCOPE.dedup("modelarts_training_job_spec_nodes")),
            },
            (
                *JOB_COLUMNS,
                STATUS_COLUMN,
                REASON_COLUMN,
                Column(title="Queue time", value="B", unit="s", decimals=1, thresholds=WAIT_S),
                Column(title="Requested accelerators", value="D", unit="none", thresholds=NEUTRAL),
                Column(title="Requested nodes", value="E", unit="none"),
                Column(title="Flavor", label="flavor"),
            ),
            sort_by="Queue time",
        ),
    ),
)

STATUS_HISTORY = Row(
    "Status history",
    (
        state_timeline_panel(
            PanelOptions(
                title="Status of the newest jobs",
                description=f"Status over time of the {MAX_SERIES} selected jobs that were submitted last; select "
                "jobs above to "
                "see others. Yellow: queued. Red at the end: failed. Click a row for the details of the job.",
                unit="none",
                width=24,
                height=15,
                links=(link.to_job_of_series(),),
            ),
            Query(
                SCOPE.join_info(
                    f"{status_code(SCOPE, palette.CODES)}\nand on ({JOB})\n"
                    f"topk({MAX_SERIES}, "
                    f"{SCOPE.dedup('modelarts_training_job_submitted_timestamp_seconds', at_end=True)}\n"
                    f"and on ({JOB})\n{SCOPE.selector(INFO, at_end=True)})",
                    "job_name",
                    "user",
                ),
                "{{job_name}}",
            ),
        ),
    ),
)

FAILURES = Row(
    "Failures",
    (
        table_panel(
            PanelOptions(
                title="Recent failures",
                description="Jobs that failed or were lost, the newest first, until their retention ends. Reason: "
                "the step at which the job failed, as the API reports it. Exit code: the largest of the failed "
                "tasks; 137 often means out of memory. The v1 API reports no exit codes.",
                unit="none",
                width=24,
                height=10,
            ),
            {
                "A": SCOPE.join_info(SCOPE.dedup(STATUS, "status", status=FAILED), "job_name", "user", "pool_id"),
                "B": _in_status(FAILED, f"(1000 * {SCOPE.dedup('modelarts_training_job_end_timestamp_seconds')})"),
                "C": _reason(FAILED),
                "D": _in_status(FAILED, SCOPE.dedup("modelarts_training_job_task_exit_code")),
                "E": _in_status(FAILED, SCOPE.dedup("modelarts_training_job_run_duration_seconds")),
                "F": _in_status(FAILED, _of_job("modelarts_training_job_spec_accelerators")),
            },
            (
                Column(title="Ended", value="B", unit="dateTimeAsIso", width=170),
                *JOB_COLUMNS,
                STATUS_COLUMN,
                REASON_COLUMN,
                Column(
                    title="Exit code",
                    value="D",
                    unit="none",
                    thresholds=Thresholds(palette.ORANGE, ((137, palette.RED), (138, palette.ORANGE))),
                ),
                Column(title="Run time", value="E", unit="s", decimals=1),
                Column(title="Requested accelerators", value="F", unit="none", thresholds=NEUTRAL),
            ),
            sort_by="Ended",
        ),
    ),
)

BOARD = Board(
    uid=link.JOBS,
    title="ModelArts / Jobs",
    description="Running and waiting jobs, the status history of the newest, and recent failures with reason and "
    "exit code.",
    variables=variables(SCOPE),
    rows=(NOW, RUNNING, STUCK_ROW, QUEUE, STATUS_HISTORY, FAILURES),
    annotations=(annotation.failures(SCOPE),),
)
