"""Links between boards, and from a table row or a series to its details."""

from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.models import dashboard as model

TAG = "modelarts"
"""Tag of every board; the links at the top of a board list all boards with this tag."""

FLEET, QUEUE, JOBS, JOB, USERS, WASTE, POOLS, EXPORTER = (
    "modelarts-fleet",
    "modelarts-queue",
    "modelarts-jobs",
    "modelarts-job",
    "modelarts-users",
    "modelarts-waste",
    "modelarts-pools",
    "modelarts-exporter",
)
"""Uids of the boards, which are part of their addresses."""

_KEEP = "${datasource:queryparam}&${cluster:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"


def to_all_boards() -> builder.DashboardLink:
    """Link to all boards, with the selected time range and variables."""
    return (
        builder.DashboardLink("ModelArts")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )


def to_board(title: str, uid: str, **variables: str) -> model.DashboardLink:
    """Link from a cell to a board; the values of `variables` may use Grafana's `${__data.fields…}`."""
    values = "".join(f"&var-{name}={value}" for name, value in variables.items())
    return model.DashboardLink(
        title=title, type_val=model.DashboardLinkType.LINK, tags=[], url=f"/d/{uid}?{_KEEP}{values}"
    )


def to_job_of_row() -> model.DashboardLink:
    """Link from a table row to the board of its job."""
    return to_board(
        "Details of this job", JOB, project="${__data.fields.Project}", training_job="${__data.fields.job_id}"
    )


def to_job_of_series() -> model.DashboardLink:
    """Link from a series to the board of its job."""
    return to_board(
        "Details of this job", JOB, project="${__field.labels.project}", training_job="${__field.labels.job_id}"
    )


def to_jobs_of_user() -> model.DashboardLink:
    """Link from a series to the jobs of its user."""
    return to_board("Jobs of this user", JOBS, user="${__field.labels.user}")


def to_jobs_of_row() -> model.DashboardLink:
    """Link from a table row to the jobs of its user."""
    return to_board("Jobs of this user", JOBS, user="${__data.fields.User}")


def to_pools_of_series() -> model.DashboardLink:
    """Link from a series to the dedicated pools of its project."""
    return to_board("Pools of this project", POOLS, project="${__field.labels.project}")
