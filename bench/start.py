"""Duration of a start with a long job history: from the start of the process to the first complete exposition.

It runs the real `serve` against a simulator in a process of its own, with both API generations and the default rate
limit. The exposition is complete when `modelarts_up` is 1, which is published together with the jobs.

Usage: python bench/start.py [finished jobs]
"""

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.simulator import ACCESS_KEY, PROJECT_ID, SECRET_KEY

PROGRAM = (sys.executable, "-m", "exporter")
JOBS = 120
SHORT_HISTORY = 200
LONG_HISTORY = 100_000
TIMEOUT_S = 600.0
ACTIVE = ("initializing", "queued", "running", "scaling", "terminating")


def free_port() -> int:
    """A port of 127.0.0.1 without a listener."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(*command: str) -> Iterator[None]:
    """Run a command of the exporter until the block ends."""
    process = subprocess.Popen([*PROGRAM, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def wait_for_listener(port: int) -> None:
    """Wait until a port accepts connections."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit(f"nothing listens on port {port}")


def samples(port: int) -> dict[str, float]:
    """Scrape. Returns values by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def start(cloud: int, folder: Path) -> tuple[float, Counter[str], float]:
    """Start the exporter. Returns seconds until it is complete, API calls by operation, and active jobs."""
    url = f"http://127.0.0.1:{cloud}"
    target = {
        "project": "vision",
        "project_id": PROJECT_ID,
        "endpoint": url,
        "iam_endpoint": url,
        "api": "both",
        "credentials": {"type": "aksk", "access_key": ACCESS_KEY, "secret_key": SECRET_KEY},
    }
    settings = folder / "config.yaml"
    settings.write_text(json.dumps({"targets": [target]}), encoding="utf-8")
    port = free_port()
    started_at = time.perf_counter()
    with running("serve", f"--config.file={settings}", f"--web.listen-address=127.0.0.1:{port}"):
        wait_for_listener(port)
        while (found := samples(port)).get('modelarts_up{project="vision"}') != 1:
            if time.perf_counter() - started_at > TIMEOUT_S:
                raise SystemExit("no complete exposition")
            time.sleep(0.02)
        duration_s = time.perf_counter() - started_at
    calls: Counter[str] = Counter()
    for name, value in found.items():
        if match := re.search('^modelarts_exporter_api_requests_total.*operation="([^"]*)"', name):
            calls[match[1]] += int(value)
    active = sum(
        value
        for name, value in found.items()
        if name.startswith("modelarts_training_jobs{") and any(f'status="{status}"' in name for status in ACTIVE)
    )
    return duration_s, calls, active


def main(long_history: int) -> None:
    """Measure with a short history and with a long one."""
    for history in (SHORT_HISTORY, long_history):
        cloud = free_port()
        with (
            tempfile.TemporaryDirectory() as folder,
            running("simulate", f"--listen-address=127.0.0.1:{cloud}", f"--jobs={JOBS}", f"--history={history}"),
        ):
            wait_for_listener(cloud)
            duration_s, calls, active = start(cloud, Path(folder))
        print(
            f"{history:7d} finished jobs: complete after {duration_s:6.2f} s and {calls.total()} calls, "
            f"with {active:.0f} active jobs"
        )
        print("        " + ", ".join(f"{name} {count}" for name, count in calls.most_common() if count))


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else LONG_HISTORY)
