"""Exporter: is data coming, how old is it, how much is asked of the cloud, what refused, what does it cost."""

from . import annotation, link, palette
from .accelerator_hours import HELD
from .board import Board, Row
from .palette import AGE_S, NEUTRAL, ZERO_IS_GOOD, Thresholds
from .panel import MAX_SERIES, Column, PanelOptions, Query, stat_panel, table_panel, time_series_panel
from .promql import BUILD_INFO, SCRAPE_LABELS, Scope, vocabulary
from .variable import variables

SCOPE = Scope(frozenset({"project"}))

REQUESTS = "modelarts_exporter_api_requests_total"
ANSWERS = ("ok", "gone", "unsupported")
"""Outcomes that are answers; all others are trouble."""
TROUBLE = vocabulary(REQUESTS, "outcome", without=ANSWERS)

_EXPORTER = ", ".join(SCRAPE_LABELS)


def _rate(name: str, *, by: str = "", outcome: tuple[str, ...] = ()) -> str:
    """Events each second over all replicas: each spends quota, so here they add up."""
    grouped = f" by ({by})" if by else ""
    ranged = (
        SCOPE.selector(name, over="$__rate_interval", outcome=outcome)
        if outcome
        else SCOPE.selector(name, over="$__rate_interval")
    )
    return f"sum{grouped} (rate({ranged}))"


def _quantile(quantile: float, name: str, *, by: str = "") -> str:
    return f"histogram_quantile({quantile}, {_rate(name, by=', '.join(filter(None, ('le', by))))})"


NOW = Row(
    "Now",
    (
        stat_panel(
            PanelOptions(
                title="Exporters down",
                description="Scrape targets that were exporters of ours within a day and do not answer Prometheus now.",
                unit="none",
                width=3,
                height=4,
                thresholds=ZERO_IS_GOOD,
                no_value="no exporter",
            ),
            Query(f"count(({SCOPE.of_exporters('up')}) == 0)\nor\n0 * count({SCOPE.of_exporters('up')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Projects failing",
                description="Projects for which the newest jobs poll of at least one exporter failed.",
                unit="none",
                width=3,
                height=4,
                thresholds=ZERO_IS_GOOD,
            ),
            Query(
                f"count(min by (cluster, project) ({SCOPE.selector('modelarts_up')}) == 0)\nor\n"
                f"0 * count({SCOPE.selector('modelarts_up')})"
            ),
        ),
        stat_panel(
            PanelOptions(
                title="Oldest data",
                description="Age of the newest complete look at the jobs, for the project that is worst off. Red from five "
                "minutes, when job series are withdrawn by default.",
                unit="s",
                width=3,
                height=4,
                thresholds=AGE_S,
                decimals=0,
                no_value="never",
            ),
            Query(
                "max(time() - "
                + SCOPE.dedup("modelarts_collector_last_success_timestamp_seconds", collector="jobs")
                + ")"
            ),
        ),
        stat_panel(
            PanelOptions(
                title="Circuits open",
                description="Projects of which calls are held back: after refused credentials, so that the key is not "
                "locked, or after failures in a row. The outcomes of the calls say why.",
                unit="none",
                width=3,
                height=4,
                thresholds=ZERO_IS_GOOD,
            ),
            Query(f"sum({SCOPE.dedup('modelarts_exporter_circuit_open', 'project')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Throttled in the hour",
                description="How often the cloud told the exporters to slow down within the last hour. When it keeps "
                "growing, lower rate_limit of the target or lengthen its intervals.",
                unit="none",
                width=3,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.YELLOW), (100, palette.RED))),
                decimals=0,
            ),
            Query(f"sum(increase({SCOPE.selector('modelarts_exporter_throttled_total', over='1h')}))"),
        ),
        stat_panel(
            PanelOptions(
                title="Settings",
                description="Whether the newest reload of the settings worked with every exporter, and the newest look at "
                "the web configuration where there is one. Refused: the old ones are still in force.",
                unit="none",
                width=3,
                height=4,
            ),
            Query(
                f"min({SCOPE.selector('modelarts_exporter_config_last_reload_successful')})\n"
                f"* (min({SCOPE.selector('modelarts_exporter_web_config_last_reload_successful')}) or vector(1))"
            ),
            mappings=palette.value_mappings({1: ("in force", palette.GREEN), 0: ("REFUSED", palette.RED)}),
        ),
        stat_panel(
            PanelOptions(
                title="Series left out",
                description="Series that were left out within the last hour because metrics.max_series_per_project was "
                "reached. Anything but zero: jobs are missing from every other board.",
                unit="none",
                width=3,
                height=4,
                thresholds=ZERO_IS_GOOD,
                decimals=0,
            ),
            Query(f"sum(increase({SCOPE.selector('modelarts_exporter_series_dropped_total', over='1h')}))"),
        ),
        stat_panel(
            PanelOptions(
                title="Publish failures",
                description="What could not be rendered within the last hour. Anything but zero is a bug: please report "
                "it.",
                unit="none",
                width=3,
                height=4,
                thresholds=ZERO_IS_GOOD,
                decimals=0,
            ),
            Query(f"sum(increase({SCOPE.selector('modelarts_exporter_publish_failures_total', over='1h')}))"),
        ),
    ),
)

DATA = Row(
    "Is data coming?",
    (
        time_series_panel(
            PanelOptions(
                title="Age of data",
                description="Time since the last complete success, by project and collector. A saw-tooth as high as the "
                "interval is healthy; a slope is a collector that fails. A sweep is rare, so its age is long: it is "
                "not drawn.",
                unit="s",
                width=12,
                height=8,
                thresholds=AGE_S,
                decimals=0,
            ),
            Query(
                f"topk({MAX_SERIES}, time() - "
                + SCOPE.dedup(
                    "modelarts_collector_last_success_timestamp_seconds",
                    "collector",
                    collector=("jobs", "usage", "pools"),
                )
                + ")",
                "{{project}} {{collector}}",
            ),
        ),
        time_series_panel(
            PanelOptions(
                title="Poll duration",
                description="How long the newest poll of each collector took, good or bad. Near its interval data comes "
                "late; near collection.timeout (30 s by default) it is being cut off.",
                unit="s",
                width=12,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((30, palette.RED),)),
            ),
            Query(
                f"topk({MAX_SERIES}, {SCOPE.dedup('modelarts_collector_duration_seconds', 'collector')})",
                "{{project}} {{collector}}",
            ),
        ),
        table_panel(
            PanelOptions(
                title="Collectors",
                description="The newest poll of each collector of each project, by exporter. Off: the API refuses what the "
                "collector of pools asks for, which is no failure; it asks again every hour.",
                unit="none",
                width=24,
                height=8,
            ),
            {
                "D": f"max by ({_EXPORTER}, project, collector) ("
                + SCOPE.selector("modelarts_collector_enabled")
                + ")",
                "A": f"max by ({_EXPORTER}, project, collector) (" + SCOPE.selector("modelarts_collector_up") + ")",
                "B": f"time() - max by ({_EXPORTER}, project, collector) ("
                + SCOPE.selector("modelarts_collector_last_success_timestamp_seconds")
                + ")",
                "C": f"max by ({_EXPORTER}, project, collector) ("
                + SCOPE.selector("modelarts_collector_duration_seconds")
                + ")",
            },
            (
                Column(title="Project", label="project"),
                Column(title="Collector", label="collector"),
                Column(title="Exporter", label="instance"),
                Column(title="Scrape job", label="job"),
                Column(
                    title="Asked",
                    value="D",
                    mappings=palette.value_mappings({1: ("yes", palette.GREEN), 0: ("OFF: refused", palette.YELLOW)}),
                ),
                Column(
                    title="Newest poll",
                    value="A",
                    mappings=palette.value_mappings({1: ("good", palette.GREEN), 0: ("FAILED", palette.RED)}),
                ),
                Column(title="Last success", value="B", unit="s", decimals=0),
                Column(title="Took", value="C", unit="s"),
            ),
            sort_by="Newest poll",
            descending=False,
        ),
    ),
)

MISSING = Row(
    "What the sums miss",
    (
        stat_panel(
            PanelOptions(
                title="Jobs of unknown size",
                description="Active jobs of which no answer of the cloud tells how many accelerators they have: sums, "
                "card-hours and costs are short by theirs. Pools of CPUs in which the cloud masks what a job asks "
                "for count here too.",
                unit="none",
                width=6,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.YELLOW),)),
            ),
            Query(f"sum({SCOPE.dedup('modelarts_training_accelerators_unknown_jobs', 'pool_id')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Collectors off",
                description="Collectors that are off because the API refuses what they ask for; only that of pools can be. "
                "What they would tell is missing, and the board of pools empty, for those projects.",
                unit="none",
                width=6,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.YELLOW),)),
            ),
            Query(f"sum(1 - {SCOPE.dedup('modelarts_collector_enabled', 'collector')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Prices",
                description="Entries of the price list in the settings of the exporters. None is fine: then boards show "
                "card-hours and no costs.",
                unit="none",
                width=6,
                height=4,
                no_value="no price list",
            ),
            Query(f"count({SCOPE.dedup('modelarts_accelerator_price', 'flavor', 'accelerator_model', 'currency')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Users counted together",
                description="Projects in which, within the chosen time, more users held accelerators than the setting "
                "metrics.max_users_per_project: the card-hours of those beyond it are counted as `_other`.",
                unit="none",
                width=6,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.YELLOW),)),
            ),
            Query(
                f"count({SCOPE.increase(HELD, over='$__range', user='_other')} > 0)\nor\n"
                f"0 * count({SCOPE.selector('modelarts_up')})"
            ),
        ),
    ),
)

CLOUD = Row(
    "What is asked of the cloud",
    (
        time_series_panel(
            PanelOptions(
                title="Calls by operation",
                description="HTTP calls each second, over all exporters: each spends quota. The ten busiest operations.",
                unit="reqps",
                width=8,
                height=8,
            ),
            Query(f"topk(10, {_rate(REQUESTS, by='operation')} > 0)", "{{operation}}"),
            stacked=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Calls by outcome",
                description="HTTP calls each second by how they ended. `gone` and `unsupported` are answers; every other "
                "colour than green is trouble.",
                unit="reqps",
                width=8,
                height=8,
            ),
            Query(f"{_rate(REQUESTS, by='outcome')} > 0", "{{outcome}}"),
            stacked=True,
            colours={
                "ok": palette.GREEN,
                "gone": "super-light-green",
                "unsupported": "light-green",
                "unreachable": palette.RED,
                "throttled": palette.YELLOW,
                "broken": "dark-red",
                "denied": "purple",
                "refused": palette.ORANGE,
                "unintelligible": "dark-orange",
                "paused": palette.GREY,
            },
        ),
        time_series_panel(
            PanelOptions(
                title="Share of calls in trouble",
                description="Calls that ended in trouble, calls that were repeated, and calls that were throttled, over "
                "all calls. Repeats rise long before a poll fails.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((0.05, palette.YELLOW), (0.2, palette.RED))),
            ),
            Query(f"{_rate(REQUESTS, outcome=TROUBLE)}\n/\n{_rate(REQUESTS)}", "trouble"),
            Query(f"{_rate('modelarts_exporter_api_retries_total')}\n/\n{_rate(REQUESTS)}", "repeated"),
            Query(f"{_rate('modelarts_exporter_throttled_total')}\n/\n{_rate(REQUESTS)}", "throttled"),
            colours={"trouble": palette.RED, "repeated": palette.BLUE, "throttled": palette.YELLOW},
        ),
        time_series_panel(
            PanelOptions(
                title="Latency of the cloud",
                description="How long calls took, from connecting to the last byte: median, 95 % and 99 %, all outcomes.",
                unit="s",
                width=8,
                height=8,
            ),
            *(
                Query(_quantile(quantile, "modelarts_exporter_api_request_duration_seconds_bucket"), legend)
                for quantile, legend in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
            ),
        ),
        time_series_panel(
            PanelOptions(
                title="Slowest operations",
                description="The 95th percentile of the ten slowest operations.",
                unit="s",
                width=8,
                height=8,
            ),
            Query(
                "topk(10, "
                + _quantile(0.95, "modelarts_exporter_api_request_duration_seconds_bucket", by="operation")
                + " > 0)",
                "{{operation}}",
            ),
        ),
        time_series_panel(
            PanelOptions(
                title="Not understood",
                description="Values of the cloud that the exporter does not know or that are impossible, within an hour, "
                "by field: the ten most frequent. Growth after an update of the cloud calls for one of the exporter.",
                unit="none",
                width=8,
                height=8,
                thresholds=NEUTRAL,
                decimals=0,
                no_value="everything is understood",
            ),
            Query(
                "topk(10, sum by (field) (increase("
                + SCOPE.selector("modelarts_exporter_unknown_values_total", over="1h")
                + ")))",
                "{{field}}",
            ),
        ),
    ),
)

COST = Row(
    "What it costs",
    (
        time_series_panel(
            PanelOptions(
                title="Series served",
                description="Series of each project's jobs, tasks and counts, the twenty largest projects. Compare with "
                "metrics.max_series_per_project (100 000 by default) before the limit bites.",
                unit="short",
                width=8,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((80_000, palette.YELLOW), (100_000, palette.RED))),
            ),
            Query(f"topk({MAX_SERIES}, {SCOPE.dedup('modelarts_exporter_series', 'project')})", "{{project}}"),
        ),
        time_series_panel(
            PanelOptions(
                title="Tracked jobs",
                description="Jobs held in memory: active ones, finished ones for the retention, and hidden ones.",
                unit="short",
                width=8,
                height=8,
            ),
            Query(f"topk({MAX_SERIES}, {SCOPE.dedup('modelarts_exporter_tracked_jobs')})", "{{project}}"),
        ),
        time_series_panel(
            PanelOptions(
                title="Memory",
                description="Resident memory of each exporter. Expect 70 MB and 3 kB for each tracked job; a slope that "
                "does not follow the tracked jobs is a leak.",
                unit="bytes",
                width=8,
                height=8,
            ),
            Query(f"topk({MAX_SERIES}, {SCOPE.of_exporters('process_resident_memory_bytes')})", "{{instance}}"),
        ),
        time_series_panel(
            PanelOptions(
                title="CPU of the process",
                description="CPUs each exporter uses; a poll costs about a millisecond for each job that changed.",
                unit="short",
                width=8,
                height=8,
            ),
            Query(
                f"topk({MAX_SERIES}, "
                + SCOPE.of_exporters("process_cpu_seconds_total", rate_over="$__rate_interval")
                + ")",
                "{{instance}}",
            ),
        ),
        time_series_panel(
            PanelOptions(
                title="Rendering",
                description="How long it took to render, join and compress a snapshot: median and 99 %. Scrapes never wait "
                "for it.",
                unit="s",
                width=8,
                height=8,
            ),
            Query(_quantile(0.5, "modelarts_exporter_render_duration_seconds_bucket"), "median"),
            Query(_quantile(0.99, "modelarts_exporter_render_duration_seconds_bucket"), "99 %"),
        ),
        time_series_panel(
            PanelOptions(
                title="Age of the snapshot",
                description="How long ago what is served was put together. It is renewed after every poll, good or bad: an "
                "age well above the shortest interval means that the exporter itself stands still.",
                unit="s",
                width=8,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((300, palette.RED),)),
                decimals=0,
            ),
            Query(
                f"topk({MAX_SERIES}, time() - {SCOPE.selector('modelarts_exporter_snapshot_timestamp_seconds')})",
                "{{instance}}",
            ),
        ),
    ),
)

WHICH = Row(
    "Which exporters, which credentials",
    (
        table_panel(
            PanelOptions(
                title="Exporters",
                description="Each exporter process that has answered, with its version, and whether and how long ago the "
                "state file was written that carries its counters over a restart; without state.file there is none.",
                unit="none",
                width=12,
                height=6,
            ),
            {
                "A": f"max by ({_EXPORTER}, version, python) ({SCOPE.selector(BUILD_INFO)})",
                "B": f"max by ({_EXPORTER}) (time() - ({SCOPE.of_exporters('process_start_time_seconds')}))",
                "C": f"min by ({_EXPORTER}) ({SCOPE.selector('modelarts_exporter_state_last_write_successful')})",
                "D": f"max by ({_EXPORTER}) (time() - "
                + SCOPE.selector("modelarts_exporter_state_last_write_timestamp_seconds")
                + ")",
            },
            (
                Column(title="Exporter", label="instance"),
                Column(title="Scrape job", label="job"),
                Column(title="Version", label="version"),
                Column(title="Python", label="python"),
                Column(title="Up for", value="B", unit="s", decimals=1),
                Column(
                    title="State file",
                    value="C",
                    mappings=palette.value_mappings({1: ("written", palette.GREEN), 0: ("FAILED", palette.RED)}),
                ),
                Column(title="Written", value="D", unit="s", decimals=0),
            ),
            sort_by="Exporter",
            descending=False,
        ),
        table_panel(
            PanelOptions(
                title="Credentials",
                description="When the credential in use expires, for those that do. It is renewed before; a time that "
                "comes near without moving says that renewing fails.",
                unit="none",
                width=12,
                height=6,
            ),
            {
                "A": "min by (cluster, job, instance, project) ("
                + SCOPE.selector("modelarts_exporter_credentials_expiry_timestamp_seconds")
                + " - time())",
            },
            (
                Column(title="Project", label="project"),
                Column(title="Exporter", label="instance"),
                Column(title="Scrape job", label="job"),
                Column(
                    title="Expires in",
                    value="A",
                    unit="s",
                    decimals=1,
                    thresholds=Thresholds(palette.RED, ((300, palette.YELLOW), (1800, palette.GREEN))),
                ),
            ),
            sort_by="Expires in",
            descending=False,
        ),
    ),
)

BOARD = Board(
    uid=link.EXPORTER,
    title="ModelArts / Exporter",
    description="Whether the data of the other boards can be trusted, and what the exporter asks, costs and misses.",
    variables=variables(SCOPE, scrape_shown=True),
    rows=(NOW, DATA, MISSING, CLOUD, COST, WHICH),
    annotations=(annotation.restarts(SCOPE),),
    time_from="now-3h",
)
