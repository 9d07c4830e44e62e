"""The simulated cloud, in a process of its own so that its memory is not taken for the exporter's.

It reads one JSON command a line on stdin and answers each with one line on stdout:

    {"turn": 300}           time passes, jobs arrive and live; answers null
    {"ebb": true}           nobody arrives any more; answers how many have not ended
    {"fault": "429:count=3"}  switch a fault on; answers null
    {"calm": true}          switch every fault off; answers null
    {"books": true}         answers {"submitted": {pool: n}, "started": {pool: n}, "finished": [[pool, status, n]],
                            "waits": {pool: n}, "runs": [[pool, status, n]], "recoveries": {policy: n},
                            "held": [[pool, accelerator, seconds]]}

Its first line is {"url": …}. It ends when stdin does.
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
_LAID_OUT_S = 3 * HOUR_S
"""No job is deleted sooner than this after its end: how one ended that nobody could look at is not to be known, and a
generation whose calls the cloud denies is not asked for an hour."""

_ROOM = 3


@dataclass(frozen=True, kw_only=True)
class Churn:
    """How the world lives: jobs a day, and how much shorter their lives are than in earnest."""

    jobs_a_day: float = 20_000.0
    pace: float = 10.0
    seed: int = 1
    begins_at: float = 1_700_000_000.0


class Host:
    """The cloud and its tide."""

    def __init__(self, churn: Churn) -> None:
        self._churn = churn
        self._clock = ManualClock(churn.begins_at)
        self._dice = random.Random(churn.seed)
        self._due_s = 0.0
        self._arriving = True
        # In a mean life, 110 minutes made shorter by the pace, so many arrive. The pools are made for more, because a
        # queue that grows from day to day would be taken for a leak.
        at_once = round(churn.jobs_a_day * 6_600 / churn.pace / 86_400)
        self.simulator = Simulator(
            Options(
                jobs=_ROOM * at_once,
                history=500,
                arrivals=0,
                pace=churn.pace,
                seed=churn.seed,
                retention_s=4 * HOUR_S,
            ),
            clock=self._clock,
        )

    def obey(self, command: dict[str, Any]) -> object:
        """Do what is asked; the answer."""
        match command:
            case {"turn": seconds}:
                self._turn(float(seconds))
            case {"ebb": _}:
                self._arriving = False
                return len(self.simulator.world.unfinished)
            case {"fault": text}:
                self.simulator.faults.add(text)
            case {"calm": _}:
                self.simulator.faults.clear()
            case {"books": _}:
                books = self.simulator.ground_truth
                self.simulator.requests.clear()
                held: Counter[tuple[str, str]] = Counter()
                for (pool, _, accelerator), seconds in books.held_s.items():
                    held[pool, accelerator] += seconds  # type: ignore[assignment] # a Counter of seconds
                return {
                    "submitted": books.submitted,
                    "started": books.started,
                    "finished": [[*key, number] for key, number in books.finished.items()],
                    "waits": {pool: len(waits) for pool, waits in books.queue_s.items()},
                    "runs": [[*key, len(runs)] for key, runs in books.run_s.items()],
                    "recoveries": books.recoveries,
                    "held": [[*key, seconds] for key, seconds in held.items()],
                }
        return None

    def _turn(self, seconds: float) -> None:
        while seconds > 0:
            step_s = min(_STEP_S, seconds)
            self._due_s -= step_s
            while self._arriving and self._due_s <= 0:
                self._arrive()
                self._due_s += self._dice.expovariate(self._churn.jobs_a_day / 86_400)
            self._clock.turn(step_s)
            seconds -= step_s
        self.simulator.state.catch_up()

    def _arrive(self) -> None:
        world = self.simulator.world
        job = world.submit_random(world.project(), self._dice)
        if job.script is not None and job.script.delete_after_s is not None:
            job.script = replace(job.script, delete_after_s=max(job.script.delete_after_s, _LAID_OUT_S))


async def main(churn: Churn) -> None:
    """Serve, and obey stdin until it ends."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    host = Host(churn)
    async with host.simulator:
        _answer({"url": host.simulator.url})
        while line := await commands.readline():
            _answer(host.obey(json.loads(line)))


def _answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Churn(**json.loads(sys.argv[1]))))
