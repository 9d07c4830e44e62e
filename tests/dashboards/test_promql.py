"""The frame: what cannot be said with it, because nothing exports it, and what it always says."""

import pytest

from dashboards.src.promql import Scope, vocabulary

NARROW = Scope(frozenset({"project", "pool", "user"}))
JOB = "cluster, project, job_id"


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda: NARROW.series("modelarts_training_job_statuses"), id="metric"),
        pytest.param(lambda: NARROW.series("modelarts_training_job_status", state="running"), id="label"),
        pytest.param(lambda: NARROW.series("modelarts_training_job_status", status="sleeping"), id="value"),
        pytest.param(lambda: NARROW.one("modelarts_training_job_status", "reason"), id="grouping"),
        pytest.param(lambda: NARROW.told("x", "colour"), id="info-label"),
        pytest.param(lambda: NARROW.ours("modelarts_up"), id="not-foreign"),
        pytest.param(lambda: vocabulary("modelarts_up", "project"), id="unbounded"),
        pytest.param(
            lambda: vocabulary("modelarts_training_job_status", "status", without=("sleeping",)), id="excluded-value"
        ),
    ],
)
def test_what_nothing_exports_cannot_be_asked(wrong: object) -> None:
    """A name the catalogue does not have fails while the board is imported, not in front of an operator."""
    with pytest.raises(KeyError):
        wrong()  # type: ignore[operator] # a list of mixed lambdas


def test_a_board_cannot_have_a_variable_nobody_narrows_by() -> None:
    """Scopes are made of known variables."""
    with pytest.raises(ValueError, match="no such variables: \\['colour'\\]"):
        Scope(frozenset({"colour"}))


def test_every_selector_is_narrowed_by_what_it_can_be() -> None:
    """Scrape labels always; project, pool and user where the metric has the label, and nothing else."""
    assert NARROW.series("modelarts_training_jobs", status=("failed", "lost")) == (
        'modelarts_training_jobs{cluster=~"$cluster", job=~"$job", instance=~"$instance", project=~"$project", '
        'pool_id=~"${pool:pipe}", status=~"failed|lost"}'
    )


def test_replicas_fold_before_anything_is_added_up() -> None:
    """One series for each job, whatever the number of exporters that tell of it."""
    assert Scope().one("modelarts_training_job_idle_seconds") == (
        f"max by ({JOB}) "
        '(modelarts_training_job_idle_seconds{cluster=~"$cluster", job=~"$job", instance=~"$instance"})'
    )


def test_jobs_are_not_looked_up_where_nothing_would_narrow_them() -> None:
    """Without a variable for pool or user, choosing is free of charge."""
    assert Scope(frozenset({"project"})).chosen("x") == "x"
    assert NARROW.chosen("x").startswith(f"x\nand on ({JOB})\nmodelarts_training_job_info{{")
