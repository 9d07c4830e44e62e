"""What a tracked job costs in memory: the whole way from the poll to the compressed exposition, in steady state.

Resident memory of a process that has loaded the whole program, before the first poll and after several in which
every job and every reading changed; `peak` is the most it ever had, while a publication holds old and new side by
side. The pages of the simulated cloud are kept in another process, so that they do not count.

Usage: python bench/memory.py [jobs]
"""

import asyncio
import gc
import multiprocessing
import resource
import sys
from collections.abc import Mapping
from multiprocessing.connection import HttpConnection
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from pages import Pages
from poll import Rig

from exporter.cloud.http.endpoint import Endpoint
from exporter.commands import main as program

Answer = TypeVar("Answer")

BASE_BUDGET_BYTES = 70e6
JOB_BUDGET_BYTES = 3e3
POLLS = 5


def cloud(jobs: int, calls: HttpConnection) -> None:
    """Answer calls with bytes until None comes; a bare word turns the world on."""
    pages = Pages(jobs)
    while (call := calls.recv()) is not None:
        if call == "turn":
            pages.turn()
        else:
            calls.send_bytes(pages.told(*call))


class Remote:
    """The pages of another process."""

    def __init__(self, calls: HttpConnection) -> None:
        self._calls = calls

    def turn(self) -> None:
        """Let time pass there."""
        self._calls.send("turn")

    async def call(
        self,
        endpoint: Endpoint[Answer],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Answer | None:
        """Fetch the bytes and decode them, as the transport does."""
        del query
        self._calls.send((endpoint.name, dict(path or {}), body))
        return msgspec.json.decode(self._calls.recv_bytes(), type=endpoint.answer)


def resident_bytes() -> int:
    """Memory this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def measure(cloud: Remote) -> tuple[int, int]:
    """Poll and publish several times; memory then, and the most there ever was."""
    rig = Rig(cloud)
    for _ in range(POLLS):
        cloud.turn()
        await rig.poller.poll_jobs()
        await asyncio.to_thread(rig.exposition.publish, rig.newest)
        await rig.poller.poll_usage()
        await asyncio.to_thread(rig.exposition.publish, rig.newest)
        for openmetrics, gzip in ((False, True), (True, True)):
            rig.exposition.body(openmetrics=openmetrics, gzip=gzip)
    return resident_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(jobs: int) -> None:
    """Measure, print megabytes and bytes a job."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=cloud, args=(jobs, there))
    process.start()
    gc.collect()
    base = resident_bytes()
    try:
        held, peak = asyncio.run(measure(Remote(here)))
    finally:
        here.send(None)
        process.join()
    budget = BASE_BUDGET_BYTES + JOB_BUDGET_BYTES * jobs
    print(f"{program.name} loaded {base / 1e6:8.1f} MB")
    print(f"{jobs} tracked jobs, two tasks each {held / 1e6:8.1f} MB: {(held - base) / jobs:8.0f} bytes a job")
    print(f"peak {peak / 1e6:8.1f} MB: {(peak - base) / jobs:8.0f} bytes a job")
    met = "ok" if held <= budget else "MISSED"
    print(f"budget 70 MB and 3 kB a job: {budget / 1e6:.1f} MB or less  {met}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 5_000)
