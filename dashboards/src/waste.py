"""Waste: accelerators that are held and do nothing, by user and job, and tasks that hold their job up."""

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
READING = SCOPE.dedup("modelarts_training_job_accelerator_utilization_ratio", "accelerator")
IDLE_SINCE = f"({SCOPE.dedup('modelarts_training_job_idle_seconds')} >= $idle_for)"
IDLE_BY_JOB = f"{HELD_BY_JOB}\nand on ({JOB})\n{IDLE_SINCE}"
IDLE = SCOPE.select_jobs(IDLE_BY_JOB)

MEAN = SCOPE.dedup("modelarts_training_job_accelerator_utilization_ratio")
SLOWEST = SCOPE.dedup("modelarts_training_job_accelerator_utilization_min_ratio")
STRAGGLING = f"({SLOWEST}\n/ on ({JOB})\n({MEAN} > 0.2)\n< $straggler_below)"
"""A job whose mean is below a fifth has no straggler but another problem: it is idle."""

ENDED_UNUSED = (
    f"(1 - {SCOPE.dedup('modelarts_training_job_accelerator_utilization_mean_ratio')})\n"
    f"* on ({JOB})\n(sum by ({JOB}) ({SCOPE.dedup('modelarts_training_job_spec_accelerators', 'accelerator')}))\n"
    f"* on ({JOB})\n{SCOPE.dedup('modelarts_training_job_run_duration_seconds')} / 3600\n"
    f"and on ({JOB})\n{SCOPE.dedup('modelarts_training_job_end_timestamp_seconds')}"
)
"""Accelerator hours that a finished job held and did not use."""


def _of(name: str, *, among: str) -> str:
    """One value for each job of a table, whatever its further labels; absent for the others."""
    return SCOPE.select_jobs(f"sum by ({JOB}) ({SCOPE.dedup(name, 'accelerator')})\nand on ({JOB})\n{among}")


NOW = Row(
    "Now",
    (
        stat_panel(
            PanelOptions(
                title="Idle accelerators",
                description="Accelerators held by jobs whose accelerators have all been below the exporter's idle "
                "threshold for at least the time chosen above. Stopping those jobs would free them at once.",
                unit="none",
                width=6,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE), (16, palette.RED))),
            ),
            Query(SCOPE.or_zero(f"sum({IDLE})")),
        ),
        stat_panel(
            PanelOptions(
                title="Idle share of what is held",
                description="Idle accelerators over all that are held.",
                unit="percentunit",
                width=6,
                height=4,
                thresholds=palette.WASTED_SHARE,
                decimals=0,
                no_value="nothing is held",
            ),
            Query(f"({SCOPE.or_zero(f'sum({IDLE})')})\n/\n(sum({HELD}) > 0)"),
        ),
        stat_panel(
            PanelOptions(
                title="Unused while held",
                description="Accelerators held times the share of time in which they do nothing, over jobs with a reading: "
                "as if so many stood still all the time.",
                unit="none",
                width=6,
                height=4,
                decimals=0,
                no_value="no reading",
                thresholds=Thresholds(palette.BLUE),
            ),
            Query(f"sum(\n({HELD})\n* on ({JOB}, accelerator)\n(1 - {READING})\n)"),
        ),
        stat_panel(
            PanelOptions(
                title="Straggling jobs",
                description="Jobs whose slowest task is less busy than the chosen share of the mean over all their tasks. "
                "Jobs that are hardly busy at all are not counted.",
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
                title="What held accelerators do",
                description="All that is held, by what it does: used (held times utilisation), unused (the rest of jobs "
                "with a reading), and held by jobs of which there is no reading yet. Dashed: held by jobs that have "
                "been idle for the chosen time, the part that is easy to win back.",
                unit="none",
                width=12,
                height=8,
                decimals=0,
            ),
            Query(f"sum(\n({HELD})\n* on ({JOB}, accelerator)\n{READING}\n)", "used"),
            Query(f"sum(\n({HELD})\n* on ({JOB}, accelerator)\n(1 - {READING})\n)", "unused"),
            Query(f"sum(\n({HELD})\nunless on ({JOB}, accelerator)\n{READING}\n)", "no reading"),
            Query(SCOPE.or_zero(f"sum({IDLE})"), "idle"),
            stacked=True,
            dashed="/^idle$/",
            colours={
                "used": palette.GREEN,
                "unused": palette.YELLOW,
                "no reading": palette.GREY,
                "idle": palette.RED,
            },
        ),
        time_series_panel(
            PanelOptions(
                title="Idle accelerators by user over time",
                description="Idle accelerators of the eight users who have most of them at each moment.",
                unit="none",
                width=12,
                height=8,
                decimals=0,
                no_value="none is idle",
            ),
            Query(f"topk(8, sum by (user) ({SCOPE.join_info(IDLE_BY_JOB, 'user')}))", "{{user}}"),
            stacked=True,
        ),
    ),
)

RANGE = Row(
    "Over the chosen time",
    (
        stat_panel(
            PanelOptions(
                title="Idle card-hours",
                description="Accelerators times the hours in which every task of their job was below the exporter's idle "
                "threshold, in stretches longer than its setting metrics.idle_grace: whatever is chosen above, and "
                "of jobs that are gone too. The board Users and cost says whose.",
                unit="none",
                width=4,
                height=8,
                decimals=0,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
                no_value="none counted",
            ),
            Query(hours(SCOPE, IDLE_SECONDS)),
        ),
        stat_panel(
            PanelOptions(
                title="Idle share",
                description="Idle card-hours over all card-hours of the chosen time.",
                unit="percentunit",
                width=4,
                height=8,
                decimals=0,
                thresholds=palette.WASTED_SHARE,
                no_value="nothing was held",
            ),
            Query(share_of_held(SCOPE, IDLE_SECONDS)),
        ),
        stat_panel(
            PanelOptions(
                title="Lost card-hours",
                description="Card-hours of runs that ended as failed or lost within the chosen time, counted at their end "
                "with all their hours.",
                unit="none",
                width=4,
                height=8,
                decimals=0,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
                no_value="none counted",
            ),
            Query(hours(SCOPE, LOST_SECONDS)),
        ),
        time_series_panel(
            PanelOptions(
                title="Card-hours, in the hour before",
                description="Of the hour before each moment: held (dashed; it is how many accelerators were held on the "
                "mean), idled, and lost with runs that failed or were lost.",
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
                description="Who holds idle accelerators, the ten with most. Click a bar for the user's jobs.",
                unit="none",
                width=8,
                height=8,
                thresholds=Thresholds(palette.YELLOW, ((8, palette.ORANGE), (32, palette.RED))),
                links=(link.to_jobs_of_user(),),
                no_value="none is idle",
            ),
            Query(f"sort_desc(topk(10, sum by (user) ({SCOPE.join_info(IDLE_BY_JOB, 'user')})))", "{{user}}"),
        ),
        table_panel(
            PanelOptions(
                title="Idle jobs",
                description="Each job that has been idle for the chosen time. Wasted so far: accelerators times hours of "
                "this stretch of idleness; the largest first is whom to ask first.",
                unit="none",
                width=16,
                height=8,
            ),
            {
                "A": SCOPE.join_info(
                    f"sum by ({JOB}) ({IDLE_BY_JOB})\n* on ({JOB})\n{IDLE_SINCE} / 3600",
                    "job_name",
                    "user",
                    "pool_id",
                ),
                "B": SCOPE.select_jobs(IDLE_SINCE),
                "C": _of("modelarts_training_job_status_accelerators", among=IDLE_SINCE),
                "D": _of("modelarts_training_job_accelerator_utilization_mean_ratio", among=IDLE_SINCE),
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
                title="Straggling now",
                description="Jobs whose slowest task is less busy than the chosen share of the mean, the worst first. The "
                "others wait for it: look for a bad node, a full disk or uneven data.",
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
                    title="Slowest over mean",
                    value="A",
                    unit="percentunit",
                    decimals=0,
                    thresholds=Thresholds(palette.RED, ((0.3, palette.ORANGE), (0.5, palette.YELLOW))),
                ),
                Column(title="Accelerators", value="D", unit="none", thresholds=palette.NEUTRAL),
            ),
            sort_by="Slowest over mean",
            descending=False,
        ),
    ),
)

PAST = Row(
    "In hindsight",
    (
        table_panel(
            PanelOptions(
                title="Least used finished jobs",
                description="The 50 finished jobs that left most accelerator hours unused: what they asked for, times how "
                "long they ran, times the share in which it did nothing. As far back as the exporter keeps finished "
                "jobs.",
                unit="none",
                width=24,
                height=9,
            ),
            {"A": f"sort_desc(topk(50, {SCOPE.join_info(ENDED_UNUSED, 'job_name', 'user', 'pool_id', 'flavor')}))"},
            (
                *JOB_COLUMNS,
                Column(title="Flavor", label="flavor"),
                Column(
                    title="Unused accelerator hours",
                    value="A",
                    unit="none",
                    decimals=1,
                    thresholds=Thresholds(palette.GREEN, ((10, palette.YELLOW), (100, palette.RED))),
                ),
            ),
            sort_by="Unused accelerator hours",
        ),
    ),
)

BOARD = Board(
    uid=link.WASTE,
    title="ModelArts / Waste",
    description="Accelerators that are held and do nothing, by user and job, and tasks that hold their job up.",
    variables=[
        *variables(SCOPE),
        custom_variable(
            "idle_for",
            label="Idle for",
            description="From how long a stretch of idleness on a job counts as idle.",
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
    rows=(NOW, TIME, RANGE, IDLE_ROW, STRAGGLERS, PAST),
    annotations=(annotation.failures(SCOPE),),
)
