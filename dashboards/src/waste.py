"""Waste: accelerators that are held and do nothing, by user and job, and tasks that hold their job up."""

from . import annotation, frame, link, palette
from .board import Board, Row
from .card_hours import HELD as HELD_SECONDS
from .card_hours import IDLE as IDLE_SECONDS
from .card_hours import LOST as LOST_SECONDS
from .card_hours import hours, share
from .palette import IDLE_S, UTILISATION, Thresholds
from .panel import Column, Head, Query, bars, graph, number, rows
from .promql import JOB, Scope
from .variable import choice

SCOPE = Scope(frozenset({"project", "pool", "user"}))

HELD_BY_JOB = SCOPE.one("modelarts_training_job_status_accelerators", "accelerator")
HELD = SCOPE.chosen(HELD_BY_JOB)
READING = SCOPE.one("modelarts_training_job_accelerator_utilization_ratio", "accelerator")
IDLE_SINCE = f"({SCOPE.one('modelarts_training_job_idle_seconds')} >= $idle_for)"
IDLE_BY_JOB = f"{HELD_BY_JOB}\nand on ({JOB})\n{IDLE_SINCE}"
IDLE = SCOPE.chosen(IDLE_BY_JOB)

MEAN = SCOPE.one("modelarts_training_job_accelerator_utilization_ratio")
SLOWEST = SCOPE.one("modelarts_training_job_accelerator_utilization_min_ratio")
STRAGGLING = f"({SLOWEST}\n/ on ({JOB})\n({MEAN} > 0.2)\n< $straggler_below)"
"""A job whose mean is below a fifth has no straggler but another problem: it is idle."""

ENDED_UNUSED = (
    f"(1 - {SCOPE.one('modelarts_training_job_accelerator_utilization_mean_ratio')})\n"
    f"* on ({JOB})\n(sum by ({JOB}) ({SCOPE.one('modelarts_training_job_spec_accelerators', 'accelerator')}))\n"
    f"* on ({JOB})\n{SCOPE.one('modelarts_training_job_run_duration_seconds')} / 3600\n"
    f"and on ({JOB})\n{SCOPE.one('modelarts_training_job_end_timestamp_seconds')}"
)
"""Accelerator hours that a finished job held and did not use."""


def _of(name: str, *, among: str) -> str:
    """One value for each job of a table, whatever its further labels; absent for the others."""
    return SCOPE.chosen(f"sum by ({JOB}) ({SCOPE.one(name, 'accelerator')})\nand on ({JOB})\n{among}")


NOW = Row(
    "Now",
    (
        number(
            Head(
                title="Idle accelerators",
                about="Accelerators held by jobs whose accelerators have all been below the exporter's idle "
                "threshold for at least the time chosen above. Stopping those jobs would free them at once.",
                unit="none",
                width=6,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE), (16, palette.RED))),
            ),
            Query(SCOPE.or_zero(f"sum({IDLE})")),
        ),
        number(
            Head(
                title="Idle share of what is held",
                about="Idle accelerators over all that are held.",
                unit="percentunit",
                width=6,
                height=4,
                thresholds=palette.SHARE_IDLE,
                decimals=0,
                no_value="nothing is held",
            ),
            Query(f"({SCOPE.or_zero(f'sum({IDLE})')})\n/\n(sum({HELD}) > 0)"),
        ),
        number(
            Head(
                title="Unused while held",
                about="Accelerators held times the share of time in which they do nothing, over jobs with a reading: "
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
        number(
            Head(
                title="Straggling jobs",
                about="Jobs whose slowest task is less busy than the chosen share of the mean over all their tasks. "
                "Jobs that are hardly busy at all are not counted.",
                unit="none",
                width=6,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
            ),
            Query(SCOPE.or_zero(f"count({SCOPE.chosen(STRAGGLING)})")),
        ),
    ),
)

TIME = Row(
    "Over time",
    (
        graph(
            Head(
                title="What held accelerators do",
                about="All that is held, by what it does: used (held times utilisation), unused (the rest of jobs "
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
        graph(
            Head(
                title="Idle accelerators by user over time",
                about="Idle accelerators of the eight users who have most of them at each moment.",
                unit="none",
                width=12,
                height=8,
                decimals=0,
                no_value="none is idle",
            ),
            Query(f"topk(8, sum by (user) ({SCOPE.told(IDLE_BY_JOB, 'user')}))", "{{user}}"),
            stacked=True,
        ),
    ),
)

RANGE = Row(
    "Over the chosen time",
    (
        number(
            Head(
                title="Idle card-hours",
                about="Accelerators times the hours in which every task of their job was below the exporter's idle "
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
        number(
            Head(
                title="Idle share",
                about="Idle card-hours over all card-hours of the chosen time.",
                unit="percentunit",
                width=4,
                height=8,
                decimals=0,
                thresholds=palette.SHARE_IDLE,
                no_value="nothing was held",
            ),
            Query(share(SCOPE, IDLE_SECONDS)),
        ),
        number(
            Head(
                title="Lost card-hours",
                about="Card-hours of runs that ended as failed or lost within the chosen time, counted at their end "
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
        graph(
            Head(
                title="Card-hours, in the hour before",
                about="Of the hour before each moment: held (dashed; it is how many accelerators were held on the "
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
        bars(
            Head(
                title="Idle accelerators by user",
                about="Who holds idle accelerators, the ten with most. Click a bar for the user's jobs.",
                unit="none",
                width=8,
                height=8,
                thresholds=Thresholds(palette.YELLOW, ((8, palette.ORANGE), (32, palette.RED))),
                links=(link.to_jobs_of_user(),),
                no_value="none is idle",
            ),
            Query(f"sort_desc(topk(10, sum by (user) ({SCOPE.told(IDLE_BY_JOB, 'user')})))", "{{user}}"),
        ),
        rows(
            Head(
                title="Idle jobs",
                about="Each job that has been idle for the chosen time. Wasted so far: accelerators times hours of "
                "this stretch of idleness; the largest first is whom to ask first.",
                unit="none",
                width=16,
                height=8,
            ),
            {
                "A": SCOPE.told(
                    f"sum by ({JOB}) ({IDLE_BY_JOB})\n* on ({JOB})\n{IDLE_SINCE} / 3600",
                    "job_name",
                    "user",
                    "pool_id",
                ),
                "B": SCOPE.chosen(IDLE_SINCE),
                "C": _of("modelarts_training_job_status_accelerators", among=IDLE_SINCE),
                "D": _of("modelarts_training_job_accelerator_utilization_mean_ratio", among=IDLE_SINCE),
            },
            (
                *frame.WHO,
                Column(title="Idle for", value="B", unit="s", decimals=1, thresholds=IDLE_S),
                Column(title="Accelerators", value="C", unit="none", thresholds=palette.PLAIN),
                Column(title="Wasted so far (h)", value="A", unit="none", decimals=1, thresholds=palette.PLAIN),
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
        rows(
            Head(
                title="Straggling now",
                about="Jobs whose slowest task is less busy than the chosen share of the mean, the worst first. The "
                "others wait for it: look for a bad node, a full disk or uneven data.",
                unit="none",
                width=24,
                height=6,
            ),
            {
                "A": SCOPE.told(STRAGGLING, "job_name", "user", "pool_id"),
                "B": _of("modelarts_training_job_accelerator_utilization_ratio", among=STRAGGLING),
                "C": _of("modelarts_training_job_accelerator_utilization_min_ratio", among=STRAGGLING),
                "D": _of("modelarts_training_job_status_accelerators", among=STRAGGLING),
            },
            (
                *frame.WHO,
                Column(title="Mean", value="B", unit="percentunit", decimals=0, thresholds=UTILISATION),
                Column(title="Slowest task", value="C", unit="percentunit", decimals=0, thresholds=UTILISATION),
                Column(
                    title="Slowest over mean",
                    value="A",
                    unit="percentunit",
                    decimals=0,
                    thresholds=Thresholds(palette.RED, ((0.3, palette.ORANGE), (0.5, palette.YELLOW))),
                ),
                Column(title="Accelerators", value="D", unit="none", thresholds=palette.PLAIN),
            ),
            sort_by="Slowest over mean",
            descending=False,
        ),
    ),
)

PAST = Row(
    "In hindsight",
    (
        rows(
            Head(
                title="Least used finished jobs",
                about="The 50 finished jobs that left most accelerator hours unused: what they asked for, times how "
                "long they ran, times the share in which it did nothing. As far back as the exporter keeps finished "
                "jobs.",
                unit="none",
                width=24,
                height=9,
            ),
            {"A": f"sort_desc(topk(50, {SCOPE.told(ENDED_UNUSED, 'job_name', 'user', 'pool_id', 'flavor')}))"},
            (
                *frame.WHO,
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
    about="Accelerators that are held and do nothing, by user and job, and tasks that hold their job up.",
    variables=[
        *frame.variables(SCOPE),
        choice(
            "idle_for",
            label="Idle for",
            description="From how long a stretch of idleness on a job counts as idle.",
            options={"1 min": "60", "10 min": "600", "30 min": "1800", "1 h": "3600", "4 h": "14400"},
            default="10 min",
        ),
        choice(
            "straggler_below",
            label="Straggler below",
            description="Share of the mean utilisation below which the slowest task is a straggler.",
            options={"30 %": "0.3", "50 %": "0.5", "80 %": "0.8", "95 %": "0.95"},
            default="50 %",
        ),
    ],
    rows=(NOW, TIME, RANGE, IDLE_ROW, STRAGGLERS, PAST),
    marks=(annotation.failures(SCOPE),),
)
