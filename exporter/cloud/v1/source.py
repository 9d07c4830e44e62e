"""The v1 jobs of one project. A version is what runs, so each version is one `Job`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal

from exporter.cloud.access import WorkspaceAccess
from exporter.cloud.cached import NegativeCache
from exporter.cloud.concurrency import OutOfTime, for_each
from exporter.cloud.decode.times import possible
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.http.errors import CloudError, Gone, InvalidResponse, Refused, Unsupported
from exporter.cloud.v1 import job_list, wire
from exporter.cloud.v1.adapter import from_record
from exporter.cloud.v1.endpoints import VERSION, VERSIONS
from exporter.cloud.v1.listing import JobWithVersions, Lister, ListingResult, is_wanted
from exporter.cloud.v1.mapper import Mapper
from exporter.cloud.v1.series import series
from exporter.cloud.v1.version_cache import ParentJob, VersionCache
from exporter.domain.job import Api, Job
from exporter.domain.source import Clock, PollResult, TrackedState
from exporter.domain.usage import TaskSeries

RETENTION_S = 86400.0
"""How long ago a version may have ended whose record is read after the start."""

_MAX_QUEUE_S = 43200.0
"""The job list has neither start nor end times: a version may have waited for so long before its run."""

VERSIONS_PER_POLL = 20
"""Jobs with several versions that are read in one poll, to find older versions that still run."""

RECORDS_PER_POLL = 50
"""Records requested in one poll, so that a long list of new versions is spread over several polls."""

_WIDTH = 3
"""Records requested at the same time."""


class V1Source:
    """One project's v1 jobs.

    `workspaces` returns the workspaces to list. `overview_counts`: whether `gpu_num` and `npu_num` of the overview
    count the whole job or one node, which is not documented; records of jobs on several nodes correct it (API
    reference §5.1).
    """

    def __init__(
        self,
        caller: Caller,
        *,
        project: str,
        workspaces: Callable[[], Awaitable[tuple[str, ...]]],
        clock: Clock,
        note: NoteUnknown,
        overview_counts: Literal["total", "per_node"] = "total",
        retention_s: float = RETENTION_S,
        access: WorkspaceAccess | None = None,
    ) -> None:
        self._caller = caller
        self._project = project
        self._clock = clock
        self._note = note
        self._per_node = overview_counts == "per_node"
        self._versions = VersionCache()
        self._lister = Lister(caller, self._versions, workspaces=workspaces, clock=clock, note=note, access=access)
        self._mapper = Mapper(caller, self._versions, clock=clock, note=note, on_rows=self._lister.observe)
        self._retry_after = NegativeCache(clock)
        self._suspected_deleted: set[str] = set()
        self._version_call_works = False
        self._retention_s = retention_s
        self._unread: dict[str, tuple[Job, ParentJob]] = {}
        """Versions of the first poll that may have ended within the retention: 50 records a poll are read."""
        self._read_versions: dict[str, JobWithVersions] = {}
        """Jobs with several versions, as they were when their versions were read."""

    def __repr__(self) -> str:
        return f"V1Source({self._project!r})"

    @property
    def api(self) -> Api:
        """v1."""
        return Api.V1

    async def poll(self, known: TrackedState) -> PollResult:
        """List every version, and read the records of relevant ones. See `JobSource.poll`."""
        listing = await self._lister.list_all(known)
        await self._fetch_records(listing, known)
        await self._fetch_older_versions(listing, known)
        await self._lister.compare(listing, known)
        gone = await self._check_missing(listing.missing(known.unfinished.values()), listing, known, width=_WIDTH)
        self._detect_per_node(listing)
        kept = listing.listed.keys() | known.tracked.keys()
        self._versions.retain(kept)
        self._suspected_deleted &= kept
        return self._result(listing, gone)

    async def sweep(self, known: TrackedState) -> PollResult:
        """List every version, and request each tracked one that is not listed, one at a time.

        A poll already lists everything, so a sweep finds no further versions. It adds which finished ones were
        deleted.
        """
        listing = await self._lister.list_all(known)
        await self._lister.compare(listing, known, thorough=True)
        gone = await self._check_missing(listing.missing(known.tracked.values()), listing, known, width=1)
        return self._result(listing, gone)

    def tasks(self, job: Job) -> tuple[str, ...]:  # noqa: ARG002 - part of the protocol: v1 has one series per version
        """The one series of a version, as a task named ""."""
        return ("",)

    async def usage(self, job: Job, task: str) -> TaskSeries | None:  # noqa: ARG002 - as above
        """Samples of a version; None also when its job is not found, because every address contains it (trap 27).

        The other fields of the response are kept for the next poll. A refused version is reported as Gone until the
        next poll has listed it again; only after that the refusal is raised. Raises CloudError.
        """
        if self._versions.parent(job.job_id) is None:
            await self._mapper.find({job.job_id: job}, sizes={})
        parent = self._versions.parent(job.job_id)
        if parent is None:
            self._note("v1.version_id", "no job found")
            return None
        try:
            answer, record = await self._fetch_version(parent, job)
        except Refused as refused:
            if job.job_id in self._suspected_deleted:  # a poll has listed it since then
                raise
            self._suspected_deleted.add(job.job_id)
            raise Gone(VERSION.name, "refused", status=refused.status, code=refused.code) from refused
        self._suspected_deleted.discard(job.job_id)
        kind = record.accelerator or job.accelerator
        # Parsing three days of samples takes about 28 ms: a thread does it, so that the event loop continues.
        return await asyncio.to_thread(series, answer.system_metric_list, accelerator=kind, note=self._note)

    def _result(self, listing: ListingResult, gone: Iterable[str]) -> PollResult:
        now = self._clock.time()
        merged = (self._versions.merged(listed, per_node=self._per_node) for listed in listing.listed.values())
        return PollResult(
            jobs=tuple(possible(job, now=now, note=self._note) for job in merged),
            gone=frozenset(gone),
            failures=tuple(listing.failures),
        )

    async def _fetch_records(self, listing: ListingResult, known: TrackedState) -> None:
        """Request missing records, up to the limit of one poll."""
        self._list_unread(listing, known)
        wanted = [
            job
            for job in listing.listed.values()
            if job.job_id not in self._retry_after and self._needs_record(job, listing, known)
        ]

        def rank(job: Job) -> tuple[bool, bool, bool, float]:
            tracked = known.tracked.get(job.job_id)
            has_pool = tracked.pool_known if tracked is not None else job.pool_known  # else its events wait for it
            return (
                has_pool or job.job_id in self._unread,
                job.status.finished,
                tracked is None,
                -(job.submitted_at or 0),
            )

        wanted.sort(key=rank)
        wanted = wanted[:RECORDS_PER_POLL]
        if await self._find_parents(wanted, listing):
            self._retry_after.add(job.job_id for job in wanted if self._versions.parent(job.job_id) is None)

        async def fetch(job: Job) -> None:
            parent = self._versions.parent(job.job_id)
            if parent is None or listing.stopped or self._is_out_of_time(known):
                return  # the listed fields are enough until the next poll
            if not self._needs_record(job, listing, known):
                return  # finding its job, or the request for another version, has returned its record
            try:
                if listing.is_by_list(job):
                    await self._fetch_versions(parent, job.workspace_id, listing, known)
                else:
                    await self._fetch_version(parent, job)
            except CloudError as error:
                self._record_failure(error, job, listing)

        await for_each(wanted, fetch, width=_WIDTH)

    def _list_unread(self, listing: ListingResult, known: TrackedState) -> None:
        """Add finished versions of the first poll whose records were not read: only these say when they ended."""
        if listing.by_list and known.bootstrapping:
            self._unread = {
                job.job_id: (job, parent)
                for job in listing.listed.values()
                if job.status.finished and self._needs_record(job, listing, known)
                if (parent := self._versions.parent(job.job_id)) is not None
            }
        for version_id, (job, parent) in list(self._unread.items()):
            if version_id not in listing.present or self._has_final_record(version_id):
                del self._unread[version_id]
            elif version_id not in listing.listed:
                listing.listed[version_id] = job
                self._versions.set_parent(version_id, parent)

    async def _find_parents(self, jobs: Sequence[Job], listing: ListingResult) -> bool:
        """Find the jobs of versions. A failure is added to the listing and proves nothing about the versions."""
        try:
            await self._mapper.find({job.job_id: job for job in jobs}, sizes=listing.sizes)
        except CloudError as error:
            listing.failures.append(error)
            return False
        return True

    def _needs_record(self, job: Job, listing: ListingResult, known: TrackedState) -> bool:
        """Whether to request the record of a listed version, whose fields change only at a few moments.

        The record of a finished version is requested once more after its end, for the model quality.
        """
        record = self._versions.record(job.job_id)
        if not job.status.finished:
            if record is None or not listing.is_by_list(job):
                return record is None
            started = record.started_at is None and bool(job.run_duration_s)
            return started or record.status is not job.status
        if self._has_final_record(job.job_id):
            return False
        if job.job_id in known.tracked or job.job_id in self._unread:
            return True
        return known.is_new(job) and (not known.bootstrapping or self._is_recent(job))

    def _has_final_record(self, version_id: str) -> bool:
        record = self._versions.record(version_id)
        return record is not None and record.status.finished

    def _is_recent(self, job: Job) -> bool:
        """Whether a finished version ended within the retention, or may have, as the job list has no end times."""
        ended_at = job.ended_at
        if ended_at is None:
            ended_at = (job.submitted_at or 0.0) + (job.run_duration_s or 0.0) + _MAX_QUEUE_S
        return ended_at >= self._clock.time() - self._retention_s

    async def _fetch_older_versions(self, listing: ListingResult, known: TrackedState) -> None:
        """Read the versions of jobs with several, once for each new version: older ones may still run.

        The job list shows the newest version only. A long list is read over several polls, newest jobs first.
        """
        if not listing.by_list:
            return
        jobs = [job for job_id, job in listing.with_versions.items() if self._read_versions.get(job_id) != job]
        jobs.sort(key=lambda job: (len(job.newest), job.newest), reverse=True)

        async def fetch(job: JobWithVersions) -> None:
            if listing.stopped or self._is_out_of_time(known):
                return
            try:
                await self._fetch_versions(job.parent, job.workspace_id, listing, known)
            except CloudError as error:
                if isinstance(error, Refused | InvalidResponse):
                    self._read_versions[job.parent.job_id] = job  # of this job alone: not again before it changes
                else:
                    listing.failures.append(error)
                    listing.stopped = True

        await for_each(jobs[:VERSIONS_PER_POLL], fetch, width=_WIDTH)

    async def _check_missing(
        self, jobs: Sequence[Job], listing: ListingResult, known: TrackedState, *, width: int
    ) -> list[str]:
        """Request each version that is not listed; returns the ids of deleted ones.

        The job list holds only the newest version of a job, so older running versions are followed in the same way.
        """
        gone: list[str] = []
        skipped: list[Job] = []
        if not await self._find_parents(jobs, listing):
            return gone

        async def check(job: Job) -> None:
            if listing.stopped or self._is_out_of_time(known):
                skipped.append(job)
            elif await self._is_deleted(job, listing):
                gone.append(job.job_id)

        await for_each(jobs, check, width=width)
        if skipped:
            listing.failures.append(OutOfTime(VERSION.name, requests=len(skipped)))
        return gone

    async def _is_deleted(self, job: Job, listing: ListingResult) -> bool:
        parent = self._versions.parent(job.job_id)
        if parent is None:
            # The complete overview does not list it, and no job has it. The job list alone would not prove that.
            return not listing.is_by_list(job)
        try:
            listing.listed[job.job_id] = await self._fetch_missing(parent, job)
        except Refused:  # not listed and refused: v1's response for deleted versions is not documented
            return True
        except CloudError as error:
            self._record_failure(error, job, listing)
        return False

    async def _fetch_missing(self, parent: ParentJob, job: Job) -> Job:
        try:
            return (await self._fetch_version(parent, job))[1]
        except Unsupported:
            if self._version_call_works:
                raise
        found = await job_list.versions(self._caller, job_id=parent.job_id, note=self._note)
        for answer in found.records:
            record = from_record(answer, name=found.job_name, workspace_id=job.workspace_id, note=self._note)
            if record is not None and record.job_id == job.job_id:
                self._versions.set_record(record)
                return record
        raise Gone(VERSIONS.name, "not among the versions of its job")

    def _record_failure(self, error: CloudError, job: Job, listing: ListingResult) -> None:
        """Record that a request for a version failed, and whether to stop the requests of this poll.

        The first refusal is not recorded as a failure: the version may have been deleted after it was listed.
        """
        call_missing = isinstance(error, Unsupported) and not self._version_call_works
        if isinstance(error, Refused) and not call_missing and job.job_id not in self._suspected_deleted:
            self._suspected_deleted.add(job.job_id)
            return
        listing.failures.append(error)
        if isinstance(error, Refused | InvalidResponse) and not call_missing:
            self._retry_after.add([job.job_id])
        else:
            listing.stopped = True

    def _is_out_of_time(self, known: TrackedState) -> bool:
        return known.answer_by is not None and self._clock.monotonic() >= known.answer_by

    async def _fetch_version(self, parent: ParentJob, job: Job) -> tuple[wire.VersionRecord, Job]:
        path = {"job_id": parent.job_id, "version_id": job.job_id}
        answer = await self._caller.call(VERSION, path=path)
        self._version_call_works = True
        record = (
            from_record(answer, name=parent.name, workspace_id=job.workspace_id, note=self._note)
            if answer is not None
            else None
        )
        if answer is None or record is None or record.job_id != job.job_id:
            raise InvalidResponse(VERSION.name, "the response is about another version")
        self._versions.set_record(record)
        return answer, record

    async def _fetch_versions(
        self, parent: ParentJob, workspace_id: str, listing: ListingResult, known: TrackedState
    ) -> None:
        found = await job_list.versions(self._caller, job_id=parent.job_id, note=self._note)
        if (with_versions := listing.with_versions.get(parent.job_id)) is not None:
            self._read_versions[parent.job_id] = with_versions
        for answer in found.records:
            job = from_record(answer, name=found.job_name, workspace_id=workspace_id, note=self._note)
            if job is None:
                continue
            listing.present.add(job.job_id)
            if job.job_id in listing.listed or is_wanted(job, known):
                self._versions.set_record(job)
                self._versions.set_parent(job.job_id, parent)
                listing.listed[job.job_id] = job  # newer than the row, which was read before

    def _detect_per_node(self, listing: ListingResult) -> None:
        """Detect from versions on several nodes whether the overview counts cards per node."""
        for version_id, listed in listing.listed.items():
            if listing.is_by_list(listed):
                continue
            record = self._versions.record(version_id)
            nodes = record.spec_nodes if record is not None else None
            if record is None or nodes is None or nodes == 1 or not record.spec_accelerators:
                continue
            if listed.spec_nodes is not None:
                continue  # the count comes from a record, not from the overview
            per_node = listed.spec_accelerators == record.spec_accelerators / nodes
            if per_node != self._per_node and (per_node or listed.spec_accelerators == record.spec_accelerators):
                self._per_node = per_node
                self._note("v1.overview.gpu_num", "counted per node" if per_node else "counted per job")
