"""The rules of Grafana's dashboard-linter, and of this project, on every board.

The linter itself is a Go program; what follows states its rules (as of its rule pages) in our words.
"""

import promql_parser as promql
import pytest

from dashboards.src.link import TAG
from tests.dashboards.rendered import (
    BOARDS,
    Json,
    all_selected,
    substitute,
    matchers,
    panels,
    nodes,
    board_queries,
    parse_variable,
    selectors,
    variables_in,
    variables,
)

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"none", "string", "short", "percentunit", "s", "Bps", "bytes", "reqps", "dateTimeAsIso"}
"""The units we use, all of which Grafana knows."""
MOST_LINES = 20
DRAWN = {"timeseries", "bargauge", "state-timeline"}
"""Panels that draw something for each series: a hundred of those nobody can read."""
COUNTERS = ("_total", "_bucket", "_count")
LIMITED = {"topk", "bottomk"}
ALWAYS = {"job", "instance", "cluster"}

each_board = pytest.mark.parametrize("of", BOARDS.values(), ids=BOARDS.keys())


@each_board
def test_the_data_source_is_a_choice(of: Json) -> None:
    """template-datasource-rule, panel-datasource-rule: one variable, used by all panels, queries and marks."""
    chosen = variables(of)["datasource"]
    assert (chosen["type"], chosen["query"], chosen["label"]) == ("datasource", "prometheus", "Data source")
    for panel in panels(of):
        assert panel["datasource"] == DATASOURCE
        assert all(target["datasource"] == DATASOURCE for target in panel["targets"])
    assert all(mark["datasource"] == DATASOURCE for mark in of["annotations"]["list"])
    assert all(each["datasource"] == DATASOURCE for each in variables(of).values() if each["type"] == "query")


@each_board
@pytest.mark.parametrize("name", ["job", "instance"])
def test_the_scrape_is_a_choice(of: Json, name: str) -> None:
    """template-job-rule, template-instance-rule: several or all of them, by a query."""
    chosen = variables(of)[name]

    assert (chosen["type"], chosen["label"], chosen["multi"], chosen["allValue"]) == (
        "query",
        name.title(),
        True,
        ".+",
    )


@each_board
def test_variables_are_asked_again_when_the_time_changes(of: Json) -> None:
    """template-label-promql-rule, template-on-time-change-reload-rule: queries that parse, and refresh 2."""
    for name, variable in variables(of).items():
        if variable["type"] != "query":
            continue
        assert variable["refresh"] == 2, name
        series, label, query = parse_variable(variable["query"])
        promql.parse(substitute(query or series or label, all_selected(of)))


@each_board
def test_each_choice_is_narrowed_by_those_before_it(of: Json) -> None:
    """Choosing a project leaves its pools, a pool its users, a user the jobs."""
    before: list[str] = []
    for name, variable in variables(of).items():
        if variable["type"] == "query":
            assert variables_in(variable["query"]) - {"__range"} == set(before), name
            before.append(name)


@each_board
def test_all_can_be_chosen_but_for_the_one_job(of: Json) -> None:
    """Every variable is multiple and begins with All; labels that may be empty match empty under All."""
    for name, variable in variables(of).items():
        if variable["type"] != "query" or (of["uid"], name) == ("modelarts-job", "training_job"):
            continue
        assert (variable["multi"], variable["includeAll"], variable["current"]["value"]) == (True, True, ["$__all"])
        assert variable["allValue"] == (".*" if name in {"cluster", "pool", "user"} else ".+"), name


@each_board
def test_every_panel_says_what_it_answers(of: Json) -> None:
    """panel-title-description-rule, panel-no-targets-rule: title, a real description, and something asked."""
    for panel in panels(of):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert len(panel["description"]) > len(panel["title"]), panel["title"]
        assert panel["targets"], panel["title"]
    assert of["description"].endswith(".")


@each_board
def test_every_panel_has_a_unit_and_thresholds(of: Json) -> None:
    """panel-units-rule, and ours: a unit Grafana knows, here and in each column, and colours with a meaning."""
    for panel in panels(of):
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in UNITS, panel["title"]
        assert defaults["thresholds"]["steps"][0]["value"] is None, panel["title"]
        for override in panel["fieldConfig"]["overrides"]:
            units = {each["value"] for each in override["properties"] if each["id"] == "unit"}
            assert units <= UNITS, panel["title"]


@each_board
def test_every_query_can_be_narrowed_to_one_scrape(of: Json) -> None:
    """target-job-rule, target-instance-rule, and the cluster: each selector has the three variables as matchers."""
    for query in board_queries(of):
        if "/ variable " in query.location:
            continue
        for selector in selectors(query.expr, of):
            found = {label: value for label, value in matchers(selector).items() if label in ALWAYS}
            assert found == {label: f"VAR_{label}" for label in ALWAYS}, query.location


@each_board
def test_rates_use_the_rate_interval(of: Json) -> None:
    """target-rate-interval-rule, target-counter-agg-rule: rate over $__rate_interval, counters never bare."""
    for query in board_queries(of):
        whole = promql.parse(substitute(query.expr, {**all_selected(of), "__rate_interval": "7s"}))
        calls = [part for part in nodes(whole) if isinstance(part, promql.Call)]
        rates = {call.args[0].range.total_seconds() for call in calls if call.func.name == "rate"}
        assert rates <= {7.0}, query.location
        counted = {call.args[0].vector_selector for call in calls if call.func.name in {"rate", "increase"}}
        names = [part.name or "" for part in nodes(whole) if isinstance(part, promql.VectorSelector)]
        assert len(counted) == sum(name.endswith(COUNTERS) for name in names), query.location


@each_board
def test_no_panel_draws_more_than_a_screenful(of: Json) -> None:
    """What draws a line, bar or strip for each of something unbounded takes the first few of them only."""
    bounded = {"status", "outcome", "accelerator", "policy", "state", "kind"}
    one_job = of["uid"] == "modelarts-job"
    for panel in panels(of):
        if panel["type"] not in DRAWN:
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
            assert max(limits) <= MOST_LINES, panel["title"]


@each_board
def test_boards_lead_to_each_other(of: Json) -> None:
    """The link at the top lists every board by its tag, and carries time and choices along."""
    (between,) = of["links"]

    assert TAG in of["tags"]
    assert (between["type"], between["tags"]) == ("dashboards", [TAG])
    assert (between["includeVars"], between["keepTime"]) == (True, True)


@each_board
def test_links_lead_to_boards_and_variables_that_exist(of: Json) -> None:
    """A link names a board of ours, and sets nothing that board does not have."""
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
def test_links_read_columns_that_are_there(of: Json) -> None:
    """What a link takes from its row is a column of the table, if a hidden one."""
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
def test_failures_or_starts_are_marked(of: Json) -> None:
    """Each board marks on its time axis what explains a change: failures of jobs, or starts of the exporter."""
    assert [(mark["name"], mark["useValueForTime"]) for mark in of["annotations"]["list"]] == [
        ("Exporter starts" if of["uid"] == "modelarts-exporter" else "Failures", True)
    ]
