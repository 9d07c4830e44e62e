"""What the boards ask: parses, names only what is exported, and leaves nothing that is exported unseen."""

from collections.abc import Iterator, Mapping

import promql_parser as promql
import pytest

from exporter.metrics.catalog import FAMILIES, by_exposed_name
from exporter.metrics.exposition.family import Stability
from exporter.metrics.exposition.labels import IDENTITY_LABELS
from tests.dashboards.reading import (
    BOARDS,
    Json,
    everything,
    filled,
    matchers,
    parts,
    questions,
    selectors,
    standing,
    variables,
)

FOREIGN = {
    "up",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}
"""Metrics outside the catalogue that a board may name, of our own scrape targets only."""
UNSEEN: Mapping[str, str] = {}
"""Stable families that no board shows, and why not."""
NARROWED_BY = {"project": "project", "pool": "pool_id", "user": "user", "training_job": "job_id"}

each_board = pytest.mark.parametrize("of", BOARDS.values(), ids=BOARDS.keys())


def named(of: Json) -> Iterator[str]:
    """Every metric a board names."""
    for question in questions(of):
        yield from (selector.name or "" for selector in selectors(question.expr, of))


@each_board
def test_every_expression_parses(of: Json) -> None:
    """With All chosen everywhere, each is a query."""
    for question in questions(of):
        promql.parse(filled(question.expr, everything(of)))


@each_board
def test_only_the_catalogue_is_named(of: Json) -> None:
    """Each metric is declared, or one of the few that Prometheus and its client library make."""
    for name in named(of):
        assert name in FOREIGN or name in {*by_exposed_name(name).sample_names}, name


def test_metrics_that_others_have_too_are_asked_of_our_targets_only() -> None:
    """Whoever chooses All must not see the memory of every process in the Prometheus."""
    for of in BOARDS.values():
        for question in questions(of):
            for part in parts(promql.parse(filled(question.expr, everything(of)))):
                if isinstance(part, promql.VectorSelector) and part.name in FOREIGN:
                    assert "modelarts_exporter_build_info" in question.expr, question.where


def test_every_stable_metric_is_on_a_board() -> None:
    """What is worth exporting is worth showing; exceptions say why."""
    seen = {name for of in BOARDS.values() for name in named(of)}
    unseen = {
        family.exposed_name
        for family in FAMILIES
        if family.stability is Stability.STABLE and not seen & {family.exposed_name, *family.sample_names}
    }

    assert unseen == set(UNSEEN)


@each_board
def test_variables_and_expressions_need_each_other(of: Json) -> None:
    """No expression reads a variable the board lacks, and no variable is without effect."""
    read: set[str] = set()
    for question in questions(of):
        for part in parts(promql.parse(filled(question.expr, standing(of)))):
            if isinstance(part, promql.VectorSelector):
                assert "$" not in str(part), question.where
        read |= {name for name in variables(of) if f"${name}" in question.expr or f"${{{name}:" in question.expr}

    assert read == set(variables(of)) - {"datasource"}


@each_board
def test_every_choice_narrows_every_panel_it_can(of: Json) -> None:
    """A selector whose metric has the label of a variable has a matcher for it.

    The board of one job is an exception by design: pool and user only shorten the list of jobs to choose from.
    """
    for question in questions(of):
        if "/ variable " in question.where:
            continue
        for selector in selectors(question.expr, of):
            if selector.name in FOREIGN:
                continue
            has = {label.name for label in IDENTITY_LABELS[by_exposed_name(selector.name or "").subject]}
            has |= {label.name for label in by_exposed_name(selector.name or "").labels}
            for name in variables(of):
                label = NARROWED_BY.get(name)
                if label not in has or (of["uid"], name) in {("modelarts-job", "pool"), ("modelarts-job", "user")}:
                    continue
                assert matchers(selector)[label or ""] == f"VAR_{name}", question.where


@each_board
def test_jobs_are_chosen_by_pool_and_user_through_their_info(of: Json) -> None:
    """A query of job series on a board with a pool or user also reads the info, which alone carries them."""
    if of["uid"] == "modelarts-job" or not {"pool", "user"} & set(variables(of)):
        return
    for question in questions(of):
        names = {selector.name for selector in selectors(question.expr, of)}
        if any(by_exposed_name(name or "").subject == "job" for name in names - FOREIGN):
            assert "modelarts_training_job_info" in names, question.where


def test_every_objective_is_a_bound_of_the_histogram() -> None:
    """Whatever is chosen, the share of late starts is counted in whole buckets; another number would find none."""
    offered = {float(option["value"]) for option in variables(BOARDS["modelarts-queue"])["objective"]["options"]}

    assert offered <= {*(by_exposed_name("modelarts_training_queue_seconds_bucket").buckets or ())}
