"""An in-memory fake of the v1 API that answers calls as JSON and records them."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from exporter.cloud.http.endpoint import Endpoint
from exporter.cloud.http.errors import CloudError, Refused, Unsupported

Answer = TypeVar("Answer")

NOW_MS = 1_700_000_000_000
"""First time of the manual clock."""


@dataclass(slots=True, kw_only=True)
class Version:
    """One version; times in ms."""

    id: int
    status: int = 8
    create: int = NOW_MS - 600_000
    start: int | None = NOW_MS - 500_000
    duration: int | None = 500_000
    gpus: int = 2
    nodes: int = 1
    extra: dict[str, Any] = field(default_factory=dict)
    """More fields of its record."""


@dataclass(slots=True, kw_only=True)
class Job:
    """One job with its versions, oldest first."""

    id: int
    name: str
    versions: list[Version]
    user: str = "ada"
    workspace: str = "0"


class FakeV1:
    """A fake v1 API. `calls` holds the operation and parameters of each call, in order.

    `overview` is what `gpu_num` of the overview counts, or None for a cloud without overview. `errors` holds errors
    to raise by operation; a function gets the parameters of the call and may return None.
    """

    def __init__(self, *jobs: Job, overview: str | None = "total") -> None:
        self.jobs = list(jobs)
        self.overview = overview
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.errors: dict[str, CloudError | Callable[[Mapping[str, str]], CloudError | None]] = {}
        self.max_page_rows = 1000
        """Maximum number of rows per page of the job list."""
        self.sorted_by_name = True
        """Whether the job list is in the order of names; False: in that of `jobs`."""
        self.max_versions = 0
        """Maximum number of rows of a versions call without paging; 0: all."""

    @property
    def counts(self) -> Counter[str]:
        """Calls by operation."""
        return Counter(operation for operation, _ in self.calls)

    def history(self, size: int, *, first_id: int = 100_000) -> None:
        """Add finished jobs with one version each, which ended days ago."""
        old = NOW_MS - 10 * 86_400_000
        self.jobs += [
            Job(
                id=first_id + number,
                name=f"old-{number:05d}",
                versions=[
                    Version(id=first_id + number, status=10, create=old, start=old + 1000, duration=60_000),
                ],
            )
            for number in range(size)
        ]

    def job(self, job_id: int) -> Job:
        """Return a job by id."""
        return next(job for job in self.jobs if job.id == job_id)

    async def call(
        self,
        endpoint: Endpoint[Answer],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: object = None,  # noqa: ARG002 - v1 has none (trap 6)
    ) -> Answer | None:
        """Answer a call."""
        params = {**(path or {}), **(query or {})}
        self.calls.append((endpoint.name, params))
        errors = self.errors.get(endpoint.name)
        error = errors(params) if callable(errors) else errors
        if error is not None:
            raise error
        found = getattr(self, "_" + endpoint.name)(params)
        return msgspec.json.decode(msgspec.json.encode(found), type=endpoint.answer)

    def _v1_list_overview(self, params: Mapping[str, str]) -> dict[str, Any]:
        if self.overview is None:
            raise Unsupported("v1_list_overview", "no such API", status=404, code="APIG.0101")
        rows = [
            {
                "version_id": version.id,
                "version_name": job.name,
                "status": version.status,
                "create_time": version.create,
                "start_time": version.start or 0,
                "end_time": (version.start or 0) + (version.duration or 0) if version.status >= 10 else 0,
                "duration": version.duration,
                "pool_id": "",
                "flavor_code": "modelarts.vm.gpu",
                "npu_num": 0,
                "gpu_num": version.gpus * (version.nodes if self.overview == "total" else 1),
            }
            for job in self.jobs
            if job.workspace == params["workspace_id"]
            for version in job.versions
        ]
        rows.sort(key=lambda row: -int(str(row["create_time"])))
        return {"is_success": True, "total_count": len(rows), "versions": rows}

    def _v1_list_jobs(self, params: Mapping[str, str]) -> dict[str, Any]:
        found = [
            job
            for job in (sorted(self.jobs, key=lambda job: job.name) if self.sorted_by_name else self.jobs)
            if job.workspace == params["workspace_id"] and params.get("search_content", "") in job.name
        ]
        size = min(int(params["per_page"]), self.max_page_rows)
        begin = (int(params["page"]) - 1) * size
        rows = [
            {
                "job_id": job.id,
                "job_name": job.name,
                "version_id": job.versions[-1].id,
                "status": job.versions[-1].status,
                "create_time": job.versions[-1].create,
                "duration": job.versions[-1].duration,
                "version_count": len(job.versions),
                "user": {"name": job.user},
            }
            for job in found[begin : begin + size]
        ]
        return {"is_success": True, "job_total_count": len(found), "jobs": rows}

    def _v1_list_versions(self, params: Mapping[str, str]) -> dict[str, Any]:
        job = self._found(params)
        rows = [self._record(version, name=f"V{at:04d}") for at, version in enumerate(job.versions, start=1)]
        if "page" in params:
            begin = (int(params["page"]) - 1) * int(params["per_page"])
            found = rows[begin : begin + int(params["per_page"])]
        else:
            found = rows[: self.max_versions or None]
        return {"job_id": job.id, "job_name": job.name, "version_count": len(rows), "versions": found}

    def _v1_get_version(self, params: Mapping[str, str]) -> dict[str, Any]:
        job = self._found(params)
        for at, version in enumerate(job.versions, start=1):
            if str(version.id) == params["version_id"]:
                return {"job_id": job.id, "job_name": job.name, **self._record(version, name=f"V{at:04d}")}
        raise Refused("v1_get_version", "no such version", status=200, code="ModelArts.0105")

    def _found(self, params: Mapping[str, str]) -> Job:
        for job in self.jobs:
            if str(job.id) == params["job_id"]:
                return job
        raise Refused("v1_get_version", "no such job", status=200, code="ModelArts.0105")

    @staticmethod
    def _record(version: Version, *, name: str) -> dict[str, Any]:
        return {
            "version_id": version.id,
            "version_name": name,
            "status": version.status,
            "create_time": version.create,
            "start_time": version.start,
            "duration": version.duration,
            "gpu_num": version.gpus,
            "gpu_type": "Pnt1" if version.gpus else "",
            "worker_server_num": version.nodes,
            "flavor_code": "modelarts.vm.gpu",
            "flavor_info": {"gpu": {"unit_num": version.gpus}, "npu": None},
            "engine_version": "TF-1.13",
            **version.extra,
        }
