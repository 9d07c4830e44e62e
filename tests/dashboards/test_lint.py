"""The rules of Grafana's dashboard-linter and of this project, for every board.

The linter is a Go program; these tests implement its rules as its documentation describes them.
"""

import promql_parser as promql
import pytest

from dashboards.src.link import TAG
from tests.dashboards.rendered import (
    BOARDS,
    Json,
    all_selected,
    board_queries,
    matchers,
    nodes,
    panels,
    parse_variable,
    selectors,
    substitute,
    variables,
    variables_in,
)

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"none", "string", "short", "percentunit", "s", "Bps", "bytes", "reqps", "dateTimeAsIso"}
"""The units in use; Grafana knows all of them."""
MAX_SERIES = 20
GRAPHICAL = {"timeseries", "bargauge", "state-timeline"}
"""Types of panels that draw each series."""
COUNTERS = ("_total", "_bucket", "_count")
LIMITED = {"topk", "bottomk"}
SCRAPE_LABELS = {"job", "instance", "cluster"}

each_board = pytest.mark.parametrize("of", BOARDS.values(), ids=BOARDS.keys())


@each_board
def test_data_source_is_a_variable(of: Json) -> None:
    """template-datasource-rule, panel-datasource-rule: one variable, used by all panels, queries and annotations."""
    chosen = variables(of)["datasource"]
    assert (chosen["type"], chosen["query"], chosen["label"]) == ("datasource", "prometheus", "Data source")
    for panel in panels(of):
        assert panel["datasource"] == DATASOURCE
        assert all(target["datasource"] == DATASOURCE for target in panel["targets"])
    assert all(each["datasource"] == DATASOURCE for each in of["annotations"]["list"])
    assert all(each["datasource"] == DATASOURCE for each in variables(of).values() if each["type"] == "query")


@each_board
@pytest.mark.parametrize("name", ["job", "instance"])
def test_scrape_labels_are_variables(of: Json, name: str) -> None:
    """template-job-rule, template-instance-rule: a query with multiple selection and All."""
    chosen = variables(of)[name]

    assert (chosen["type"], chosen["label"], chosen["multi"], chosen["allValue"]) == (
        "query",
        name.title(),
        True,
        ".+",
    )


@each_board
def test_variables_refresh_on_time_range_change(of: Json) -> None:
    """template-label-promql-rule, template-on-time-change-reload-rule: queries that parse, and refresh 2."""
    for name, variable in variables(of).items():
        if variable["type"] != "query":
            continue
        assert variable["refresh"] == 2, name
        series, label, query = parse_variable(variable["query"])
        promql.parse(substitute(query or series or label, all_selected(of)))


@each_board
def test_variables_depend_on_those_before_them(of: Json) -> None:
    """The options of a variable depend on all variables before it: pools on the project, users on the pool."""
    before: list[str] = []
    for name, variable in variables(of).items():
        if variable["type"] == "query":
            assert variables_in(variable["query"]) - {"__range"} == set(before), name
            before.append(name)


@each_board
def test_variables_offer_all(of: Json) -> None:
    """Every variable has All, except the job of the board Job; for labels that can be empty, All matches empty."""
    for name, variable in variables(of).items():
        if variable["type"] != "query" or (of["uid"], name) == ("modelarts-job", "training_job"):
            continue
        assert (variable["multi"], variable["includeAll"], variable["current"]["value"]) == (True, True, ["$__all"])
        assert variable["allValue"] == (".*" if name in {"cluster", "pool", "user"} else ".+"), name


@each_board
def test_panels_have_title_description_and_query(of: Json) -> None:
    """panel-title-description-rule, panel-no-targets-rule: a title, a description in sentences, and a query."""
    for panel in panels(of):
        assert panel["title"]
        where = f"board {of['uid']}, panel {panel['title']!r}"
        described = panel["description"].endswith(".") and len(panel["description"]) > len(panel["title"])
        assert described, f"{where}: write a description in sentences in dashboards/src/"
        assert panel["targets"], f"{where}: add a query in dashboards/src/"
    assert of["description"].endswith(".")


@each_board
def test_every_panel_has_a_unit_and_thresholds(of: Json) -> None:
    """panel-units-rule, and ours: a unit that Grafana knows, for the panel and for each column, and thresholds."""
    for panel in panels(of):
        defaults = panel["fieldConfig"]["defaults"]
        unit = defaults["unit"]
        assert unit in UNITS, f"{panel['title']}: use a unit of Grafana, and add {unit} to UNITS of this file"
        assert defaults["thresholds"]["steps"][0]["value"] is None, panel["title"]
        for override in panel["fieldConfig"]["overrides"]:
            units = {each["value"] for each in override["properties"] if each["id"] == "unit"}
            assert units <= UNITS, panel["title"]


@each_board
def test_queries_match_scrape_labels(of: Json) -> None:
    """target-job-rule, target-instance-rule, and the cluster: each selector has the three variables as matchers."""
    for query in board_queries(of):
        if "/ variable " in query.location:
            continue
        for selector in selectors(query.expr, of):
            found = {label: value for label, value in matchers(selector).items() if label in SCRAPE_LABELS}
            assert found == {label: f"VAR_{label}" for label in SCRAPE_LABELS}, query.location


@each_board
def test_rates_use_the_rate_interval(of: Json) -> None:
    """target-rate-interval-rule, target-counter-agg-rule: rate over $__rate_interval, no bare counters."""
    for query in board_queries(of):
        whole = promql.parse(substitute(query.expr, {**all_selected(of), "__rate_interval": "7s"}))
        calls = [part for part in nodes(whole) if isinstance(part, promql.Call)]
        rates = {call.args[0].range.total_seconds() for call in calls if call.func.name == "rate"}
        assert rates <= {7.0}, query.location
        counted = {call.args[0].vector_selector for call in calls if call.func.name in {"rate", "increase"}}
        names = [part.name or "" for part in nodes(whole) if isinstance(part, promql.VectorSelector)]
        assert len(counted) == sum(name.endswith(COUNTERS) for name in names), query.location


@each_board
def test_panels_limit_their_series(of: Json) -> None:
    """A panel that draws each series of an unbounded label limits their number with topk or bottomk."""
    bounded = {"status", "outcome", "accelerator", "policy", "state", "kind"}
    one_job = of["uid"] == "modelarts-job"
    for panel in panels(of):
        if panel["type"] not in GRAPHICAL:
            assert len(panel["targets"]) == 1 or panel["type"] == "table"
            continue
        for target in panel["targets"]:
            legend = set(target["legendFormat"].replace("}}", "{{").split("{{")[1::2])
            parsed = [*nodes(promql.parse(substitute(target["expr"], all_selected(of))))]
            limits = [
                int(part.param.val)  # type: ignore[union-attr] # topk and bottomk always have a number
                for part in parsed
                if isinstance(part, promql.AggregateExpr) and str(part.op) in LIMITED and part.modifier is None
            ]
            if legend <= bounded or (one_job and not limits and "task" not in legend):
                continue
            assert limits, (panel["title"], legend)
            assert max(limits) <= MAX_SERIES, panel["title"]


@each_board
def test_boards_link_to_each_other(of: Json) -> None:
    """The link at the top lists every board by its tag, and keeps time range and variables."""
    (between,) = of["links"]

    assert TAG in of["tags"]
    assert (between["type"], between["tags"]) == ("dashboards", [TAG])
    assert (between["includeVars"], between["keepTime"]) == (True, True)


@each_board
def test_links_use_existing_boards_and_variables(of: Json) -> None:
    """A link leads to one of the boards and sets only variables of that board."""
    for panel in panels(of):
        settings = panel["fieldConfig"]
        links = [
            *settings["defaults"].get("links", []),
            *(
                link
                for override in settings["overrides"]
                for each in override["properties"]
                if each["id"] == "links"
                for link in each["value"]
            ),
        ]
        for link in links:
            address, _, query = link["url"].removeprefix("/d/").partition("?")
            assert address in BOARDS, panel["title"]
            chosen = {part.removeprefix("var-").split("=")[0] for part in query.split("&") if part.startswith("var-")}
            assert chosen <= set(variables(BOARDS[address])), panel["title"]


@each_board
def test_links_use_existing_columns(of: Json) -> None:
    """A link of a table uses only columns of the table; they may be hidden."""
    for panel in panels(of):
        shown = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
        read = {
            word.split("}")[0]
            for override in panel["fieldConfig"]["overrides"]
            for each in override["properties"]
            if each["id"] == "links"
            for link in each["value"]
            for word in link["url"].split("${__data.fields.")[1:]
        }
        assert read <= shown, panel["title"]


@each_board
def test_board_has_annotation(of: Json) -> None:
    """Each board annotates failures of jobs on its time axis; the board Exporter annotates starts of the exporter."""
    assert [(each["name"], each["useValueForTime"]) for each in of["annotations"]["list"]] == [
        ("Exporter starts" if of["uid"] == "modelarts-exporter" else "Failures", True)
    ]
