"""Exporter: age of the data, API calls and their outcomes, and resource usage of the exporter."""

from . import annotation, link, palette
from .accelerator_hours import HELD
from .board import Board, Row
from .palette import AGE_S, NEUTRAL, ZERO_IS_GOOD, Thresholds
from .panel import MAX_SERIES, Column, PanelOptions, Query, stat_panel, table_panel, time_series_panel
from .promql import BUILD_INFO, SCRAPE_LABELS, Scope, vocabulary
from .variable import variables

SCOPE = Scope(frozenset({"project"}))

REQUESTS = "modelarts_exporter_api_requests_total"
SUCCESSFUL = ("ok", "gone", "unsupported")
"""Outcomes with a successful response; all others are failures."""
FAILED_OUTCOMES = vocabulary(REQUESTS, "outcome", without=SUCCESSFUL)

_EXPORTER = ", ".join(SCRAPE_LABELS)


def _rate(name: str, *, by: str = "", outcome: tuple[str, ...] = ()) -> str:
    """Return a rate, summed over all replicas, because the calls of each replica use quota."""
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
                description="Scrape targets that were exporters within the last day and that Prometheus cannot "
                "scrape now.",
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
                description="Time since the last successful jobs poll, for the project with the oldest data. Red "
                "from five minutes, when job series are withdrawn by default.",
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
                title="Open circuits",
                description="Projects with an open circuit: no calls are sent except trial calls, after rejected "
                "credentials (so that the key is not locked) or after repeated failures. The outcomes of the calls "
                "give the cause.",
                unit="none",
                width=3,
                height=4,
                thresholds=ZERO_IS_GOOD,
            ),
            Query(f"sum({SCOPE.dedup('modelarts_exporter_circuit_open', 'project')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Throttled calls (1 h)",
                description="How often the API throttled the exporters in the last hour. If it keeps growing, lower "
                "rate_limit of the target or lengthen its intervals.",
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
                description="Whether the last reload of the settings succeeded on every exporter, and the last "
                "reload of the web configuration where there is one. If it was rejected, the old settings are still "
                "active.",
                unit="none",
                width=3,
                height=4,
            ),
            Query(
                f"min({SCOPE.selector('modelarts_exporter_config_last_reload_successful')})\n"
                f"* (min({SCOPE.selector('modelarts_exporter_web_config_last_reload_successful')}) or vector(1))"
            ),
            mappings=palette.value_mappings({1: ("loaded", palette.GREEN), 0: ("REJECTED", palette.RED)}),
        ),
        stat_panel(
            PanelOptions(
                title="Dropped series (1 h)",
                description="Series dropped in the last hour because metrics.max_series_per_project was reached. If "
                "this is not zero, jobs are missing from all other boards.",
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
                title="Publish failures (1 h)",
                description="Snapshots that could not be rendered in the last hour. If this is not zero, it is a "
                "bug: please report it.",
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
    "Age of data",
    (
        time_series_panel(
            PanelOptions(
                title="Age of data",
                description="Time since the last successful poll, by project and collector. A saw-tooth as high as "
                "the polling interval is healthy; a rising line is a collector that fails. The sweep is not shown, "
                "because it is rare.",
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
                description="Duration of the newest poll of each collector, whether it succeeded or failed. Near "
                "the polling interval, data is late; at collection.timeout (30 s by default) polls are cancelled.",
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
                description="The newest poll of each collector of each project, by exporter. Disabled: the API "
                "rejects the calls of the pools collector, which is not a failure; the exporter tries again every "
                "hour.",
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
                    title="Enabled",
                    value="D",
                    mappings=palette.value_mappings({1: ("yes", palette.GREEN), 0: ("DISABLED", palette.YELLOW)}),
                ),
                Column(
                    title="Newest poll",
                    value="A",
                    mappings=palette.value_mappings({1: ("ok", palette.GREEN), 0: ("FAILED", palette.RED)}),
                ),
                Column(title="Since last success", value="B", unit="s", decimals=0),
                Column(title="Duration", value="C", unit="s"),
            ),
            sort_by="Newest poll",
            descending=False,
        ),
    ),
)

MISSING = Row(
    "Missing in totals",
    (
        stat_panel(
            PanelOptions(
                title="Jobs with unknown accelerators",
                description="Active jobs whose number of accelerators is in no API response: totals, "
                "accelerator-hours and costs exclude them. Jobs in CPU pools count too if the API does not return "
                "what they request.",
                unit="none",
                width=6,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.YELLOW),)),
            ),
            Query(f"sum({SCOPE.dedup('modelarts_training_accelerators_unknown_jobs', 'pool_id')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Disabled collectors",
                description="Collectors that are disabled because the API rejects their calls. Only the pools "
                "collector can be disabled. For these projects its metrics are missing, and the board Pools is "
                "empty.",
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
                description="Entries of the price list in the settings of the exporters. Without a price list, "
                "boards show accelerator-hours and no costs.",
                unit="none",
                width=6,
                height=4,
                no_value="no price list",
            ),
            Query(f"count({SCOPE.dedup('modelarts_accelerator_price', 'flavor', 'accelerator_model', 'currency')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Projects with users under _other",
                description="Projects in which more users than metrics.max_users_per_project held accelerators in "
                "the selected time range. The accelerator-hours of the other users are counted as `_other`.",
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
        table_panel(
            PanelOptions(
                title="Workspaces",
                description="Workspaces of each project, and whether any exporter can list their jobs. Totals "
                "exclude the jobs of an inaccessible workspace; the exporter tries again every hour.",
                unit="none",
                width=12,
                height=6,
            ),
            {"A": SCOPE.dedup("modelarts_workspace_accessible", "workspace_id", "name")},
            (
                Column(title="Project", label="project"),
                Column(title="Workspace", label="name"),
                Column(title="Workspace ID", label="workspace_id"),
                Column(
                    title="Accessible",
                    value="A",
                    mappings=palette.value_mappings({1: ("yes", palette.GREEN), 0: ("NO", palette.RED)}),
                ),
            ),
            sort_by="Accessible",
            descending=False,
        ),
        stat_panel(
            PanelOptions(
                title="Projects without fine-tuning jobs",
                description="Projects whose API rejects the listing of fine-tuning jobs together with custom jobs. "
                "Fine-tuning jobs and their accelerators are missing from all boards; the exporter tries again "
                "every hour. Only for the v2 API.",
                unit="none",
                width=6,
                height=6,
                thresholds=Thresholds(palette.GREEN, ((1, palette.YELLOW),)),
                no_value="no v2 listing",
            ),
            Query(f"sum(1 - {SCOPE.dedup('modelarts_exporter_unified_jobs_supported', 'project')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Duplicate jobs",
                description="Jobs that both API generations list with the same name and submission time. Each counts "
                "as one job, as v2 reports it, in every series and total. No value while only one API generation is "
                "polled.",
                unit="none",
                width=6,
                height=6,
                thresholds=NEUTRAL,
                no_value="one API generation",
            ),
            Query(f"sum({SCOPE.dedup('modelarts_training_duplicate_jobs')})"),
        ),
    ),
)

API_CALLS = Row(
    "API calls",
    (
        time_series_panel(
            PanelOptions(
                title="Calls by operation",
                description="API calls per second, summed over all exporters, because each call uses quota. The ten "
                "operations with the most calls.",
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
                description="API calls per second by outcome. `gone` and `unsupported` are successful responses; "
                "every colour other than green is a failure.",
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
                "server_error": "dark-red",
                "denied": "purple",
                "refused": palette.ORANGE,
                "invalid_response": "dark-orange",
                "circuit_open": palette.GREY,
            },
        ),
        time_series_panel(
            PanelOptions(
                title="Share of failed calls",
                description="Failed calls, retries, and throttled calls, each divided by all calls. Retries rise "
                "long before a poll fails.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((0.05, palette.YELLOW), (0.2, palette.RED))),
            ),
            Query(f"{_rate(REQUESTS, outcome=FAILED_OUTCOMES)}\n/\n{_rate(REQUESTS)}", "failed"),
            Query(f"{_rate('modelarts_exporter_api_retries_total')}\n/\n{_rate(REQUESTS)}", "retried"),
            Query(f"{_rate('modelarts_exporter_throttled_total')}\n/\n{_rate(REQUESTS)}", "throttled"),
            colours={"failed": palette.RED, "retried": palette.BLUE, "throttled": palette.YELLOW},
        ),
        time_series_panel(
            PanelOptions(
                title="API latency",
                description="Duration of API calls from the connection to the last byte: p50, p95 and p99, all "
                "outcomes.",
                unit="s",
                width=6,
                height=8,
            ),
            *(
                Query(_quantile(quantile, "modelarts_exporter_api_request_duration_seconds_bucket"), legend)
                for quantile, legend in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ),
        ),
        time_series_panel(
            PanelOptions(
                title="Slowest operations",
                description="Latency p95 of the ten slowest operations.",
                unit="s",
                width=6,
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
                title="Unknown values (1 h)",
                description="Values in API responses that the exporter does not know or that are impossible, in the "
                "hour before each point, by field: the ten most frequent. If they increase after a change of the "
                "API, update the exporter.",
                unit="none",
                width=6,
                height=8,
                thresholds=NEUTRAL,
                decimals=0,
                no_value="no unknown values",
            ),
            Query(
                "topk(10, sum by (field) (increase("
                + SCOPE.selector("modelarts_exporter_unknown_values_total", over="1h")
                + ")))",
                "{{field}}",
            ),
        ),
        time_series_panel(
            PanelOptions(
                title="Repaired responses (1 h)",
                description="API responses that were not valid JSON and were decoded after a repair, in the hour "
                "before each point, by kind of flaw. Invalid text is replaced, and an impossible number is absent.",
                unit="none",
                width=6,
                height=8,
                thresholds=NEUTRAL,
                decimals=0,
            ),
            Query(
                "sum by (kind) (increase("
                + SCOPE.selector("modelarts_exporter_api_responses_repaired_total", over="1h")
                + "))",
                "{{kind}}",
            ),
            stacked=True,
        ),
    ),
)

RESOURCES = Row(
    "Resource usage",
    (
        time_series_panel(
            PanelOptions(
                title="Series served",
                description="Series of jobs, tasks and totals by project, the twenty largest projects. Above "
                "metrics.max_series_per_project (100 000 by default) series are dropped.",
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
                description="Jobs in memory: active jobs, finished jobs within the retention, and jobs hidden by a "
                "filter.",
                unit="short",
                width=8,
                height=8,
            ),
            Query(f"topk({MAX_SERIES}, {SCOPE.dedup('modelarts_exporter_tracked_jobs')})", "{{project}}"),
        ),
        time_series_panel(
            PanelOptions(
                title="Memory",
                description="Resident memory of each exporter. About 70 MB plus 3 kB for each tracked job is "
                "normal; growth without more tracked jobs is a leak.",
                unit="bytes",
                width=8,
                height=8,
            ),
            Query(f"topk({MAX_SERIES}, {SCOPE.of_exporters('process_resident_memory_bytes')})", "{{instance}}"),
        ),
        time_series_panel(
            PanelOptions(
                title="CPU of the exporter",
                description="CPUs that each exporter uses. A poll needs about a millisecond for each changed job.",
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
                title="Render duration",
                description="Time to render, join and compress a snapshot: p50 and p99. Scrapes do not wait for it.",
                unit="s",
                width=8,
                height=8,
            ),
            Query(_quantile(0.5, "modelarts_exporter_render_duration_seconds_bucket"), "p50"),
            Query(_quantile(0.99, "modelarts_exporter_render_duration_seconds_bucket"), "p99"),
        ),
        time_series_panel(
            PanelOptions(
                title="Snapshot age",
                description="Time since the served snapshot was made. Every poll makes a new one, whether it "
                "succeeds or fails: an age well above the shortest polling interval means that the exporter is "
                "stuck.",
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

EXPORTERS = Row(
    "Exporters and credentials",
    (
        table_panel(
            PanelOptions(
                title="Exporters",
                description="Each exporter process that was scraped, with its version, and when it last wrote its "
                "state file, which keeps its counters over a restart. Without state.file the last columns are empty.",
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
                Column(title="Since last write", value="D", unit="s", decimals=0),
            ),
            sort_by="Exporter",
            descending=False,
        ),
        table_panel(
            PanelOptions(
                title="Credentials",
                description="Time until the credential in use expires, for credentials that expire. It is renewed "
                "before: if the time falls towards zero, renewal fails.",
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
    description="Whether the data of the other boards is complete and current, API calls, and resource usage of "
    "the exporter.",
    variables=variables(SCOPE, scrape_shown=True),
    rows=(NOW, DATA, MISSING, API_CALLS, RESOURCES, EXPORTERS),
    annotations=(annotation.restarts(SCOPE),),
    time_from="now-3h",
)
