"""The other process: the simulated cloud, asked to do things over a pipe."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.soak.cloud import Churn

Key = tuple[str, ...]

_SLACK: Mapping[str, float] = defaultdict(float, held=1.0)
"""By how much a total may be off: accelerator seconds, hundreds of millions of them in milliseconds, by rounding."""

_GARBLED = 0.001
"""Which part of the recoveries may be missing: what a job went through is told for the last time by the answer that
tells its end, and where a fault garbles a record in that answer it is told nowhere."""


@dataclass(frozen=True)
class Books:
    """Totals by name, and in each by what distinguishes its series; what is 0 is left out.

    `submitted`, `started` and `waits` by pool, `finished` and `runs` by pool and status, `recoveries` by policy, and
    `held`, in accelerator seconds, by pool and kind of accelerator.
    """

    totals: Mapping[str, Mapping[Key, float]] = field(default_factory=dict)

    def since(self, then: "Books") -> "Books":
        """Return what has been added."""
        return Books(
            {
                name: {
                    key: gained for key, n in told.items() if (gained := n - then.totals.get(name, {}).get(key, 0))
                }
                for name, told in self.totals.items()
            }
        )

    def differences(self, true: "Books") -> list[str]:
        """Say where the true books have another figure than may be."""
        found = []
        for name in sorted(self.totals.keys() | true.totals.keys()):
            ours, theirs = self.totals.get(name, {}), true.totals.get(name, {})
            for key in sorted(ours.keys() | theirs.keys()):
                one, two = ours.get(key, 0), theirs.get(key, 0)
                missing = two * _GARBLED if name == "recoveries" else 0
                if not two - missing - _SLACK[name] <= one <= two + _SLACK[name]:
                    found.append(f"{name} {key}: {one} and {two}")
        return found


class Remote:
    """A running simulated cloud."""

    def __init__(self, process: Process, url: str) -> None:
        self._process = process
        self.url = url

    async def turn(self, seconds: float) -> None:
        """Let time pass."""
        await self.ask({"turn": seconds})

    async def ebb(self) -> int:
        """Let nobody arrive any more; how many jobs have not ended."""
        return int(await self.ask({"ebb": True}))

    async def strike(self, fault: str) -> None:
        """Switch a fault on, in the words of the command line."""
        await self.ask({"fault": fault})

    async def calm(self) -> None:
        """Switch every fault off."""
        await self.ask({"calm": True})

    async def books(self) -> Books:
        """Return the true totals."""
        told = await self.ask({"books": True})
        return Books(
            {
                name: {(key,): number for key, number in table.items() if number}
                if isinstance(table, dict)
                else {tuple(key): number for *key, number in table if number}
                for name, table in told.items()
            }
        )

    async def ask(self, command: dict[str, Any]) -> Any:
        """Have a command obeyed; its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return json.loads(await self._process.stdout.readline())


@asynccontextmanager
async def remote(churn: Churn) -> AsyncIterator[Remote]:
    """Start the cloud; at the end it is told to go."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.soak.cloud", json.dumps(asdict(churn)), stdin=PIPE, stdout=PIPE, limit=2**24
    )
    try:
        assert process.stdout is not None
        yield Remote(process, json.loads(await process.stdout.readline())["url"])
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
