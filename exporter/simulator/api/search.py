"""The v2 search: filters, order and pages (API reference §1.3)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from exporter.simulator.api.call import Call, Response
from exporter.simulator.api.errors import v2_error
from exporter.simulator.api.v2_answers import api_kind, job_body, phase
from exporter.simulator.world.job import FINE_TUNING, Job
from exporter.simulator.world.job_index import JobIndex

MAX_LIMIT = 50
_MAX_FILTERS = 20
_MAX_VALUES = 10
_MAX_SPAN_S = 31 * 86_400
_ACTIVE = {"creating", "pending", "running", "terminating"}

_FIELDS: dict[str, Callable[[Job], str]] = {
    "id": lambda job: job.id,
    "name": lambda job: job.name,
    "kind": api_kind,
    "phase": phase,
    "user_name": lambda job: job.user,
    "user_id": lambda job: f"user-{job.user}",
    "pool_id": lambda job: job.pool,
    "priority": lambda job: str(job.priority),
    "algorithm_id": lambda _: "",
    "algorithm_name": lambda _: "",
    "training_experiment_id": lambda _: "",
    "runtime_type": lambda job: job.runtime_type,
}
_SORTS: dict[str, Callable[[Job], Any]] = {
    "create_time": lambda job: job.submitted_at,
    "name": lambda job: job.name,
    "phase": phase,
    "user_name": lambda job: job.user,
    "duration": lambda job: job.duration_s(job.submitted_at),
}


def search(call: Call) -> Response:
    """One page of the jobs of a workspace that match the filters, by default newest first."""
    request = call.json()
    quirks = call.cloud.quirks
    limit = _number(request, "limit", default=MAX_LIMIT)
    offset = _number(request, "offset", default=0)
    if not 1 <= limit <= MAX_LIMIT:
        raise v2_error(400, "2788", f"limit must be between 1 and {MAX_LIMIT}")
    sort_by, order = request.get("sort_by") or "create_time", request.get("order") or "desc"
    if sort_by not in _SORTS or order not in {"asc", "desc"}:
        raise v2_error(400, "2790", f"cannot sort by {sort_by} {order}")
    workspace = str(request.get("workspace_id") or "0")
    call.enter(workspace)
    filters = [_filter(each) for each in _filters(request)]
    if "shifting-pages" in quirks and offset:
        call.cloud.world.submit_random(call.project)
    if "v2-filters-ignored" in quirks:
        filters = []
    unified = request.get("unified_jobs", False)
    if not isinstance(unified, bool) or (unified and "v2-unified-jobs-refused" in quirks):
        raise v2_error(400, "2788", "unified_jobs is no parameter of this search")
    job_index = call.project.job_index("v2")
    matching = _matching(job_index, workspace=workspace, filters=filters, sort_by=sort_by, descending=order == "desc")
    if not unified:
        matching = [job for job in matching if job.kind != FINE_TUNING]
    skip = 0 if "v2-offset-ignored" in quirks else offset if "v2-offset-records" in quirks else offset * limit
    page = matching[skip : skip + limit]
    return Response(
        body={
            "total": len(job_index),
            "count": len(page) if "v2-count-page" in quirks else len(matching),
            "limit": limit,
            "offset": offset,
            "sort_by": sort_by,
            "order": order,
            "group_by": "",
            "workspace_id": workspace,
            "ai_project": "default-ai-project",
            "items": [job_answer(call, job, detail=False) for job in page],
        }
    )


def job_answer(call: Call, job: Job, *, detail: bool) -> dict[str, Any]:
    """The body of a job, in the shape that the active quirks give it."""
    cloud = call.cloud
    return job_body(
        job,
        call.now,
        pool=call.project.pool(job.pool),
        secret=cloud.has_secret(job),
        unknown=cloud.has_unknown_values(job),
        detail=detail,
    )


def _matching(
    job_index: JobIndex, *, workspace: str, filters: "list[_Filter]", sort_by: str, descending: bool
) -> list[Job]:
    if not filters and sort_by == "create_time":
        return job_index.cached(
            (workspace, descending),
            lambda: [
                job
                for job in (job_index.newest_first() if descending else job_index.oldest_first())
                if job.workspace == workspace
            ],
        )
    if any(each.only_unfinished for each in filters):
        unfinished = job_index.unfinished()
        jobs: Iterator[Job] = reversed(unfinished) if descending else iter(unfinished)
    else:
        jobs = job_index.newest_first() if descending else job_index.oldest_first()
    found = [job for job in jobs if job.workspace == workspace and all(each.test(job) for each in filters)]
    if sort_by != "create_time":
        found.sort(key=_SORTS[sort_by], reverse=descending)
    return found


@dataclass(frozen=True, slots=True)
class _Filter:
    test: Callable[[Job], bool]
    only_unfinished: bool = False
    """Whether only unfinished jobs can match, so that the history is not scanned."""


def _filters(request: dict[str, Any]) -> list[dict[str, Any]]:
    filters = request.get("filters") or []
    if not isinstance(filters, list) or len(filters) > _MAX_FILTERS:
        raise v2_error(400, "2807", f"filters must be a list of at most {_MAX_FILTERS}")
    objects = [each for each in filters if isinstance(each, dict)]
    if len(objects) != len(filters):
        raise v2_error(400, "2807", "each filter must be an object")
    return objects


def _filter(given: dict[str, Any]) -> _Filter:
    key, operator, values = given.get("key"), given.get("operator"), given.get("value")
    if key not in _FIELDS and key != "create_time":
        raise v2_error(400, "2807", f"cannot filter by {key}")
    if operator not in {"between", "like", "in", "not"}:
        raise v2_error(400, "2808", f"no such operator: {operator}")
    if values in ("", None, [], [""]) and key != "pool_id":
        return _Filter(lambda _: True)  # an empty value is no filter
    if (
        not isinstance(values, list)
        or not all(isinstance(value, str) for value in values)
        or len(values) > _MAX_VALUES
    ):
        raise v2_error(400, "2809", f"value must be a list of at most {_MAX_VALUES} strings")
    if key == "create_time":
        return _between(operator, values)
    if operator == "between":
        raise v2_error(400, "2808", f"{key} has no between")
    field = _FIELDS[key]
    wanted = {value.lower() for value in values}
    if operator == "like":
        return _Filter(lambda job: any(value in field(job).lower() for value in wanted))
    if operator == "not":
        return _Filter(lambda job: field(job).lower() not in wanted)
    return _Filter(lambda job: field(job).lower() in wanted, only_unfinished=key == "phase" and wanted <= _ACTIVE)


def _between(operator: str, values: list[str]) -> _Filter:
    if operator != "between" or len(values) != 2:  # noqa: PLR2004 -- a pair
        raise v2_error(400, "2808", "create_time requires between and two times")
    try:
        begin, end = (datetime.fromisoformat(value).timestamp() for value in values)
    except ValueError as error:
        raise v2_error(400, "2809", "create_time requires RFC 3339 times") from error
    if not 0 <= end - begin <= _MAX_SPAN_S:
        raise v2_error(400, "2809", "create_time allows a range of at most 31 days")
    return _Filter(lambda job: begin <= job.submitted_at <= end)


def _number(request: dict[str, Any], key: str, *, default: int) -> int:
    value = request.get(key, default)
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise v2_error(400, "2788", f"{key} must be a number from 0")
    return value
