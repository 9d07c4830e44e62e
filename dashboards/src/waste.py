"""Waste: idle and lost accelerators by user and job, and straggling tasks."""

from . import annotation, link, palette
from .accelerator_hours import HELD as HELD_SECONDS
from .accelerator_hours import IDLE as IDLE_SECONDS
from .accelerator_hours import LOST as LOST_SECONDS
from .accelerator_hours import hours, share_of_held
from .board import Board, Row
from .palette import IDLE_S, UTILISATION, Thresholds
from .panel import (
    JOB_COLUMNS,
    Column,
    PanelOptions,
    Query,
    bar_gauge_panel,
    stat_panel,
    table_panel,
    time_series_panel,
)
from .promql import JOB, Scope
from .variable import custom_variable, variables

SCOPE = Scope(frozenset({"project", "pool", "user"}))

HELD_BY_JOB = SCOPE.dedup("modelarts_training_job_status_accelerators", "accelerator")
HELD = SCOPE.select_jobs(HELD_BY_JOB)
UTILISATION_RATIO = SCOPE.dedup("modelarts_training_job_accelerator_utilization_ratio", "accelerator")
IDLE_TIME = f"({SCOPE.dedup('modelarts_training_job_idle_seconds')} >= $idle_for)"
IDLE_BY_JOB = f"{HELD_BY_JOB}\nand on ({JOB})\n{IDLE_TIME}"
IDLE = SCOPE.select_jobs(IDLE_BY_JOB)

MEAN = SCOPE.dedup("modelarts_training_job_accelerator_utilization_ratio")
SLOWEST = SCOPE.dedup("modelarts_training_job_accelerator_utilization_min_ratio")
STRAGGLING = f"({SLOWEST}\n/ on ({JOB})\n({MEAN} > 0.2)\n< $straggler_below)"
"""Slowest task divided by the mean. Jobs with a mean below 0.2 are excluded: they are idle as a whole."""

ENDED_UNUSED = (
    f"(1 - {SCOPE.dedup('modelarts_training_job_accelerator_utilization_mean_ratio')})\n"
    f"* on ({JOB})\n(sum by ({JOB}) ({SCOPE.dedup('modelarts_training_job_spec_accelerators', 'accelerator')}))\n"
    f"* on ({JOB})\n{SCOPE.dedup('modelarts_training_job_run_duration_seconds')} / 3600\n"
    f"and on ({JOB})\n{SCOPE.dedup('modelarts_training_job_end_timestamp_seconds')}"
)
"""Accelerator-hours that a finished job held and did not use."""


def _of(name: str, *, among: str) -> str:
    """Return one value for each job of `among`, summed over other labels."""
    return SCOPE.select_jobs(f"sum by ({JOB}) ({SCOPE.dedup(name, 'accelerator')})\nand on ({JOB})\n{among}")


NOW = Row(
    "Now",
    (
        stat_panel(
            PanelOptions(
                title="Idle accelerators",
                description="Accelerators held by jobs that have been idle for at least the time selected above: "
                "all their accelerators are below the exporter's idle threshold. Terminating these jobs would free "
                "them.",
                unit="none",
                width=6,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE), (16, palette.RED))),
            ),
            Query(SCOPE.or_zero(f"sum({IDLE})")),
        ),
        stat_panel(
            PanelOptions(
                title="Idle share of held accelerators",
                description="Idle accelerators divided by held accelerators.",
                unit="percentunit",
                width=6,
                height=4,
                thresholds=palette.WASTED_SHARE,
                decimals=0,
                no_value="none held",
            ),
            Query(f"({SCOPE.or_zero(f'sum({IDLE})')})\n/\n(sum({HELD}) > 0)"),
        ),
        stat_panel(
            PanelOptions(
                title="Unused accelerators (equivalent)",
                description="Sum over jobs of held accelerators times (1 - utilisation): the equivalent number of "
                "fully idle accelerators. Jobs without samples are excluded.",
                unit="none",
                width=6,
                height=4,
                decimals=0,
                no_value="no samples",
                thresholds=Thresholds(palette.BLUE),
            ),
            Query(f"sum(\n({HELD})\n* on ({JOB}, accelerator)\n(1 - {UTILISATION_RATIO})\n)"),
        ),
        stat_panel(
            PanelOptions(
                title="Straggling jobs",
                description="Jobs whose slowest task is below the selected share of the mean utilisation over all "
                "tasks. Jobs with a mean below 20 % are excluded.",
                unit="none",
                width=6,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
            ),
            Query(SCOPE.or_zero(f"count({SCOPE.select_jobs(STRAGGLING)})")),
        ),
    ),
)

TIME = Row(
    "Over time",
    (
        time_series_panel(
            PanelOptions(
                title="Use of held accelerators",
                description="Held accelerators: used (held times utilisation), unused (the rest of jobs with "
                "samples), and without samples. Dashed: held by jobs that have been idle for the selected time.",
                unit="none",
                width=12,
                height=8,
                decimals=0,
            ),
            Query(f"sum(\n({HELD})\n* on ({JOB}, accelerator)\n{UTILISATION_RATIO}\n)", "used"),
            Query(f"sum(\n({HELD})\n* on ({JOB}, accelerator)\n(1 - {UTILISATION_RATIO})\n)", "unused"),
            Query(f"sum(\n({HELD})\nunless on ({JOB}, accelerator)\n{UTILISATION_RATIO}\n)", "no samples"),
            Query(SCOPE.or_zero(f"sum({IDLE})"), "idle"),
            stacked=True,
            dashed="/^idle$/",
            colours={
                "used": palette.GREEN,
                "unused": palette.YELLOW,
                "no samples": palette.GREY,
                "idle": palette.RED,
            },
        ),
        time_series_panel(
            PanelOptions(
                title="Idle accelerators by user over time",
                description="Idle accelerators of the eight highest users at each point.",
                unit="none",
                width=12,
                height=8,
                decimals=0,
                no_value="none idle",
            ),
            Query(f"topk(8, sum by (user) ({SCOPE.join_info(IDLE_BY_JOB, 'user')}))", "{{user}}"),
            stacked=True,
        ),
    ),
)

RANGE = Row(
    "In the time range",
    (
        stat_panel(
            PanelOptions(
                title="Idle accelerator-hours",
                description="Accelerator-hours in which every task of the job was below the exporter's idle "
                "threshold, for longer than metrics.idle_grace. Independent of the idle time selected above, and "
                "including jobs that no longer exist. The board Users and cost shows the users.",
                unit="none",
                width=4,
                height=8,
                decimals=0,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
                no_value="none",
            ),
            Query(hours(SCOPE, IDLE_SECONDS)),
        ),
        stat_panel(
            PanelOptions(
                title="Idle share",
                description="Idle accelerator-hours divided by all accelerator-hours in the selected time range.",
                unit="percentunit",
                width=4,
                height=8,
                decimals=0,
                thresholds=palette.WASTED_SHARE,
                no_value="none held",
            ),
            Query(share_of_held(SCOPE, IDLE_SECONDS)),
        ),
        stat_panel(
            PanelOptions(
                title="Lost accelerator-hours",
                description="Accelerator-hours of runs that ended as failed or lost in the selected time range. A "
                "run counts at its end with all its hours.",
                unit="none",
                width=4,
                height=8,
                decimals=0,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
                no_value="none",
            ),
            Query(hours(SCOPE, LOST_SECONDS)),
        ),
        time_series_panel(
            PanelOptions(
                title="Accelerator-hours (1 h)",
                description="In the hour before each point: held (dashed; equal to the mean number of held "
                "accelerators), idle, and lost with runs that failed or were lost.",
                unit="none",
                width=12,
                height=8,
                decimals=0,
            ),
            Query(hours(SCOPE, HELD_SECONDS, over="1h"), "held"),
            Query(hours(SCOPE, IDLE_SECONDS, over="1h"), "idle"),
            Query(hours(SCOPE, LOST_SECONDS, over="1h"), "lost"),
            dashed="/^held$/",
            colours={"held": palette.BLUE, "idle": palette.YELLOW, "lost": palette.RED},
        ),
    ),
)

IDLE_ROW = Row(
    "Idle",
    (
        bar_gauge_panel(
            PanelOptions(
                title="Idle accelerators by user",
                description="The ten users who hold most idle accelerators. Click a bar for the jobs of the user.",
                unit="none",
                width=8,
                height=8,
                thresholds=Thresholds(palette.YELLOW, ((8, palette.ORANGE), (32, palette.RED))),
                links=(link.to_jobs_of_user(),),
                no_value="none idle",
            ),
            Query(f"sort_desc(topk(10, sum by (user) ({SCOPE.join_info(IDLE_BY_JOB, 'user')})))", "{{user}}"),
        ),
        table_panel(
            PanelOptions(
                title="Idle jobs",
                description="Jobs that have been idle for the selected time. Wasted so far: accelerators times the "
                "hours of this idle period, the largest first.",
                unit="none",
                width=16,
                height=8,
            ),
            {
                "A": SCOPE.join_info(
                    f"sum by ({JOB}) ({IDLE_BY_JOB})\n* on ({JOB})\n{IDLE_TIME} / 3600",
                    "job_name",
                    "user",
                    "pool_id",
                ),
                "B": SCOPE.select_jobs(IDLE_TIME),
                "C": _of("modelarts_training_job_status_accelerators", among=IDLE_TIME),
                "D": _of("modelarts_training_job_accelerator_utilization_mean_ratio", among=IDLE_TIME),
            },
            (
                *JOB_COLUMNS,
                Column(title="Idle for", value="B", unit="s", decimals=1, thresholds=IDLE_S),
                Column(title="Accelerators", value="C", unit="none", thresholds=palette.NEUTRAL),
                Column(title="Wasted so far (h)", value="A", unit="none", decimals=1, thresholds=palette.NEUTRAL),
                Column(
                    title="Utilisation of the run", value="D", unit="percentunit", decimals=0, thresholds=UTILISATION
                ),
            ),
            sort_by="Wasted so far (h)",
        ),
    ),
)

STRAGGLERS = Row(
    "Stragglers",
    (
        table_panel(
            PanelOptions(
                title="Stragglers",
                description="Jobs whose slowest task is below the selected share of the mean, the worst first. The "
                "other tasks wait for it: look for a faulty node, a full disk or uneven data.",
                unit="none",
                width=24,
                height=6,
            ),
            {
                "A": SCOPE.join_info(STRAGGLING, "job_name", "user", "pool_id"),
                "B": _of("modelarts_training_job_accelerator_utilization_ratio", among=STRAGGLING),
                "C": _of("modelarts_training_job_accelerator_utilization_min_ratio", among=STRAGGLING),
                "D": _of("modelarts_training_job_status_accelerators", among=STRAGGLING),
            },
            (
                *JOB_COLUMNS,
                Column(title="Mean", value="B", unit="percentunit", decimals=0, thresholds=UTILISATION),
                Column(title="Slowest task", value="C", unit="percentunit", decimals=0, thresholds=UTILISATION),
                Column(
                    title="Slowest / mean",
                    value="A",
                    unit="percentunit",
                    decimals=0,
                    thresholds=Thresholds(palette.RED, ((0.3, palette.ORANGE), (0.5, palette.YELLOW))),
                ),
                Column(title="Accelerators", value="D", unit="none", thresholds=palette.NEUTRAL),
            ),
            sort_by="Slowest / mean",
            descending=False,
        ),
    ),
)

FINISHED = Row(
    "Finished jobs",
    (
        table_panel(
            PanelOptions(
                title="Least used finished jobs",
                description="The 50 finished jobs with the most unused accelerator-hours: requested accelerators "
                "times run time times (1 - utilisation). Jobs are listed until their retention ends.",
                unit="none",
                width=24,
                height=9,
            ),
            {"A": f"sort_desc(topk(50, {SCOPE.join_info(ENDED_UNUSED, 'job_name', 'user', 'pool_id', 'flavor')}))"},
            (
                *JOB_COLUMNS,
                Column(title="Flavor", label="flavor"),
                Column(
                    title="Unused accelerator-hours",
                    value="A",
                    unit="none",
                    decimals=1,
                    thresholds=Thresholds(palette.GREEN, ((10, palette.YELLOW), (100, palette.RED))),
                ),
            ),
            sort_by="Unused accelerator-hours",
        ),
    ),
)

BOARD = Board(
    uid=link.WASTE,
    title="ModelArts / Waste",
    description="Idle and lost accelerators by user and job, and jobs with straggling tasks.",
    variables=[
        *variables(SCOPE),
        custom_variable(
            "idle_for",
            label="Idle for",
            description="Minimum idle time after which a job counts as idle.",
            options={"1 min": "60", "10 min": "600", "30 min": "1800", "1 h": "3600", "4 h": "14400"},
            default="10 min",
        ),
        custom_variable(
            "straggler_below",
            label="Straggler below",
            description="Share of the mean utilisation below which the slowest task is a straggler.",
            options={"30 %": "0.3", "50 %": "0.5", "80 %": "0.8", "95 %": "0.95"},
            default="50 %",
        ),
    ],
    rows=(NOW, TIME, RANGE, IDLE_ROW, STRAGGLERS, FINISHED),
    annotations=(annotation.failures(SCOPE),),
)
