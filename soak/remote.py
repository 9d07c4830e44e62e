"""The other process: the simulated cloud, asked to do things over a pipe."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from soak.cloud import Churn


@dataclass(frozen=True)
class Books:
    """Totals by pool (and status); a key that is 0 is left out."""

    submitted: dict[str, int]
    started: dict[str, int]
    finished: dict[tuple[str, str], int]

    def since(self, then: "Books") -> "Books":
        """Return what has been added."""
        return Books(
            {key: gained for key, n in self.submitted.items() if (gained := n - then.submitted.get(key, 0))},
            {key: gained for key, n in self.started.items() if (gained := n - then.started.get(key, 0))},
            {key: gained for key, n in self.finished.items() if (gained := n - then.finished.get(key, 0))},
        )


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
        finished = {(pool, status): number for pool, status, number in told["finished"]}
        return Books(dict(told["submitted"]), dict(told["started"]), finished)

    async def ask(self, command: dict[str, Any]) -> Any:
        """Have a command obeyed; its answer."""
        assert self._process.stdin is not None  # noqa: S101 - it was made with a pipe
        assert self._process.stdout is not None  # noqa: S101 - as above
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return json.loads(await self._process.stdout.readline())


@asynccontextmanager
async def remote(churn: Churn) -> AsyncIterator[Remote]:
    """Start the cloud; at the end it is told to go."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "soak.cloud", json.dumps(asdict(churn)), stdin=PIPE, stdout=PIPE, limit=2**24
    )
    try:
        assert process.stdout is not None  # noqa: S101 - it was made with a pipe
        yield Remote(process, json.loads(await process.stdout.readline())["url"])
    finally:
        assert process.stdin is not None  # noqa: S101 - it was made with a pipe
        process.stdin.close()
        await process.wait()
