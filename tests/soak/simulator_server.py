"""The simulator in a process of its own, so that its memory is not measured as the exporter's.

It reads one JSON command a line from stdin and writes one result a line to stdout:

    {"advance": 300}         advance the simulated time, with arrivals of jobs; null
    {"stop_arrivals": true}  no more arrivals; number of unfinished jobs
    {"fault": "429:count=3"} add a fault; null
    {"clear_faults": true}   remove all faults; null
    {"ground_truth": true}   {"submitted": {pool: n}, "started": {pool: n}, "finished": [[pool, status, n]],
                             "waits": {pool: n}, "runs": [[pool, status, n]], "recoveries": {policy: n},
                             "held": [[pool, accelerator, seconds]]}

Its first line is {"url": …}. It ends when stdin ends.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from exporter.simulator import Options, Simulator
from tests.clock import ManualClock

HOUR_S = 3_600.0

_STEP_S = 5.0
_MIN_KEPT_S = 3 * HOUR_S
"""Time from end to deletion at least: the end of a job that is deleted before a poll cannot be known, and a denied
API generation is not polled for an hour."""

_POOL_SIZE_RATIO = 3


@dataclass(frozen=True, kw_only=True)
class Churn:
    """Arrivals of jobs a day, and the factor by which jobs are shorter than real ones."""

    jobs_a_day: float = 20_000.0
    pace: float = 10.0
    seed: int = 1
    begins_at: float = 1_700_000_000.0


class SimulatorServer:
    """The simulator, its clock and the arrivals of jobs."""

    def __init__(self, churn: Churn) -> None:
        self._churn = churn
        self._clock = ManualClock(churn.begins_at)
        self._random = random.Random(churn.seed)
        self._due_s = 0.0
        self._arriving = True
        # Jobs that arrive during the mean lifetime of a job, 110 minutes divided by the pace. The pools have room for
        # more, because a queue that grows from day to day would look like a leak.
        at_once = round(churn.jobs_a_day * 6_600 / churn.pace / 86_400)
        self.simulator = Simulator(
            Options(
                jobs=_POOL_SIZE_RATIO * at_once,
                history=500,
                arrivals=0,
                pace=churn.pace,
                seed=churn.seed,
                retention_s=4 * HOUR_S,
            ),
            clock=self._clock,
        )

    def handle(self, command: dict[str, Any]) -> object:
        """Execute a command. Returns its result."""
        match command:
            case {"advance": seconds}:
                self._advance(float(seconds))
            case {"stop_arrivals": _}:
                self._arriving = False
                return len(self.simulator.world.unfinished)
            case {"fault": text}:
                self.simulator.faults.add(text)
            case {"clear_faults": _}:
                self.simulator.faults.clear()
            case {"ground_truth": _}:
                truth = self.simulator.ground_truth
                self.simulator.requests.clear()
                held: Counter[tuple[str, str]] = Counter()
                for (pool, _, accelerator), seconds in truth.held_s.items():
                    held[pool, accelerator] += seconds  # type: ignore[assignment] # a Counter of seconds
                return {
                    "submitted": truth.submitted,
                    "started": truth.started,
                    "finished": [[*key, number] for key, number in truth.finished.items()],
                    "waits": {pool: len(waits) for pool, waits in truth.queue_s.items()},
                    "runs": [[*key, len(runs)] for key, runs in truth.run_s.items()],
                    "recoveries": truth.recoveries,
                    "held": [[*key, seconds] for key, seconds in held.items()],
                }
        return None

    def _advance(self, seconds: float) -> None:
        while seconds > 0:
            step_s = min(_STEP_S, seconds)
            self._due_s -= step_s
            while self._arriving and self._due_s <= 0:
                self._arrive()
                self._due_s += self._random.expovariate(self._churn.jobs_a_day / 86_400)
            self._clock.turn(step_s)
            seconds -= step_s
        self.simulator.state.catch_up()

    def _arrive(self) -> None:
        world = self.simulator.world
        job = world.submit_random(world.project(), self._random)
        if job.script is not None and job.script.delete_after_s is not None:
            job.script = replace(job.script, delete_after_s=max(job.script.delete_after_s, _MIN_KEPT_S))


async def main(churn: Churn) -> None:
    """Serve, and handle stdin until it ends."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    server = SimulatorServer(churn)
    async with server.simulator:
        _write_result({"url": server.simulator.url})
        while line := await commands.readline():
            _write_result(server.handle(json.loads(line)))


def _write_result(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Churn(**json.loads(sys.argv[1]))))
