"""Client of the simulator process, which takes commands over a pipe."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.soak.simulator_server import Churn

Key = tuple[str, ...]

_SLACK: Mapping[str, float] = defaultdict(float, held=1.0)
"""Absolute tolerance of a total. Sums of very many durations in milliseconds have rounding errors."""

_MISSING_RECOVERIES = 0.001
"""Ratio of recoveries that may be missing: the last response with a job's recoveries is the one with its end, and a
fault may corrupt that record."""


@dataclass(frozen=True)
class Totals:
    """Totals by name, each by the labels of its series, without zeros. True or exported ones.

    `submitted`, `started` and `waits` by pool, `finished` and `runs` by pool and status, `recoveries` by policy, and
    `held`, in accelerator seconds, by pool and kind of accelerator.
    """

    totals: Mapping[str, Mapping[Key, float]] = field(default_factory=dict)

    def since(self, then: "Totals") -> "Totals":
        """Return the increase since an earlier time."""
        return Totals(
            {
                name: {
                    key: gained for key, n in table.items() if (gained := n - then.totals.get(name, {}).get(key, 0))
                }
                for name, table in self.totals.items()
            }
        )

    def differences(self, true: "Totals") -> list[str]:
        """Return one sentence for each total outside its tolerance."""
        found = []
        for name in sorted(self.totals.keys() | true.totals.keys()):
            ours, theirs = self.totals.get(name, {}), true.totals.get(name, {})
            for key in sorted(ours.keys() | theirs.keys()):
                one, two = ours.get(key, 0), theirs.get(key, 0)
                missing = two * _MISSING_RECOVERIES if name == "recoveries" else 0
                if not two - missing - _SLACK[name] <= one <= two + _SLACK[name]:
                    found.append(f"{name} {key}: {one} and {two}")
        return found


class SimulatorProcess:
    """A running simulator process."""

    def __init__(self, process: Process, url: str) -> None:
        self._process = process
        self.url = url

    async def advance(self, seconds: float) -> None:
        """Advance the simulated time."""
        await self.send({"advance": seconds})

    async def stop_arrivals(self) -> int:
        """Stop the arrivals of jobs. Returns the number of unfinished jobs."""
        return int(await self.send({"stop_arrivals": True}))

    async def add_fault(self, fault: str) -> None:
        """Add a fault, written as on the command line."""
        await self.send({"fault": fault})

    async def clear_faults(self) -> None:
        """Remove all faults."""
        await self.send({"clear_faults": True})

    async def ground_truth(self) -> Totals:
        """Return the true totals."""
        tables = await self.send({"ground_truth": True})
        return Totals(
            {
                name: {(key,): number for key, number in table.items() if number}
                if isinstance(table, dict)
                else {tuple(key): number for *key, number in table if number}
                for name, table in tables.items()
            }
        )

    async def send(self, command: dict[str, Any]) -> Any:
        """Send a command. Returns its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return json.loads(await self._process.stdout.readline())


@asynccontextmanager
async def simulator_process(churn: Churn) -> AsyncIterator[SimulatorProcess]:
    """Start the simulator process. Leaving the context ends it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak.simulator_server", json.dumps(asdict(churn))),
        stdin=PIPE,
        stdout=PIPE,
        limit=2**24,
    )
    try:
        assert process.stdout is not None
        yield SimulatorProcess(process, json.loads(await process.stdout.readline())["url"])
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
