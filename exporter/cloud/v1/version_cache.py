"""What we have learned about versions beside the listings: whose they are, and their records."""

from collections.abc import Collection
from dataclasses import dataclass

from exporter.cloud.decode.values import text
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.v1.adapter import identity, merge, owner_name
from exporter.cloud.v1.wire import JobRow
from exporter.domain.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentJob:
    """The job a version belongs to. A version never moves between jobs, so this is kept as long as it is needed."""

    job_id: str
    name: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    listed: Job
    record: Job | None
    owner: ParentJob | None
    per_node: bool
    job: Job


class VersionCache:
    """Owners and records of the versions that matter, by version id."""

    def __init__(self) -> None:
        self._owners: dict[str, ParentJob] = {}
        self._records: dict[str, Job] = {}
        self._told: dict[str, _Told] = {}

    def owner(self, version_id: str) -> ParentJob | None:
        """The job of a version; None when it is not known."""
        return self._owners.get(version_id)

    def own(self, version_id: str, owner: ParentJob) -> None:
        """Note whose a version is."""
        if self._owners.get(version_id) != owner:
            self._owners[version_id] = owner

    def record(self, version_id: str) -> Job | None:
        """The newest record of a version; None when it was not asked for yet."""
        return self._records.get(version_id)

    def learn(self, record: Job) -> None:
        """Note the record of a version; an equal one changes nothing."""
        if self._records.get(record.job_id) != record:
            self._records[record.job_id] = record

    def tell(self, listed: Job, *, per_node: bool = False) -> Job:
        """Put a version together from its listing and all else that is known; the same object while nothing changed.

        `per_node`: see `adapter.merge`.
        """
        version_id = listed.job_id
        record, owner = self._records.get(version_id), self._owners.get(version_id)
        told = self._told.get(version_id)
        same = told is not None and told.listed is listed and told.record is record
        if told is not None and same and told.owner is owner and told.per_node is per_node:
            return told.job
        name, user = (owner.name, owner.user) if owner is not None else ("", "")
        job = merge(listed, record, name=name, user=user, per_node=per_node)
        if told is not None and told.job == job:
            job = told.job
        self._told[version_id] = _Told(listed=listed, record=record, owner=owner, per_node=per_node, job=job)
        return job

    def keep(self, version_ids: Collection[str]) -> None:
        """Forget every version but these."""
        for held in (self._owners, self._records, self._told):
            for version_id in held.keys() - set(version_ids):
                del held[version_id]


def owner_of(row: JobRow, *, note: NoteUnknown) -> ParentJob | None:
    """Read the job a row of the job list is about; None when it has no id."""
    job_id = identity(row.job_id)
    if not job_id:
        note("v1.job_id", row.job_id)
        return None
    return ParentJob(job_id=job_id, name=text(row.job_name), user=owner_name(row, note=note))
