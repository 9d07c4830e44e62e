"""Queries: names that do not exist are rejected, and every selector has the matchers of its scope."""

from collections.abc import Callable

import pytest

from dashboards.src.promql import Scope, UnknownNameError, vocabulary

SCOPE = Scope(frozenset({"project", "pool", "user"}))
JOB = "cluster, project, job_id"


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda: SCOPE.selector("modelarts_training_job_statuses"), id="metric"),
        pytest.param(lambda: SCOPE.selector("modelarts_training_job_status", state="running"), id="label"),
        pytest.param(lambda: SCOPE.selector("modelarts_training_job_status", status="sleeping"), id="value"),
        pytest.param(lambda: SCOPE.dedup("modelarts_training_job_status", "reason"), id="grouping"),
        pytest.param(lambda: SCOPE.join_info("x", "colour"), id="info-label"),
        pytest.param(lambda: SCOPE.of_exporters("modelarts_up"), id="not-external"),
        pytest.param(lambda: vocabulary("modelarts_up", "project"), id="unbounded"),
        pytest.param(
            lambda: vocabulary("modelarts_training_job_status", "status", without=("sleeping",)), id="excluded-value"
        ),
    ],
)
def test_unknown_name_is_rejected(wrong: Callable[[], object]) -> None:
    """A name that is not in the catalog fails on import of the board; the message names file and line."""
    with pytest.raises(UnknownNameError, match=r"tests/dashboards/test_promql\.py:\d+: .* Correct the query there"):
        wrong()


def test_misspelt_name_gets_a_suggestion() -> None:
    """The message has the nearest existing name."""
    with pytest.raises(UnknownNameError, match=r"Did you mean modelarts_training_job_status\?"):
        SCOPE.selector("modelarts_training_job_statuses")


def test_scope_rejects_unknown_variables() -> None:
    """A scope accepts only the variables that boards have."""
    with pytest.raises(ValueError, match="no such variables: \\['colour'\\]"):
        Scope(frozenset({"colour"}))


def test_selector_has_matchers_of_its_scope() -> None:
    """A selector has matchers for the scrape labels, and for project, pool and user if the metric has the label."""
    assert SCOPE.selector("modelarts_training_jobs", status=("failed", "lost")) == (
        'modelarts_training_jobs{cluster=~"$cluster", job=~"$job", instance=~"$instance", project=~"$project", '
        'pool_id=~"${pool:pipe}", status=~"failed|lost"}'
    )


def test_replicas_are_deduplicated() -> None:
    """There is one series for each job, however many exporters export it."""
    assert Scope().dedup("modelarts_training_job_idle_seconds") == (
        f"max by ({JOB}) "
        '(modelarts_training_job_idle_seconds{cluster=~"$cluster", job=~"$job", instance=~"$instance"})'
    )


def test_jobs_are_filtered_only_by_pool_or_user() -> None:
    """Without a variable for pool or user, the query does not read the info series."""
    assert Scope(frozenset({"project"})).select_jobs("x") == "x"
    assert SCOPE.select_jobs("x").startswith(f"x\nand on ({JOB})\nmodelarts_training_job_info{{")
