"""An in-memory fake of the v2 API, with its quirks, that records every request."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import msgspec

from exporter.cloud.http.endpoint import Endpoint
from exporter.cloud.http.errors import Gone
from exporter.cloud.v2.endpoints import DETAIL, METRICS, SEARCH

Answer = TypeVar("Answer")

T0 = 1_700_000_000
"""Submission time of job 0, in seconds; job n was submitted n seconds later."""


@dataclass(kw_only=True)
class Request:
    """One request."""

    name: str
    body: dict[str, Any] = field(default_factory=dict)
    path: dict[str, str] = field(default_factory=dict)

    @property
    def filtered(self) -> bool:
        """Whether a search has a filter."""
        return "filters" in self.body


class FakeV2:
    """Jobs by number. `offset` is "page", "record" or "ignored"."""

    def __init__(self, *, offset: str = "page", filters: bool = True) -> None:
        self.offset = offset
        self.filters = filters
        self.names_workspaces = True
        self.jobs: dict[str, dict[str, Any]] = {}
        self.odd_details: dict[str, Any] = {}
        """Answers to the detail requests of jobs, by id, in place of the jobs."""
        self.requests: list[Request] = []
        self.fail: Callable[[Request], Exception | None] = lambda _: None
        self.before_answer: Callable[[Request], None] = lambda _: None
        """Called with each search before it is answered, to change the jobs between two pages."""
        self.max_concurrent = 0
        self._concurrent = 0

    def submit(self, *numbers: int, phase: str = "Running", workspace_id: str = "0") -> list[str]:
        """Add jobs; their ids are in the order of the numbers."""
        ids = []
        for number in numbers:
            job_id = f"job-{workspace_id}-{number}"
            self.jobs[job_id] = {
                "kind": "job",
                "metadata": {"id": job_id, "create_time": (T0 + number) * 1000, "workspace_id": workspace_id},
                "status": {"phase": phase, "secondary_phase": "", "tasks": ["worker-0"]},
            }
            ids.append(job_id)
        return ids

    def set_phase(self, phase: str, *job_ids: str) -> None:
        """Change the phase of jobs."""
        for job_id in job_ids:
            self.jobs[job_id]["status"]["phase"] = phase

    def delete(self, *job_ids: str) -> None:
        """Delete jobs."""
        for job_id in job_ids:
            del self.jobs[job_id]

    def requests_to(self, name: str) -> list[Request]:
        """The requests to one endpoint."""
        return [request for request in self.requests if request.name == name]

    @property
    def searches(self) -> list[Request]:
        """The searches, in order."""
        return self.requests_to(SEARCH.name)

    @property
    def details(self) -> list[str]:
        """The ids of the jobs whose detail was requested, in order."""
        return [request.path["job_id"] for request in self.requests_to(DETAIL.name)]

    async def call(
        self,
        endpoint: Endpoint[Answer],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer | None:
        """Answer one call in the endpoint's type, as the client does."""
        assert not query
        request = Request(name=endpoint.name, body=cast("dict[str, Any]", body or {}), path=dict(path or {}))
        self.requests.append(request)
        self._concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self._concurrent)
        try:
            await asyncio.sleep(0)  # lets other tasks run, as a real call does
            error = self.fail(request)
            if error is not None:
                raise error
            self.before_answer(request)
            answer = self._answer(request)
        finally:
            self._concurrent -= 1
        if answer is None:
            return None
        return msgspec.json.decode(json.dumps(answer), type=endpoint.answer)

    def _answer(self, request: Request) -> object:
        if request.name == SEARCH.name:
            return self._search(request.body)
        if request.name == DETAIL.name:
            if request.path["job_id"] in self.odd_details:
                return self.odd_details[request.path["job_id"]]
            job = self.jobs.get(request.path["job_id"])
            if job is None:
                raise Gone(DETAIL.name, "no such job", status=400, code="ModelArts.2775")
            return job
        assert request.name == METRICS.name
        return self.jobs[request.path["job_id"]].get("metrics")

    def _search(self, body: dict[str, Any]) -> object:
        assert 1 <= body["limit"] <= 50, "trap 2: a search may request at most 50"
        assert body["sort_by"] == "create_time"
        rows = [job for job in self.jobs.values() if job["metadata"]["workspace_id"] == body["workspace_id"]]
        rows.sort(key=lambda job: job["metadata"]["create_time"], reverse=body["order"] == "desc")
        for rule in body.get("filters", ()) if self.filters else ():
            assert (rule["key"], rule["operator"]) == ("phase", "in")
            rows = [job for job in rows if job["status"]["phase"] in rule["value"]]
        begin = {"page": body["offset"] * body["limit"], "record": body["offset"], "ignored": 0}[self.offset]
        page = rows[begin : begin + body["limit"]]
        if not self.names_workspaces:
            page = [{**job, "metadata": {**job["metadata"], "workspace_id": None}} for job in page]
        return {"total": 5059, "count": 1, "limit": 1, "offset": 0, "items": page or None}  # trap 3: unreliable
