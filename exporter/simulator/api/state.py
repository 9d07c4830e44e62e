"""What the handlers of a call read: world, keys, quirks, faults and request log of one simulated cloud."""

from exporter.simulator.api.keys import Keys
from exporter.simulator.clock import Clock, ScaledClock
from exporter.simulator.faults.faults import Faults
from exporter.simulator.faults.quirks import Quirks
from exporter.simulator.options import Options
from exporter.simulator.requestlog import Requests
from exporter.simulator.world.ground_truth import Totals
from exporter.simulator.world.job import Job
from exporter.simulator.world.world import World


class CloudState:
    """The state of one simulated cloud. Raises ValueError for an unknown quirk."""

    def __init__(self, options: Options, *, clock: Clock) -> None:
        self.options = options
        self.clock = clock
        self.quirks = Quirks(options.quirks)
        self.faults = Faults(seed=options.seed)
        self.requests = Requests()
        self.keys = Keys(options, time=clock.time)
        self.skew_s = 0.0
        """How far the server's clock is ahead of `clock`."""
        self.url = ""
        """Origin of every route; "" before the server listens."""
        self._world_clock = ScaledClock(base=clock, speed=options.speed, start_at=options.start_at)
        self.world = World(options, now=self._world_clock.time())

    def time(self) -> float:
        """Time of the server's clock, by which tokens and signatures are checked: `clock` plus the skew."""
        return self.clock.time() + self.skew_s

    def catch_up(self) -> None:
        """Advance the world to the present."""
        self.world.advance_to(self._world_clock.time() + self.world.ahead_s)

    def ground_truth(self, project: str | None = None) -> Totals:
        """Return the true totals up to the present."""
        self.catch_up()
        return self.world.ground_truth(project)

    def has_secret(self, job: Job) -> bool:
        """Whether the job's responses carry secrets: one job in four does, with the quirk every job."""
        return job.seed % 4 == 0 or "secrets-in-answers" in self.quirks

    def has_unknown_values(self, job: Job) -> bool:
        """Whether the job's responses carry values that no document lists."""
        return "unknown-values" in self.quirks and job.seed % 5 == 0
