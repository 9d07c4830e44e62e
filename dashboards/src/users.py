"""Users and cost: who holds and held how many accelerators, which part of it idled or was lost, and what it costs."""

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

OF_OTHERS = (
    "`_other` are the users beyond the exporter's setting metrics.max_users_per_project, together; they are seen "
    "with All users only."
)
NO_PRICES = "no price list"
_POINTS = 120
"""How often a cost rate is looked at within the chosen time, to add it up: each look joins every job that holds."""


def _priced() -> str:
    """Tell what each job costs an hour, by user and currency: accelerators held times their price.

    The price of the flavor, else that of the accelerator's model. Each exporter's jobs have the prices of its own
    list, so the join comes before replicas are folded.
    """
    held = f"({SCOPE.selector('modelarts_training_job_status_accelerators')} > 0)"
    told = (
        f"{held}\n* on ({_SCRAPE}, project, job_id) group_left (user, pool_id, flavor, accelerator_model)\n"
        f"{SCOPE.selector(INFO)}"
    )
    flavors = SCOPE.selector(_PRICE, accelerator_model="")
    models = SCOPE.selector(_PRICE, flavor="")
    return (
        f"max by ({JOB}, user, pool_id, currency) (\n"
        f"{told}\n* on ({_SCRAPE}, flavor) group_left (currency)\n{flavors}\n"
        f"or on ({_SCRAPE}, project, job_id)\n"
        f"{told}\n* on ({_SCRAPE}, accelerator_model) group_left (currency)\n{models}\n)"
    )


COST_BY_JOB = _priced()
UNPRICED = f"({HELD_BY_JOB})\nunless on ({JOB})\n{COST_BY_JOB}"


def _rate(by: str) -> str:
    """What is held costs an hour now."""
    return f"sum by ({by}) ({COST_BY_JOB})"


def _cost(by: str) -> str:
    """What was held within the chosen time cost: its cost an hour, looked at in even steps and added up."""
    return f"sum_over_time(({_rate(by)})[$__range:$__interval]) * $__interval_ms / 3600000"


NOW = Row(
    "In short",
    (
        stat_panel(
            PanelOptions(
                title="Accelerators held",
                description="GPUs and NPUs that the chosen users' jobs hold now, over all their nodes.",
                unit="none",
                width=4,
                height=4,
                thresholds=Thresholds(palette.GREEN),
            ),
            Query(SCOPE.or_zero(f"sum({HELD_NOW})")),
        ),
        stat_panel(
            PanelOptions(
                title="Card-hours",
                description="Accelerators times the hours for which they were held within the chosen time, from the "
                "cloud's own times: neither a restart of the exporter nor a missed poll makes it short. What was "
                "before the exporter's first look is not in it.",
                unit="none",
                width=4,
                height=4,
                decimals=0,
                no_value="none counted",
            ),
            Query(hours(SCOPE, HELD)),
        ),
        stat_panel(
            PanelOptions(
                title="Idle card-hours",
                description="Card-hours within the chosen time in which every task of the job was below the exporter's "
                "idle threshold, in stretches longer than metrics.idle_grace.",
                unit="none",
                width=4,
                height=4,
                decimals=0,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
                no_value="none counted",
            ),
            Query(hours(SCOPE, IDLE)),
        ),
        stat_panel(
            PanelOptions(
                title="Idle share",
                description="Which part of the card-hours idled. Orange from a twentieth, red from 15 %.",
                unit="percentunit",
                width=4,
                height=4,
                decimals=0,
                thresholds=WASTED_SHARE,
                no_value="nothing was held",
            ),
            Query(share_of_held(SCOPE, IDLE)),
        ),
        stat_panel(
            PanelOptions(
                title="Lost card-hours",
                description="Card-hours of runs that ended as failed or lost within the chosen time, counted at their end: "
                "a long run that failed just now counts with all its hours.",
                unit="none",
                width=4,
                height=4,
                decimals=0,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
                no_value="none counted",
            ),
            Query(hours(SCOPE, LOST)),
        ),
        stat_panel(
            PanelOptions(
                title="Lost to held",
                description="Lost card-hours over the card-hours of the chosen time. Above 100 % where runs failed that "
                "had begun long before; over a week or a month it is the share of work that came to nothing.",
                unit="percentunit",
                width=4,
                height=4,
                decimals=0,
                thresholds=WASTED_SHARE,
                no_value="nothing was held",
            ),
            Query(share_of_held(SCOPE, LOST)),
        ),
        stat_panel(
            PanelOptions(
                title="Cost an hour",
                description="What is held now costs an hour, by the price list in the exporter's settings (`prices`), in "
                "its currency: by the flavor of the nodes, else by the accelerator's model. Held accelerators "
                "without a price cost nothing here: see beside.",
                unit="none",
                width=8,
                height=4,
                decimals=2,
                no_value=NO_PRICES,
            ),
            Query(_rate("currency"), "{{currency}}"),
            show_legend=True,
        ),
        stat_panel(
            PanelOptions(
                title="Cost of the chosen time",
                description="The cost an hour added up over the chosen time, looked at in about "
                f"{_POINTS} even steps: a job much shorter than a step counts by luck, and nothing counts while "
                "nothing was scraped. Card-hours are exact; this is for comparing.",
                unit="none",
                width=8,
                height=4,
                decimals=2,
                no_value=NO_PRICES,
                max_data_points=_POINTS,
            ),
            Query(_cost("currency"), "{{currency}}"),
            show_legend=True,
        ),
        stat_panel(
            PanelOptions(
                title="Held without a price",
                description="Accelerators held now for which the price list has neither their flavor nor their model: the "
                "costs are short by theirs. All of them where there is no price list; the table at the end says what "
                "to add.",
                unit="none",
                width=8,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
            ),
            Query(SCOPE.or_zero(f"sum({SCOPE.select_jobs(f'({UNPRICED})')})")),
        ),
    ),
)

WHO = Row(
    "By user",
    (
        table_panel(
            PanelOptions(
                title="Users",
                description="Everybody who held accelerators within the chosen time: card-hours, which part idled, and "
                "which was held by runs that failed or were lost; what they hold now and what it costs. Click a name "
                f"for the user's jobs. {OF_OTHERS}",
                unit="none",
                width=24,
                height=10,
                max_data_points=_POINTS,
            ),
            {
                "A": hours(SCOPE, HELD, by="user"),
                "B": hours(SCOPE, IDLE, by="user"),
                "C": share_of_held(SCOPE, IDLE, by="user"),
                "D": hours(SCOPE, LOST, by="user"),
                "E": share_of_held(SCOPE, LOST, by="user"),
                "F": f"sum by (user) ({BY_USER})",
                "G": f"sum by (user) ({_rate('user, currency')})",
                "H": _cost("user"),
            },
            (
                Column(title="User", label="user", link=link.to_jobs_of_row(), width=190),
                Column(title="Held now", value="F", unit="none", thresholds=NEUTRAL),
                Column(title="Card-hours", value="A", unit="none", decimals=1, thresholds=NEUTRAL),
                Column(title="Idle (h)", value="B", unit="none", decimals=1),
                Column(title="Idle share", value="C", unit="percentunit", decimals=0, thresholds=WASTED_SHARE),
                Column(title="Lost (h)", value="D", unit="none", decimals=1),
                Column(title="Lost to held", value="E", unit="percentunit", decimals=0, thresholds=WASTED_SHARE),
                Column(title="Cost an hour", value="G", unit="none", decimals=2),
                Column(title="Cost of the time", value="H", unit="none", decimals=2, thresholds=NEUTRAL),
            ),
            sort_by="Card-hours",
        ),
        bar_gauge_panel(
            PanelOptions(
                title="Accelerators held now by user",
                description="The ten users who hold most now. Click a bar for the user's jobs.",
                unit="none",
                width=8,
                height=9,
                links=(link.to_jobs_of_user(),),
                no_value="nobody holds any",
            ),
            Query(f"sort_desc(topk(10, sum by (user) ({BY_USER})))", "{{user}}"),
        ),
        bar_gauge_panel(
            PanelOptions(
                title="Card-hours by user",
                description=f"The ten users with most card-hours within the chosen time. Click a bar for their jobs. "
                f"{OF_OTHERS}",
                unit="none",
                width=8,
                height=9,
                decimals=1,
                links=(link.to_jobs_of_user(),),
                no_value="nothing was held",
            ),
            Query(f"sort_desc(topk(10, {hours(SCOPE, HELD, by='user')} > 0))", "{{user}}"),
        ),
        bar_gauge_panel(
            PanelOptions(
                title="Cost by user",
                description="The ten users whose held accelerators cost most within the chosen time, each with the "
                "currency of the price list. Added up as the cost of the chosen time above.",
                unit="none",
                width=8,
                height=9,
                decimals=2,
                links=(link.to_jobs_of_user(),),
                no_value=NO_PRICES,
                max_data_points=_POINTS,
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
                title="Card-hours by user, in the hour before",
                description="Card-hours of the hour before each moment, which is how many accelerators were held on the "
                f"mean; the eight users with most at each moment. {OF_OTHERS}",
                unit="none",
                width=12,
                height=8,
                decimals=0,
                no_value="nothing was held",
            ),
            Query(f"topk(8, {hours(SCOPE, HELD, by='user', over='1h')} > 0)", "{{user}}"),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Cost an hour by user",
                description="What the held accelerators cost an hour, the eight users with most at each moment; in the "
                "currency of the price list.",
                unit="none",
                width=12,
                height=8,
                decimals=0,
                no_value=NO_PRICES,
            ),
            Query(f"topk(8, {_rate('user, currency')})", "{{user}} ({{currency}})"),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Idle card-hours by user, in the hour before",
                description="Card-hours that idled within the hour before each moment, the eight users with most. A "
                "stretch of idleness counts at once, from its first minute, when it becomes longer than "
                "metrics.idle_grace.",
                unit="none",
                width=12,
                height=8,
                no_value="none idled",
            ),
            Query(f"topk(8, {hours(SCOPE, IDLE, by='user', over='1h')} > 0)", "{{user}}"),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Lost card-hours by user, in the hour before",
                description="Card-hours of the runs that failed or were lost within the hour before each moment, the eight "
                "users with most. A step up is one large or long run that came to nothing.",
                unit="none",
                width=12,
                height=8,
                no_value="none was lost",
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
                title="Card-hours by pool",
                description="Card-hours of the chosen users within the chosen time by pool and kind of accelerator, and "
                "which part idled or was lost. `public` is the shared pool.",
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
                Column(title="Card-hours", value="A", unit="none", decimals=1, thresholds=NEUTRAL),
                Column(title="Idle (h)", value="B", unit="none", decimals=1),
                Column(title="Idle share", value="C", unit="percentunit", decimals=0, thresholds=WASTED_SHARE),
                Column(title="Lost (h)", value="D", unit="none", decimals=1),
                Column(title="Lost to held", value="E", unit="percentunit", decimals=0, thresholds=WASTED_SHARE),
            ),
            sort_by="Card-hours",
            drop=("cluster",),
        ),
        table_panel(
            PanelOptions(
                title="Held without a price, by flavor",
                description="What the price list lacks: accelerators held now by flavor and model, for which it has "
                "neither. An empty model: the cloud does not tell it, so only a price by flavor helps.",
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
    description="Who holds and held how many accelerators, which part of it idled or was lost, and what it costs.",
    variables=variables(SCOPE),
    rows=(NOW, WHO, TIME, POOLS),
    annotations=(annotation.failures(SCOPE),),
    time_from="now-24h",
)
