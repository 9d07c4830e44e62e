"""A simulator, a client connected to it, and a source of each API generation."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from exporter.cloud.http.client import ApiClient
from exporter.cloud.probe import ProbedSources
from exporter.cloud.v1.source import RETENTION_S, V1Source
from exporter.cloud.v2.source import V2Source
from exporter.cloud.workspaces import AllWorkspaces
from exporter.domain.job import Job
from exporter.domain.source import JobSource, PollResult, TrackedState
from exporter.settings import AkSk, Secret
from exporter.simulator import ACCESS_KEY, PROJECT_ID, SECRET_KEY, Options, Simulator
from tests.clock import ManualClock
from tests.unit.cloud.account import connect
from tests.unit.cloud.account import options as connect_options
from tests.unit.cloud.recorded_unknowns import Notes


class NullObserver:
    """An observer that does nothing."""

    def call_finished(self, **_: Any) -> None: ...
    def call_retried(self, **_: Any) -> None: ...
    def throttled(self, **_: Any) -> None: ...
    def call_withheld(self, **_: Any) -> None: ...
    def circuit_changed(self, **_: Any) -> None: ...
    def credentials_changed(self, **_: Any) -> None: ...
    def unknown_value(self, **_: Any) -> None: ...
    def response_repaired(self, **_: Any) -> None: ...


class FakePoller:
    """Polls as polling does: jobs of earlier polls are tracked and not new."""

    def __init__(self, source: JobSource, clock: ManualClock) -> None:
        self.source = source
        self.clock = clock
        self.tracked: dict[str, Job] = {}
        self.seen: set[str] = set()
        self.has_polled = False

    @property
    def known(self) -> TrackedState:
        """The state that polling passes to the source."""
        return TrackedState(
            unfinished={job_id: job for job_id, job in self.tracked.items() if not job.status.finished},
            tracked=dict(self.tracked),
            is_new=lambda job: job.job_id not in self.seen,
            bootstrapping=not self.has_polled,
        )

    async def poll(self) -> PollResult:
        """Poll, and track jobs that are unfinished or ended within a day."""
        result = await self.source.poll(self.known)
        self.has_polled = True
        self.seen |= {job.job_id for job in result.jobs}
        found = self.tracked | {job.job_id: job for job in result.jobs}
        day_ago = self.clock.time() - 86_400
        self.tracked = {
            job_id: job
            for job_id, job in found.items()
            if job_id not in result.gone
            and (not job.status.finished or (job.ended_at or job.submitted_at or 0) > day_ago)
        }
        return result

    async def jobs(self) -> Mapping[str, Job]:
        """Poll without failures, and return the jobs by id."""
        result = await self.poll()
        assert result.failures == (), [str(failure) for failure in result.failures]
        found = {job.job_id: job for job in result.jobs}
        assert len(found) == len(result.jobs)
        return found


@dataclass
class Scene:
    """A simulator with a client, and a poller of each API generation."""

    cloud: Simulator
    clock: ManualClock
    client: ApiClient
    notes: Notes = field(default_factory=Notes)
    retention_s: float = RETENTION_S

    def __post_init__(self) -> None:
        self.workspaces = AllWorkspaces(self.client, self.clock, self.notes)
        self.v1 = FakePoller(self.make_v1(), self.clock)
        self.v2 = FakePoller(self.make_v2(), self.clock)

    def make_v1(self) -> V1Source:
        """A v1 source without state."""
        return V1Source(
            self.client,
            project="vision",
            workspaces=self.workspaces,
            clock=self.clock,
            note=self.notes,
            retention_s=self.retention_s,
        )

    def make_v2(self) -> V2Source:
        """A v2 source without state."""
        return V2Source(self.client, project="vision", workspaces=self.workspaces, clock=self.clock, note=self.notes)

    def probed(self) -> ProbedSources:
        """Sources by probing."""
        return ProbedSources(self.client, make_v1=self.make_v1, make_v2=self.make_v2, clock=self.clock)


@asynccontextmanager
async def scene_of(options: Options, clock: ManualClock, *, retention_s: float = RETENTION_S) -> AsyncIterator[Scene]:
    """Start a simulator and a client; both are closed at the end."""
    async with Simulator(options, clock=clock) as cloud:
        credentials = AkSk(access_key=Secret(ACCESS_KEY), secret_key=Secret(SECRET_KEY))
        given = connect_options(
            cloud.url, project_id=PROJECT_ID, credentials=credentials, burst=10_000, timeout_s=10.0
        )
        async with connect(given, clock=clock, observer=NullObserver()) as client:
            yield Scene(cloud=cloud, clock=clock, client=client, retention_s=retention_s)
