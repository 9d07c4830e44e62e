"""The queries of the boards: each parses, uses only existing metrics, and every stable metric is on a board."""

from collections.abc import Iterator, Mapping

import promql_parser as promql
import pytest

from dashboards.src.promql import EXTERNAL
from exporter.metrics.catalog import FAMILIES, by_exposed_name
from exporter.metrics.exposition.family import Stability
from exporter.metrics.exposition.labels import IDENTITY_LABELS
from tests.dashboards.rendered import (
    BOARDS,
    Json,
    all_selected,
    board_queries,
    matchers,
    nodes,
    placeholders,
    selectors,
    substitute,
    variables,
)

NOT_SHOWN: Mapping[str, str] = {
    "modelarts_training_job_usage_timestamp_seconds": "the age of usage matters only when it stops: an alert tells",
}
"""Stable families that no board shows, and the reason."""
LABEL_OF = {"project": "project", "pool": "pool_id", "user": "user", "training_job": "job_id"}

each_board = pytest.mark.parametrize("of", BOARDS.values(), ids=BOARDS.keys())


def metrics(of: Json) -> Iterator[str]:
    """Every metric that a board uses."""
    for query in board_queries(of):
        yield from (selector.name or "" for selector in selectors(query.expr, of))


@each_board
def test_every_expression_parses(of: Json) -> None:
    """With All selected for every variable, each expression is valid PromQL."""
    for query in board_queries(of):
        promql.parse(substitute(query.expr, all_selected(of)))


@each_board
def test_metrics_are_in_the_catalog(of: Json) -> None:
    """Each metric is in the catalog, or is made by Prometheus or its client library."""
    known = {*EXTERNAL, *(name for family in FAMILIES for name in family.sample_names)}
    unknown = sorted({*metrics(of)} - known)
    assert not unknown, f"board {of['uid']}: {unknown} is not in the catalog; correct the query in dashboards/src/"


def test_external_metrics_are_of_exporters_only() -> None:
    """With All selected, a board shows the processes of exporters, not every process in Prometheus."""
    for of in BOARDS.values():
        for query in board_queries(of):
            for part in nodes(promql.parse(substitute(query.expr, all_selected(of)))):
                if isinstance(part, promql.VectorSelector) and part.name in EXTERNAL:
                    assert "modelarts_exporter_build_info" in query.expr, query.location


def test_every_stable_metric_is_on_a_board() -> None:
    """Every stable metric is on a board; exceptions have a reason."""
    shown = {name for of in BOARDS.values() for name in metrics(of)}
    missing = {
        family.exposed_name
        for family in FAMILIES
        if family.stability is Stability.STABLE and not shown & {family.exposed_name, *family.sample_names}
    }

    assert missing == set(NOT_SHOWN), (
        f"add a panel in dashboards/src/, or a reason in NOT_SHOWN of this file: {sorted(missing ^ set(NOT_SHOWN))}"
    )


@each_board
def test_variables_are_defined_and_used(of: Json) -> None:
    """Expressions use only variables of the board, and every variable is used."""
    read: set[str] = set()
    for query in board_queries(of):
        for part in nodes(promql.parse(substitute(query.expr, placeholders(of)))):
            if isinstance(part, promql.VectorSelector):
                assert "$" not in str(part), query.location
        read |= {name for name in variables(of) if f"${name}" in query.expr or f"${{{name}:" in query.expr}

    unused = sorted(set(variables(of)) - {"datasource"} - read)
    assert not unused, f"board {of['uid']}: no query uses the variables {unused}; remove them from its Scope"


@each_board
def test_every_variable_filters_every_panel(of: Json) -> None:
    """A selector whose metric has the label of a variable has a matcher for it.

    The board Job is an exception: pool and user only shorten the list of jobs to select from.
    """
    for query in board_queries(of):
        if "/ variable " in query.location:
            continue
        for selector in selectors(query.expr, of):
            if selector.name in EXTERNAL:
                continue
            has = {label.name for label in IDENTITY_LABELS[by_exposed_name(selector.name or "").subject]}
            has |= {label.name for label in by_exposed_name(selector.name or "").labels}
            for name in variables(of):
                label = LABEL_OF.get(name)
                if label not in has or (of["uid"], name) in {("modelarts-job", "pool"), ("modelarts-job", "user")}:
                    continue
                assert matchers(selector)[label or ""] == f"VAR_{name}", query.location


@each_board
def test_jobs_are_filtered_by_their_info(of: Json) -> None:
    """A query of job series reads the info, if the board has a variable for pool or user."""
    if of["uid"] == "modelarts-job" or not {"pool", "user"} & set(variables(of)):
        return
    for query in board_queries(of):
        names = {selector.name for selector in selectors(query.expr, of)}
        if any(by_exposed_name(name or "").subject == "job" for name in names - EXTERNAL.keys()):
            assert "modelarts_training_job_info" in names, query.location


def test_objectives_are_bucket_bounds() -> None:
    """Each objective is a bucket bound; for another number the share of late starts has no series."""
    offered = {float(option["value"]) for option in variables(BOARDS["modelarts-queue"])["objective"]["options"]}

    assert offered <= {*(by_exposed_name("modelarts_training_queue_duration_seconds_bucket").buckets or ())}
