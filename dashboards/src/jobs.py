"""Jobs: each job that runs or waits, what each did over time, and the recent failures with their reasons."""

from . import annotation, link, palette
from .board import Board, Row
from .palette import IDLE_S, NEUTRAL, UTILISATION, WAIT_S, ZERO_IS_GOOD, Thresholds
from .panel import JOB_COLUMNS, MAX_SERIES, Column, PanelOptions, Query, stat_panel, state_timeline_panel, table_panel
from .promql import FAILED, HOLDING, INFO, JOB, STATUS, WAITING, Scope, status_code
from .variable import variables

SCOPE = Scope(frozenset({"project", "pool", "user", "training_job"}))


def _while(statuses: tuple[str, ...], expr: str) -> str:
    """Only chosen jobs in one of the statuses: what the rows of one table have in common."""
    return SCOPE.in_status(SCOPE.select_jobs(expr), *statuses)


def _of_job(name: str) -> str:
    """One value for each job, whatever its further labels."""
    return f"sum by ({JOB}) ({SCOPE.dedup(name, 'accelerator')})"


HUNG = SCOPE.dedup("modelarts_training_job_suspected_hang")
LOOPING = SCOPE.in_status(f"({SCOPE.dedup('modelarts_training_job_crash_loop_runs')} > 1)", *HOLDING)
STUCK = f"{SCOPE.dedup(STATUS, 'status', status=HOLDING)}\nand on ({JOB})\n({HUNG} == 1 or {LOOPING})"
"""Jobs that hang or run in a loop."""


def _stuck(expr: str) -> str:
    """Only stuck jobs: what the rows of their table have in common."""
    return SCOPE.select_jobs(f"{expr}\nand on ({JOB})\n{STUCK}")


STATUS_WORD = Column(title="Status", label="status")
REASON = Column(title="Reason", label="reason")


def _reason(statuses: tuple[str, ...]) -> str:
    """The cloud's word for each job, as a label."""
    return _while(statuses, SCOPE.dedup("modelarts_training_job_status_reason", "reason"))


NOW = Row(
    "Now",
    tuple(
        stat_panel(
            PanelOptions(title=title, description=about, unit="none", width=3, height=4, thresholds=thresholds),
            Query(SCOPE.or_zero(f"count({SCOPE.select_jobs(one)})")),
        )
        for title, about, one, thresholds in (
            (
                "Initialising",
                "Chosen jobs that are being created, before they queue or start.",
                SCOPE.dedup(STATUS, status="initializing"),
                Thresholds(palette.BLUE),
            ),
            (
                "Queued",
                "Chosen jobs that wait for resources.",
                SCOPE.dedup(STATUS, status="queued"),
                Thresholds(palette.YELLOW),
            ),
            (
                "Running now",
                "Chosen jobs that run or change their size.",
                SCOPE.dedup(STATUS, status=("running", "scaling")),
                Thresholds(palette.GREEN),
            ),
            (
                "Terminating",
                "Chosen jobs that are being stopped and still hold their nodes.",
                SCOPE.dedup(STATUS, status="terminating"),
                Thresholds(palette.BLUE, ((1, palette.ORANGE),)),
            ),
            (
                "Completed",
                "Chosen jobs that completed, as far back as the exporter keeps finished jobs (collection.retention).",
                SCOPE.dedup(STATUS, status="completed"),
                Thresholds(palette.GREEN),
            ),
            (
                "Failed or lost",
                "Chosen jobs that failed or were lost, as far back as the exporter keeps finished jobs.",
                SCOPE.dedup(STATUS, status=FAILED),
                Thresholds(palette.GREEN, ((1, palette.ORANGE), (20, palette.RED))),
            ),
            (
                "Suspected hangs",
                "Chosen jobs that were alive once and of which nothing has moved for the setting metrics.hang_after.",
                f"{HUNG} == 1",
                ZERO_IS_GOOD,
            ),
            (
                "Crash loops",
                "Chosen jobs whose newest runs, two or more, each broke within ten minutes and were recovered.",
                LOOPING,
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
                description="Each job that is suspected to hang (nothing the cloud samples has moved for "
                "metrics.hang_after, though it was alive once) or runs in a crash loop (two or more runs in a row "
                "that broke within ten minutes). Both hold nodes for nothing, the most accelerators first.",
                unit="none",
                width=24,
                height=6,
            ),
            {
                "A": SCOPE.join_info(STUCK, "job_name", "user", "pool_id"),
                "B": _stuck(HUNG),
                "C": _stuck(SCOPE.dedup("modelarts_training_job_flat_seconds")),
                "D": _stuck(SCOPE.dedup("modelarts_training_job_crash_loop_runs")),
                "E": _stuck(f"sum by ({JOB}) ({SCOPE.dedup('modelarts_training_job_recoveries', 'policy')})"),
                "F": _stuck(f"(time() - {SCOPE.dedup('modelarts_training_job_last_recovery_timestamp_seconds')})"),
                "G": _stuck(_of_job("modelarts_training_job_accelerator_utilization_ratio")),
                "H": _stuck(_of_job("modelarts_training_job_status_accelerators")),
            },
            (
                *JOB_COLUMNS,
                STATUS_WORD,
                Column(title="Accelerators", value="H", unit="none", thresholds=NEUTRAL),
                Column(
                    title="Hang",
                    value="B",
                    mappings=palette.value_mappings({1: ("suspected", palette.RED), 0: ("no", palette.GREEN)}),
                ),
                Column(title="Flat for", value="C", unit="s", decimals=0, thresholds=IDLE_S),
                Column(title="Utilisation", value="G", unit="percentunit", decimals=0, thresholds=UTILISATION),
                Column(title="Runs in a loop", value="D", unit="none", thresholds=palette.CRASH_LOOP),
                Column(title="Recovered", value="E", unit="none"),
                Column(title="Last recovery", value="F", unit="s", decimals=0),
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
                description="Each job that holds nodes. Click a name for its details. Low utilisation with many "
                "accelerators is what to ask about first; a slowest task far below the mean is a straggler; nodes "
                "below what was asked for: it runs degraded.",
                unit="none",
                width=24,
                height=11,
            ),
            {
                "A": SCOPE.join_info(SCOPE.dedup(STATUS, "status", status=HOLDING), "job_name", "user", "pool_id"),
                "B": _while(HOLDING, f"(time() - {SCOPE.dedup('modelarts_training_job_start_timestamp_seconds')})"),
                "C": _while(HOLDING, _of_job("modelarts_training_job_status_accelerators")),
                "D": _while(HOLDING, SCOPE.dedup("modelarts_training_job_status_nodes")),
                "E": _while(HOLDING, SCOPE.dedup("modelarts_training_job_spec_nodes")),
                "F": _while(HOLDING, _of_job("modelarts_training_job_accelerator_utilization_ratio")),
                "G": _while(HOLDING, _of_job("modelarts_training_job_accelerator_utilization_min_ratio")),
                "H": _while(HOLDING, _of_job("modelarts_training_job_accelerator_memory_utilization_ratio")),
                "I": _while(HOLDING, SCOPE.dedup("modelarts_training_job_idle_seconds")),
            },
            (
                *JOB_COLUMNS,
                STATUS_WORD,
                Column(title="Running for", value="B", unit="s", decimals=1),
                Column(title="Accelerators", value="C", unit="none", thresholds=NEUTRAL),
                Column(title="Nodes", value="D", unit="none"),
                Column(title="Asked nodes", value="E", unit="none"),
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
                description="Each job that is initialising or queued, the longest wait first, with what it asks for and "
                "the cloud's word for why it waits.",
                unit="none",
                width=24,
                height=8,
            ),
            {
                "A": SCOPE.join_info(
                    SCOPE.dedup(STATUS, "status", status=WAITING), "job_name", "user", "pool_id", "flavor"
                ),
                "B": _while(
                    WAITING, f"(time() - {SCOPE.dedup('modelarts_training_job_submitted_timestamp_seconds')})"
                ),
                "C": _reason(WAITING),
                "D": _while(WAITING, _of_job("modelarts_training_job_spec_accelerators")),
                "E": _while(WAITING, SCOPE.dedup("modelarts_training_job_spec_nodes")),
            },
            (
                *JOB_COLUMNS,
                STATUS_WORD,
                REASON,
                Column(title="Waiting for", value="B", unit="s", decimals=1, thresholds=WAIT_S),
                Column(title="Asked accelerators", value="D", unit="none", thresholds=NEUTRAL),
                Column(title="Asked nodes", value="E", unit="none"),
                Column(title="Flavor", label="flavor"),
            ),
            sort_by="Waiting for",
        ),
    ),
)

COURSE = Row(
    "Course",
    (
        state_timeline_panel(
            PanelOptions(
                title="Status of the newest jobs",
                description=f"The course of the {MAX_SERIES} chosen jobs that were submitted last; choose jobs above to see "
                "others. Long yellow: they queue; red at the end: they failed. Click a strip for the job's details.",
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
                description="Each job that failed or was lost, the newest first, as far back as the exporter keeps "
                "finished jobs. Reason: the step at which it failed, in the cloud's words. Exit code: the largest of "
                "the tasks that failed; 137 often means out of memory. The old generation of the API tells none.",
                unit="none",
                width=24,
                height=10,
            ),
            {
                "A": SCOPE.join_info(SCOPE.dedup(STATUS, "status", status=FAILED), "job_name", "user", "pool_id"),
                "B": _while(FAILED, f"(1000 * {SCOPE.dedup('modelarts_training_job_end_timestamp_seconds')})"),
                "C": _reason(FAILED),
                "D": _while(FAILED, SCOPE.dedup("modelarts_training_job_task_exit_code")),
                "E": _while(FAILED, SCOPE.dedup("modelarts_training_job_run_duration_seconds")),
                "F": _while(FAILED, _of_job("modelarts_training_job_spec_accelerators")),
            },
            (
                Column(title="Ended", value="B", unit="dateTimeAsIso", width=170),
                *JOB_COLUMNS,
                STATUS_WORD,
                REASON,
                Column(
                    title="Exit code",
                    value="D",
                    unit="none",
                    thresholds=Thresholds(palette.ORANGE, ((137, palette.RED), (138, palette.ORANGE))),
                ),
                Column(title="Ran for", value="E", unit="s", decimals=1),
                Column(title="Asked accelerators", value="F", unit="none", thresholds=NEUTRAL),
            ),
            sort_by="Ended",
        ),
    ),
)

BOARD = Board(
    uid=link.JOBS,
    title="ModelArts / Jobs",
    description="Each job that runs or waits, the course of the newest, and the recent failures with reason and exit code.",
    variables=variables(SCOPE),
    rows=(NOW, RUNNING, STUCK_ROW, QUEUE, COURSE, FAILURES),
    annotations=(annotation.failures(SCOPE),),
)
