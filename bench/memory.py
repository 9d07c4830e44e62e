"""Measures the memory per tracked job, from the poll to the compressed exposition, in steady state.

Measures the resident memory of a process that has loaded the whole program, before the first poll and after several
polls in which every job and every reading changed. `peak` is the maximum, while a publish holds the old and the new
text. The pages of the cloud are in another process, so that they are not measured.

Usage: python bench/memory.py [jobs]
"""

import asyncio
import gc
import multiprocessing
import resource
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from pages import Pages
from poll import Bench

from exporter.cloud.http.endpoint import Endpoint
from exporter.commands import main as program

Answer = TypeVar("Answer")

BASE_BUDGET_BYTES = 70e6
JOB_BUDGET_BYTES = 3e3
POLLS = 5


def cloud(jobs: int, calls: Connection) -> None:
    """Answer calls with bytes until None is received; "advance" lets time pass."""
    pages = Pages(jobs)
    while (call := calls.recv()) is not None:
        if call == "advance":
            pages.advance()
        else:
            calls.send_bytes(pages.response(*call))


class Remote:
    """The pages of another process."""

    def __init__(self, calls: Connection) -> None:
        self._calls = calls

    def advance(self) -> None:
        """Let time pass in the other process."""
        self._calls.send("advance")

    async def call(
        self,
        endpoint: Endpoint[Answer],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Answer | None:
        """Fetch the bytes and decode them, as the client does."""
        del query
        self._calls.send((endpoint.name, dict(path or {}), body))
        return msgspec.json.decode(self._calls.recv_bytes(), type=endpoint.answer)


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def measure(cloud: Remote) -> tuple[int, int]:
    """Poll and publish several times; return the resident memory afterwards, and the peak."""
    bench = Bench(cloud)
    for _ in range(POLLS):
        cloud.advance()
        await bench.poller.poll_jobs()
        await asyncio.to_thread(bench.exposition.publish, bench.newest)
        await bench.poller.poll_usage()
        await asyncio.to_thread(bench.exposition.publish, bench.newest)
        for openmetrics, gzip in ((False, True), (True, True)):
            bench.exposition.body(openmetrics=openmetrics, gzip=gzip)
    return resident_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(jobs: int) -> None:
    """Measure, and print megabytes and bytes per job."""
    parent, child = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=cloud, args=(jobs, child))
    process.start()
    gc.collect()
    base = resident_bytes()
    try:
        resident, peak = asyncio.run(measure(Remote(parent)))
    finally:
        parent.send(None)
        process.join()
    budget = BASE_BUDGET_BYTES + JOB_BUDGET_BYTES * jobs
    print(f"{program.name} loaded {base / 1e6:8.1f} MB")
    print(
        f"{jobs} tracked jobs, two tasks each {resident / 1e6:8.1f} MB: {(resident - base) / jobs:8.0f} bytes per job"
    )
    print(f"peak {peak / 1e6:8.1f} MB: {(peak - base) / jobs:8.0f} bytes per job")
    verdict = "ok" if resident <= budget else "MISSED"
    print(f"budget 70 MB and 3 kB per job: {budget / 1e6:.1f} MB or less  {verdict}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 5_000)
