"""Cache of data about versions that listings do not have: their parent jobs and their records."""

from collections.abc import Collection
from dataclasses import dataclass
from operator import is_

from exporter.cloud.decode.values import text
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.v1.adapter import merge, parse_id, user_name
from exporter.cloud.v1.wire import JobRow
from exporter.domain.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentJob:
    """The job of a version. It never changes, so it is kept as long as the version is needed."""

    job_id: str
    name: str
    user: str


class VersionCache:
    """Parent jobs and records of the relevant versions, by version id."""

    def __init__(self) -> None:
        self._parents: dict[str, ParentJob] = {}
        self._records: dict[str, Job] = {}
        self._merged: dict[str, tuple[tuple[Job, Job | None, ParentJob | None, bool], Job]] = {}

    def parent(self, version_id: str) -> ParentJob | None:
        """The job of a version; None when unknown."""
        return self._parents.get(version_id)

    def set_parent(self, version_id: str, parent: ParentJob) -> None:
        """Store the job of a version."""
        if self._parents.get(version_id) != parent:
            self._parents[version_id] = parent

    def record(self, version_id: str) -> Job | None:
        """The newest record of a version; None when it was not requested yet."""
        return self._records.get(version_id)

    def set_record(self, record: Job) -> None:
        """Store the record of a version; an equal one keeps the object."""
        if self._records.get(record.job_id) != record:
            self._records[record.job_id] = record

    def merged(self, listed: Job, *, per_node: bool = False) -> Job:
        """Combine a version's listing, record and parent job; returns the same object while nothing changes.

        `per_node`: see `adapter.merge`.
        """
        version_id = listed.job_id
        record, parent = self._records.get(version_id), self._parents.get(version_id)
        inputs = (listed, record, parent, per_node)
        last_inputs, last = self._merged.get(version_id, ((), None))
        if last is not None and all(map(is_, last_inputs, inputs)):
            return last
        known = parent or ParentJob(job_id="", name="", user="")
        job = merge(listed, record, name=known.name, user=known.user, parent_job_id=known.job_id, per_node=per_node)
        job = last if last is not None and last == job else job
        self._merged[version_id] = (inputs, job)
        return job

    def retain(self, version_ids: Collection[str]) -> None:
        """Drop every version except these."""
        for held in (self._parents, self._records, self._merged):
            for version_id in held.keys() - set(version_ids):
                del held[version_id]


def parent_of(row: JobRow, *, note: NoteUnknown) -> ParentJob | None:
    """Read the job of a row of the job list; None when it has no id."""
    job_id = parse_id(row.job_id)
    if not job_id:
        note("v1.job_id", row.job_id)
        return None
    return ParentJob(job_id=job_id, name=text(row.job_name), user=user_name(row, note=note))
