"""The training jobs of one project as v1 tells them; a version is what runs, so each version is a job of ours."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal

from exporter.cloud.cached import NegativeCache
from exporter.cloud.concurrency import OutOfTime, for_each
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.http.errors import CloudError, Gone, InvalidResponse, Refused, Unsupported
from exporter.cloud.v1 import job_list, wire
from exporter.cloud.v1.adapter import from_record
from exporter.cloud.v1.endpoints import VERSION, VERSIONS
from exporter.cloud.v1.listing import Lister, ListingResult, matters
from exporter.cloud.v1.mapper import Mapper
from exporter.cloud.v1.series import series
from exporter.cloud.v1.version_cache import ParentJob, VersionCache
from exporter.domain.job import Api, Job
from exporter.domain.source import Clock, PollResult, TrackedState
from exporter.domain.usage import TaskSeries

RECENT_S = 86400.0
"""The job list does not say when a version ended. At the first look, those that can have ended within this time are
asked for their records; what ended earlier is history."""

DETAILS = 50
"""Records asked for in one look, so that a long list of newcomers is taken in over several looks."""

_WIDTH = 3
"""Records asked for at the same time."""


class V1Source:
    """One project's v1 jobs.

    `workspaces` names the workspaces to list. `overview_counts` says whether the overview's `gpu_num` and `npu_num`
    count the whole job or one node, which nobody documents; records of jobs with several nodes decide it where they
    show that it is otherwise (API reference §5.1).
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
    ) -> None:
        self._caller = caller
        self._project = project
        self._clock = clock
        self._note = note
        self._per_node = overview_counts == "per_node"
        self._register = VersionCache()
        self._mapper = Mapper(caller, self._register, clock=clock, note=note)
        self._walker = Lister(caller, self._register, workspaces=workspaces, clock=clock, note=note)
        self._refused = NegativeCache(clock)
        self._suspected_deleted: set[str] = set()
        self._detail_works = False

    def __repr__(self) -> str:
        return f"V1Source({self._project!r})"

    @property
    def api(self) -> Api:
        """v1."""
        return Api.V1

    async def poll(self, known: TrackedState) -> PollResult:
        """See every version, and learn more of those that matter (see `JobSource.look`)."""
        walk = await self._walker.walk(known)
        await self._learn(walk, known)
        gone = await self._confirm(walk.missing(known.unfinished.values()), walk, known, width=_WIDTH)
        self._weigh(walk)
        kept = walk.listed.keys() | known.tracked.keys()
        self._register.keep(kept)
        self._suspected_deleted &= kept
        return self._sighting(walk, gone)

    async def sweep(self, known: TrackedState) -> PollResult:
        """Walk the listing once more, and ask after every tracked version it does not name, one at a time.

        A look is whole already, so there are no further versions to be found: what a sweep adds is which of the
        finished ones were deleted.
        """
        walk = await self._walker.walk(known)
        gone = await self._confirm(walk.missing(known.tracked.values()), walk, known, width=1)
        return self._sighting(walk, gone)

    def tasks(self, job: Job) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's: v1 has one series a version
        """One series for the whole version, told as a task named ""."""
        return ("",)

    async def usage(self, job: Job, task: str) -> TaskSeries | None:  # noqa: ARG002 - as above
        """Minutes of a version; None too when its job cannot be found, since every address names it (trap 27).

        What the answer says of the version itself is kept for the next look. A version that is refused is taken for
        deleted until the next look has found out; only then is the refusal itself raised. Raises CloudError.
        """
        if self._register.owner(job.job_id) is None:
            await self._mapper.find({job.job_id: job}, sizes={})
        owner = self._register.owner(job.job_id)
        if owner is None:
            self._note("v1.version_id", "a version of no job")
            return None
        try:
            answer, learned = await self._read(owner, job)
        except Refused as refused:
            if job.job_id in self._suspected_deleted:  # a look has passed since, and still lists it
                raise
            self._suspected_deleted.add(job.job_id)
            raise Gone(VERSION.name, "refused", status=refused.status, code=refused.code) from refused
        self._suspected_deleted.discard(job.job_id)
        kind = learned.accelerator or job.accelerator
        # Three days of minutes as text take some 28 ms to read: in a thread, where the loop gets its turn in between.
        return await asyncio.to_thread(series, answer.system_metric_list, accelerator=kind, note=self._note)

    def _sighting(self, walk: ListingResult, gone: Iterable[str]) -> PollResult:
        return PollResult(
            jobs=tuple(self._register.tell(listed, per_node=self._per_node) for listed in walk.listed.values()),
            gone=frozenset(gone),
            failures=tuple(walk.failures),
        )

    async def _learn(self, walk: ListingResult, known: TrackedState) -> None:
        """Ask for the records that are lacking, as many as one look may cost."""
        lacking = [
            job for job in walk.listed.values() if job.job_id not in self._refused and self._lacks(job, walk, known)
        ]
        lacking.sort(key=lambda job: (job.status.finished, job.job_id not in known.tracked, -(job.submitted_at or 0)))
        lacking = lacking[:DETAILS]
        if await self._map(lacking, walk):
            self._refused.add(job.job_id for job in lacking if self._register.owner(job.job_id) is None)

        async def learn(job: Job) -> None:
            owner = self._register.owner(job.job_id)
            if owner is None or walk.stopped or self._is_late(known):
                return  # the listing told of it; its record can wait for the next look
            if not self._lacks(job, walk, known):
                return  # finding its job brought the record along, or so did another version of the job
            try:
                if walk.by_list:
                    await self._read_versions(owner, job.workspace_id, walk, known)
                else:
                    await self._read(owner, job)
            except CloudError as error:
                self._fail(error, job, walk)

        await for_each(lacking, learn, width=_WIDTH)

    async def _map(self, jobs: Sequence[Job], walk: ListingResult) -> bool:
        """Find the jobs that versions belong to; a failure is the walk's, and tells nothing of the versions."""
        try:
            await self._mapper.find({job.job_id: job for job in jobs}, sizes=walk.sizes)
        except CloudError as error:
            walk.failures.append(error)
            return False
        return True

    def _lacks(self, job: Job, walk: ListingResult, known: TrackedState) -> bool:
        """Whether the record of a listed version is worth a call: what it says does not change but at a few moments.

        A finished version is asked once more after its end, for the quality of its model.
        """
        record = self._register.record(job.job_id)
        if not job.status.finished:
            if record is None or not walk.by_list:
                return record is None
            started = record.started_at is None and bool(job.run_duration_s)
            return started or record.status is not job.status
        if record is not None and record.status.finished:
            return False
        if job.job_id in known.tracked:
            return True
        return known.is_new(job) and (not known.bootstrapping or self._is_recent(job))

    def _is_recent(self, job: Job) -> bool:
        """Whether a finished version ended lately, or can have, where the job list does not tell its end."""
        ended_at = job.ended_at or (job.submitted_at or 0.0) + (job.run_duration_s or 0.0)
        return ended_at >= self._clock.time() - RECENT_S

    async def _confirm(
        self, jobs: Sequence[Job], walk: ListingResult, known: TrackedState, *, width: int
    ) -> list[str]:
        """Ask one by one after versions the listing does not name; return those that are gone.

        The job list names the newest version of a job only, so there the others are followed in this way too.
        """
        gone: list[str] = []
        unasked: list[Job] = []
        if not await self._map(jobs, walk):
            return gone

        async def confirm(job: Job) -> None:
            if walk.stopped or self._is_late(known):
                unasked.append(job)
            elif await self._is_gone(job, walk):
                gone.append(job.job_id)

        await for_each(jobs, confirm, width=width)
        if unasked:
            walk.failures.append(OutOfTime(VERSION.name, requests=len(unasked)))
        return gone

    async def _is_gone(self, job: Job, walk: ListingResult) -> bool:
        owner = self._register.owner(job.job_id)
        if owner is None:
            # The overview is whole and does not name it, and no job has it. The list alone would not say so much.
            return not walk.by_list
        try:
            walk.listed[job.job_id] = await self._ask_after(owner, job)
        except Refused:  # not listed, and not to be had: how v1 says "gone" is not documented
            return True
        except CloudError as error:
            self._fail(error, job, walk)
        return False

    async def _ask_after(self, owner: ParentJob, job: Job) -> Job:
        try:
            return (await self._read(owner, job))[1]
        except Unsupported:
            if self._detail_works:
                raise
        found = await job_list.versions(self._caller, job_id=owner.job_id, note=self._note)
        for answer in found.records:
            learned = from_record(answer, name=found.job_name, workspace_id=job.workspace_id, note=self._note)
            if learned is not None and learned.job_id == job.job_id:
                self._register.learn(learned)
                return learned
        raise Gone(VERSIONS.name, "the job's versions do not name it")

    def _fail(self, error: CloudError, job: Job, walk: ListingResult) -> None:
        """Take in that a version could not be asked about, and whether the next one would fare better.

        The first refusal is left to the next look: the version may have been deleted since it was listed.
        """
        call_missing = isinstance(error, Unsupported) and not self._detail_works
        if isinstance(error, Refused) and not call_missing and job.job_id not in self._suspected_deleted:
            self._suspected_deleted.add(job.job_id)
            return
        walk.failures.append(error)
        if isinstance(error, Refused | InvalidResponse) and not call_missing:
            self._refused.add([job.job_id])
        else:
            walk.stopped = True

    def _is_late(self, known: TrackedState) -> bool:
        return known.answer_by is not None and self._clock.monotonic() >= known.answer_by

    async def _read(self, owner: ParentJob, job: Job) -> tuple[wire.VersionRecord, Job]:
        path = {"job_id": owner.job_id, "version_id": job.job_id}
        answer = await self._caller.call(VERSION, path=path)
        self._detail_works = True
        learned = (
            from_record(answer, name=owner.name, workspace_id=job.workspace_id, note=self._note)
            if answer is not None
            else None
        )
        if answer is None or learned is None or learned.job_id != job.job_id:
            raise InvalidResponse(VERSION.name, "the answer is not the version that was asked for")
        self._register.learn(learned)
        return answer, learned

    async def _read_versions(
        self, owner: ParentJob, workspace_id: str, walk: ListingResult, known: TrackedState
    ) -> None:
        found = await job_list.versions(self._caller, job_id=owner.job_id, note=self._note)
        for answer in found.records:
            job = from_record(answer, name=found.job_name, workspace_id=workspace_id, note=self._note)
            if job is None:
                continue
            walk.present.add(job.job_id)
            if job.job_id in walk.listed or matters(job, known):
                self._register.learn(job)
                self._register.own(job.job_id, owner)
                walk.listed[job.job_id] = job  # newer than the row, which was read before

    def _weigh(self, walk: ListingResult) -> None:
        """Let versions on several nodes decide what the overview counts."""
        if walk.by_list:
            return
        for version_id, listed in walk.listed.items():
            record = self._register.record(version_id)
            nodes = record.spec_nodes if record is not None else None
            if record is None or nodes is None or nodes == 1 or not record.spec_accelerators:
                continue
            if listed.spec_nodes is not None:
                continue  # told by a record, not by the overview
            per_node = listed.spec_accelerators == record.spec_accelerators / nodes
            if per_node != self._per_node and (per_node or listed.spec_accelerators == record.spec_accelerators):
                self._per_node = per_node
                self._note("v1.overview.gpu_num", "counted per node" if per_node else "counted per job")
