"""Users and cost: accelerator-hours by user and pool with their idle and lost share, and their cost."""

from . import annotation, link, palette
from .accelerator_hours import HELD, IDLE, LOST, hours, share_of_held
from .board import Board, Row
from .palette import NEUTRAL, WASTED_SHARE, Thresholds
from .panel import Column, PanelOptions, Query, bar_gauge_panel, stat_panel, table_panel, time_series_panel
from .promql import INFO, JOB, SCRAPE_LABELS, Scope, name_public_pool
from .variable import variables

SCOPE = Scope(frozenset({"project", "pool", "user"}))

HELD_BY_JOB = f"{SCOPE.dedup('modelarts_training_job_status_accelerators', 'accelerator')} > 0"
HELD_NOW = SCOPE.select_jobs(f"({HELD_BY_JOB})")
BY_USER = SCOPE.join_info(HELD_BY_JOB, "user")

_SCRAPE = ", ".join(SCRAPE_LABELS)
_PRICE = "modelarts_accelerator_price"

OTHER_USERS = (
    "`_other` is the sum of the users above the exporter's setting metrics.max_users_per_project; it is included "
    "only "
    "if All users are selected."
)
NO_PRICES = "no price list"
_COST_SAMPLES = 120
"""Number of evaluations of the cost per hour in the time range; each one joins all jobs that hold accelerators."""


def _cost_per_hour_by_job() -> str:
    """Return the cost per hour of each job, by user and currency: held accelerators times their price.

    The price is that of the flavor, else that of the accelerator model. The jobs of each exporter have the prices of
    its own price list, so the join comes before the deduplication of replicas.
    """
    held = f"({SCOPE.selector('modelarts_training_job_status_accelerators')} > 0)"
    with_info = (
        f"{held}\n* on ({_SCRAPE}, project, job_id) group_left (user, pool_id, flavor, accelerator_model)\n"
        f"{SCOPE.selector(INFO)}"
    )
    flavors = SCOPE.selector(_PRICE, accelerator_model="")
    models = SCOPE.selector(_PRICE, flavor="")
    return (
        f"max by ({JOB}, user, pool_id, currency) (\n"
        f"{with_info}\n* on ({_SCRAPE}, flavor) group_left (currency)\n{flavors}\n"
        f"or on ({_SCRAPE}, project, job_id)\n"
        f"{with_info}\n* on ({_SCRAPE}, accelerator_model) group_left (currency)\n{models}\n)"
    )


COST_BY_JOB = _cost_per_hour_by_job()
UNPRICED = f"({HELD_BY_JOB})\nunless on ({JOB})\n{COST_BY_JOB}"


def _cost_per_hour(by: str) -> str:
    """Return the cost per hour of the accelerators held now."""
    return f"sum by ({by}) ({COST_BY_JOB})"


def _cost(by: str) -> str:
    """Return the cost in the time range: the cost per hour, evaluated at even steps and summed."""
    return f"sum_over_time(({_cost_per_hour(by)})[$__range:$__interval]) * $__interval_ms / 3600000"


NOW = Row(
    "Summary",
    (
        stat_panel(
            PanelOptions(
                title="Accelerators held",
                description="GPUs and NPUs that the jobs of the selected users hold now, on all their nodes.",
                unit="none",
                width=4,
                height=4,
                thresholds=Thresholds(palette.GREEN),
            ),
            Query(SCOPE.or_zero(f"sum({HELD_NOW})")),
        ),
        stat_panel(
            PanelOptions(
                title="Accelerator-hours",
                description="Accelerators times the hours for which they were held in the selected time range. The "
                "times come from the API, so restarts and missed polls lose nothing. Time before the exporter's "
                "first poll does not count.",
                unit="none",
                width=4,
                height=4,
                decimals=0,
                no_value="none",
            ),
            Query(hours(SCOPE, HELD)),
        ),
        stat_panel(
            PanelOptions(
                title="Idle accelerator-hours",
                description="Accelerator-hours in the selected time range in which every task of the job was below "
                "the exporter's idle threshold, for longer than metrics.idle_grace.",
                unit="none",
                width=4,
                height=4,
                decimals=0,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
                no_value="none",
            ),
            Query(hours(SCOPE, IDLE)),
        ),
        stat_panel(
            PanelOptions(
                title="Idle share",
                description="Idle accelerator-hours divided by accelerator-hours. Orange from 5 %, red from 15 %.",
                unit="percentunit",
                width=4,
                height=4,
                decimals=0,
                thresholds=WASTED_SHARE,
                no_value="none held",
            ),
            Query(share_of_held(SCOPE, IDLE)),
        ),
        stat_panel(
            PanelOptions(
                title="Lost accelerator-hours",
                description="Accelerator-hours of runs that ended as failed or lost in the selected time range. A "
                "run counts at its end with all its hours.",
                unit="none",
                width=4,
                height=4,
                decimals=0,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
                no_value="none",
            ),
            Query(hours(SCOPE, LOST)),
        ),
        stat_panel(
            PanelOptions(
                title="Lost share of held",
                description="Lost accelerator-hours divided by the accelerator-hours in the selected time range. "
                "Above 100 % if failed runs started long before. Over a week or a month it is the share of work "
                "without a result.",
                unit="percentunit",
                width=4,
                height=4,
                decimals=0,
                thresholds=WASTED_SHARE,
                no_value="none held",
            ),
            Query(share_of_held(SCOPE, LOST)),
        ),
        stat_panel(
            PanelOptions(
                title="Cost per hour",
                description="Cost per hour of the accelerators held now, by the price list in the exporter's "
                "settings (`prices`) and in its currency: by flavor, else by accelerator model. Accelerators "
                "without a price are excluded; see Held without a price.",
                unit="none",
                width=8,
                height=4,
                decimals=2,
                no_value=NO_PRICES,
            ),
            Query(_cost_per_hour("currency"), "{{currency}}"),
            show_legend=True,
        ),
        stat_panel(
            PanelOptions(
                title="Cost in the time range",
                description="Sum of the cost per hour over the selected time range, evaluated about "
                f"{_COST_SAMPLES} times. An "
                "estimate for comparisons: jobs much shorter than the step may be missed, and gaps in the scrapes "
                "do not "
                "count. Accelerator-hours are exact.",
                unit="none",
                width=8,
                height=4,
                decimals=2,
                no_value=NO_PRICES,
                max_data_points=_COST_SAMPLES,
            ),
            Query(_cost("currency"), "{{currency}}"),
            show_legend=True,
        ),
        stat_panel(
            PanelOptions(
                title="Held without a price",
                description="Accelerators held now whose flavor and model are not in the price list. Costs exclude "
                "them. Without a price list these are all accelerators; the table at the end shows the missing "
                "entries.",
                unit="none",
                width=8,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
            ),
            Query(SCOPE.or_zero(f"sum({SCOPE.select_jobs(f'({UNPRICED})')})")),
        ),
    ),
)

USERS = Row(
    "By user",
    (
        table_panel(
            PanelOptions(
                title="Users",
                description="Users who held accelerators in the selected time range: accelerator-hours with their "
                "idle and "
                "lost part, accelerators held now, and cost. Click a name for the jobs of the user. "
                f"{OTHER_USERS}",
                unit="none",
                width=24,
                height=10,
                max_data_points=_COST_SAMPLES,
            ),
            {
                "A": hours(SCOPE, HELD, by="user"),
                "B": hours(SCOPE, IDLE, by="user"),
                "C": share_of_held(SCOPE, IDLE, by="user"),
                "D": hours(SCOPE, LOST, by="user"),
                "E": share_of_held(SCOPE, LOST, by="user"),
                "F": f"sum by (user) ({BY_USER})",
                "G": f"sum by (user) ({_cost_per_hour('user, currency')})",
                "H": _cost("user"),
            },
            (
                Column(title="User", label="user", link=link.to_jobs_of_row(), width=190),
                Column(title="Held now", value="F", unit="none", thresholds=NEUTRAL),
                Column(title="Accelerator-hours", value="A", unit="none", decimals=1, thresholds=NEUTRAL),
                Column(title="Idle (h)", value="B", unit="none", decimals=1),
                Column(title="Idle share", value="C", unit="percentunit", decimals=0, thresholds=WASTED_SHARE),
                Column(title="Lost (h)", value="D", unit="none", decimals=1),
                Column(
                    title="Lost share of held", value="E", unit="percentunit", decimals=0, thresholds=WASTED_SHARE
                ),
                Column(title="Cost per hour", value="G", unit="none", decimals=2),
                Column(title="Cost in range", value="H", unit="none", decimals=2, thresholds=NEUTRAL),
            ),
            sort_by="Accelerator-hours",
        ),
        bar_gauge_panel(
            PanelOptions(
                title="Accelerators held now by user",
                description="The ten users who hold most accelerators now. Click a bar for the jobs of the user.",
                unit="none",
                width=8,
                height=9,
                links=(link.to_jobs_of_user(),),
                no_value="none held",
            ),
            Query(f"sort_desc(topk(10, sum by (user) ({BY_USER})))", "{{user}}"),
        ),
        bar_gauge_panel(
            PanelOptions(
                title="Accelerator-hours by user",
                description="The ten users with the most accelerator-hours in the selected time range. Click a bar "
                "for the jobs "
                f"of the user. {OTHER_USERS}",
                unit="none",
                width=8,
                height=9,
                decimals=1,
                links=(link.to_jobs_of_user(),),
                no_value="none held",
            ),
            Query(f"sort_desc(topk(10, {hours(SCOPE, HELD, by='user')} > 0))", "{{user}}"),
        ),
        bar_gauge_panel(
            PanelOptions(
                title="Cost by user",
                description="The ten users with the highest cost in the selected time range, each with the currency "
                "of the price list. Computed like Cost in the time range above.",
                unit="none",
                width=8,
                height=9,
                decimals=2,
                links=(link.to_jobs_of_user(),),
                no_value=NO_PRICES,
                max_data_points=_COST_SAMPLES,
            ),
            Query(f"sort_desc(topk(10, {_cost('user, currency')}))", "{{user}} ({{currency}})"),
        ),
    ),
)

TIME = Row(
    "Over time",
    (
        time_series_panel(
            PanelOptions(
                title="Accelerator-hours by user (1 h)",
                description="Accelerator-hours in the hour before each point, equal to the mean number of held "
                "accelerators; "
                f"the eight highest users. {OTHER_USERS}",
                unit="none",
                width=12,
                height=8,
                decimals=0,
                no_value="none held",
            ),
            Query(f"topk(8, {hours(SCOPE, HELD, by='user', over='1h')} > 0)", "{{user}}"),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Cost per hour by user",
                description="Cost per hour of the held accelerators, the eight highest users at each point, in the "
                "currency of the price list.",
                unit="none",
                width=12,
                height=8,
                decimals=0,
                no_value=NO_PRICES,
            ),
            Query(f"topk(8, {_cost_per_hour('user, currency')})", "{{user}} ({{currency}})"),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Idle accelerator-hours by user (1 h)",
                description="Idle accelerator-hours in the hour before each point, the eight highest users. An idle "
                "period counts as a whole as soon as it is longer than metrics.idle_grace.",
                unit="none",
                width=12,
                height=8,
                no_value="none idle",
            ),
            Query(f"topk(8, {hours(SCOPE, IDLE, by='user', over='1h')} > 0)", "{{user}}"),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Lost accelerator-hours by user (1 h)",
                description="Accelerator-hours of the runs that failed or were lost in the hour before each point, "
                "the eight highest users. A high spike is one large or long run.",
                unit="none",
                width=12,
                height=8,
                no_value="none lost",
            ),
            Query(f"topk(8, {hours(SCOPE, LOST, by='user', over='1h')} > 0)", "{{user}}"),
            stacked=True,
        ),
    ),
)


def _of_pool(counter: str) -> str:
    return name_public_pool(hours(SCOPE, counter, by="cluster, project, pool_id, accelerator"))


def _share_of_pool(counter: str) -> str:
    return name_public_pool(share_of_held(SCOPE, counter, by="cluster, project, pool_id, accelerator"))


POOLS = Row(
    "By pool",
    (
        table_panel(
            PanelOptions(
                title="Accelerator-hours by pool",
                description="Accelerator-hours of the selected users in the selected time range by pool and kind of "
                "accelerator, with the idle and the lost share. `public` is the public pool.",
                unit="none",
                width=14,
                height=8,
            ),
            {
                "A": _of_pool(HELD),
                "B": _of_pool(IDLE),
                "C": _share_of_pool(IDLE),
                "D": _of_pool(LOST),
                "E": _share_of_pool(LOST),
            },
            (
                Column(title="Project", label="project"),
                Column(title="Pool", label="pool_id"),
                Column(title="Accelerator", label="accelerator"),
                Column(title="Accelerator-hours", value="A", unit="none", decimals=1, thresholds=NEUTRAL),
                Column(title="Idle (h)", value="B", unit="none", decimals=1),
                Column(title="Idle share", value="C", unit="percentunit", decimals=0, thresholds=WASTED_SHARE),
                Column(title="Lost (h)", value="D", unit="none", decimals=1),
                Column(
                    title="Lost share of held", value="E", unit="percentunit", decimals=0, thresholds=WASTED_SHARE
                ),
            ),
            sort_by="Accelerator-hours",
            drop=("cluster",),
        ),
        table_panel(
            PanelOptions(
                title="Missing prices",
                description="Accelerators held now whose flavor and model are not in the price list. An empty model "
                "is not reported by the API: add a price by flavor.",
                unit="none",
                width=10,
                height=8,
            ),
            {
                "A": "sum by (flavor, accelerator, accelerator_model) ("
                + SCOPE.join_info(UNPRICED, "flavor", "accelerator_model")
                + ")",
            },
            (
                Column(title="Flavor", label="flavor"),
                Column(title="Accelerator", label="accelerator"),
                Column(title="Model", label="accelerator_model"),
                Column(title="Held", value="A", unit="none", thresholds=NEUTRAL),
            ),
            sort_by="Held",
        ),
    ),
)

BOARD = Board(
    uid=link.USERS,
    title="ModelArts / Users and cost",
    description="Accelerator-hours by user and pool with their idle and lost share, and their cost.",
    variables=variables(SCOPE),
    rows=(NOW, USERS, TIME, POOLS),
    annotations=(annotation.failures(SCOPE),),
    time_from="now-24h",
)
