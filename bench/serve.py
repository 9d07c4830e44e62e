"""Serving against nginx: the same bytes, one worker each, pinned to one core, measured by wrk from another.

Usage: python bench/serve.py [seconds a measurement]

Needs nginx and wrk (Debian: nginx-light, wrk); without them it says so and measures only the event loop. Everything
stays on 127.0.0.1. Only ratios within one run mean anything.
"""

import asyncio
import gc
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from render import changed, snapshot, tracked

from exporter.domain.snapshot import Snapshot
from exporter.metrics.catalog import JOB_FAMILIES, LIVE_FAMILIES, PROJECT_FAMILIES
from exporter.metrics.exposition.exposition import Exposition
from exporter.metrics.exposition.renderer import Renderer
from exporter.web.address import Address
from exporter.web.server import serving

SIZES = {"small": 400, "large": 8000}
"""Jobs: about 1 MB and 20 MB of text."""
BUDGETS = {"small": 0.2, "large": 1.0}
STALL_BUDGET_S = 0.020
ENCODINGS = ("identity", "gzip")
ROUNDS = 3

NGINX = """daemon off; worker_processes 1; pid {here}/nginx.pid; error_log {here}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; gzip_static on;
  default_type "text/plain; version=0.0.4; charset=utf-8";
  client_body_temp_path {here}/t1; proxy_temp_path {here}/t2; fastcgi_temp_path {here}/t3;
  uwsgi_temp_path {here}/t4; scgi_temp_path {here}/t5;
  server {{ listen 127.0.0.1:{port}; root {here}; }}
}}
"""


class Wall:
    """The real clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds from an arbitrary point."""
        return time.monotonic()


def exposition(newest: Snapshot) -> Exposition:
    """As the program makes it, with the snapshot published."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    made = Exposition(
        Renderer(JOB_FAMILIES, PROJECT_FAMILIES, max_series_per_project=10**9),
        live_families=LIVE_FAMILIES,
        newest=lambda: newest,
        registry=registry,
        monotonic=time.monotonic,
    )
    made.publish(newest)
    return made


def jobs(count: int) -> Snapshot:
    """The same snapshot in every process."""
    rng = random.Random(1)  # noqa: S311 - a seeded run is meant to be repeatable
    return snapshot([tracked(rng, number=number) for number in range(count)])


async def serve(count: int, port: int) -> None:
    """Run the server until killed."""
    newest = jobs(count)
    async with serving(
        [Address("127.0.0.1", port)],
        exposition(newest),
        ready=lambda: True,
        snapshot=lambda: newest,
        clock=Wall(),
        version="bench",
    ):
        await asyncio.Event().wait()


async def worst_stall(count: int) -> dict[str, float]:
    """Measure the longest delay of a timer of the event loop, in seconds, while the exporter serves and publishes.

    Other programs on the machine can delay the timer too. So a delay counts only up to the processor time that this
    process used in it, over all threads. The delay measured while the exporter does nothing is the remaining noise.
    """
    newest = jobs(count)
    made = exposition(newest)
    rng = random.Random(2)  # noqa: S311 - a seeded run is meant to be repeatable
    late: list[float] = []

    async def tick() -> None:
        while True:
            due, computed = time.perf_counter() + 0.001, time.process_time()
            await asyncio.sleep(0.001)
            late.append(min(time.perf_counter() - due, time.process_time() - computed))

    async def scrape(port: int, encoding: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {encoding}\r\nConnection: close\r\n\r\n".encode()
        )
        while await reader.read(1 << 18):
            pass
        writer.close()
        await writer.wait_closed()

    async with serving(
        [Address("127.0.0.1", 0)], made, ready=lambda: True, snapshot=lambda: newest, clock=Wall(), version="bench"
    ) as (bound,):
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(2)
        delays = {"idle": max(late)}
        for name, encoding in (("serving plain", "identity"), ("serving gzip", "gzip")):
            late.clear()
            for _ in range(10):
                await asyncio.gather(*(scrape(bound.port, encoding) for _ in range(4)))
            delays[name] = max(late)
        ours = [job for project in newest.projects for job in (project.jobs or {}).values()]
        for name, share in (("publishing, 1 % changed", 0.01), ("publishing, all changed", 1.0)):
            worst = 0.0
            for _ in range(5):
                ours = changed(ours, rng, share=share)
                newest = snapshot(ours)
                await asyncio.sleep(0.01)  # the delay of making the snapshot is not measured
                late.clear()
                await asyncio.to_thread(made.publish, newest)
                worst = max(worst, *late)
            delays[name] = worst
        ticking.cancel()
    return delays


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """Run a server on the first core until the block ends."""
    pinned = ["taskset", "-c", "0", *command] if (os.cpu_count() or 1) > 1 else command
    process = subprocess.Popen(pinned)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(10)


def requests_per_second(port: int, path: str, *, encoding: str, seconds: int) -> float:
    """Ask wrk, from the other core."""
    command = [
        "wrk",
        "-t1",
        "-c8",
        f"-d{seconds}s",
        "-H",
        f"Accept-Encoding: {encoding}",
        f"http://127.0.0.1:{port}/{path}",
    ]
    pinned = ["taskset", "-c", "1", *command] if (os.cpu_count() or 1) > 1 else command
    output = subprocess.run(pinned, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None or "Non-2xx" in output:
        raise SystemExit(f"some requests of wrk failed:\n{output}")
    return float(found.group(1))


def compare(size: str, *, seconds: int, here: Path) -> None:
    """Measure nginx, ours on uvloop and ours on asyncio in turns, and print the ratios."""
    made = exposition(jobs(SIZES[size]))
    for name, gzip in (("metrics", False), ("metrics.gz", True)):
        (here / name).write_bytes(b"".join(made.body(openmetrics=False, gzip=gzip).chunks))
    sizes = {"identity": (here / "metrics").stat().st_size, "gzip": (here / "metrics.gz").stat().st_size}
    ports = {name: free_port() for name in ("nginx", "uvloop", "asyncio")}
    (here / "nginx.conf").write_text(NGINX.format(here=here, port=ports["nginx"]))
    ours = [sys.executable, __file__, "--serve"]
    rates: dict[tuple[str, str], list[float]] = {}
    with (
        running(["nginx", "-c", str(here / "nginx.conf"), "-p", str(here)], ports["nginx"]),
        running([*ours, "uvloop", str(SIZES[size]), str(ports["uvloop"])], ports["uvloop"]),
        running([*ours, "asyncio", str(SIZES[size]), str(ports["asyncio"])], ports["asyncio"]),
    ):
        for _ in range(ROUNDS):
            for encoding in ENCODINGS:
                for name, port in ports.items():
                    rate = requests_per_second(port, "metrics", encoding=encoding, seconds=seconds)
                    rates.setdefault((name, encoding), []).append(rate)
    for encoding in ENCODINGS:
        base = statistics.median(rates["nginx", encoding])
        print(f"{size} {encoding:8} {sizes[encoding] / 1e6:7.3f} MB: nginx {base:9.1f} requests/s")
        for name in ("uvloop", "asyncio"):
            rate = statistics.median(rates[name, encoding])
            verdict = "ok" if rate / base >= BUDGETS[size] else "MISSED"
            print(
                f"  ours on {name:8} {rate:9.1f}: ratio {rate / base:5.2f}  budget {BUDGETS[size]} or more  {verdict}"
            )


def main(seconds: int) -> None:
    """Measure, print ratios against the budgets."""
    gc.collect()
    gc.freeze()  # as the program does when it starts
    for loop, runner in (("uvloop", uvloop.run), ("asyncio", asyncio.run)):
        for collecting in (True, False):
            # The verdict is on the interpreter as the program runs it; without collection shows what is ours alone.
            (gc.enable if collecting else gc.disable)()
            for name, stall in runner(worst_stall(SIZES["large"])).items():
                mode = "as it runs" if collecting else "no garbage collection"
                print(f"worst stall on {loop}, {mode}, {name:24} {stall * 1e3:6.1f} ms", end="")
                verdict = "ok" if stall <= STALL_BUDGET_S else "MISSED"
                print(f"  budget {STALL_BUDGET_S * 1e3:.0f} ms  {verdict}" if collecting else "  (for comparison)")
    gc.enable()
    missing = [name for name in ("nginx", "wrk", "taskset") if shutil.which(name) is None]
    if missing:
        print(
            f"NOT MEASURED: {', '.join(missing)} not installed, so there is nothing to compare serving with",
            file=sys.stderr,
        )
        return
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            here.chmod(0o755)
            compare(size, seconds=seconds, here=here)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        run = uvloop.run if sys.argv[2] == "uvloop" else asyncio.run
        run(serve(int(sys.argv[3]), int(sys.argv[4])))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 3)
