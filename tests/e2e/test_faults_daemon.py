"""A real `serve` with one target for each fault case and API generation, and one healthy target."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from exporter.simulator import (
    ACCESS_KEY,
    PASSWORD,
    POD_IDENTITY_TOKEN,
    SECRET_KEY,
    SECRET_MARKER,
    Fault,
    Options,
    ProjectOptions,
    Simulator,
)
from exporter.simulator.world.job import Api
from tests.e2e.endurance import ServeProcess, label_value, serve_process
from tests.e2e.faults import FAULT_CASES, FaultCase
from tests.e2e.harness import AKSK, BY_PASSWORD

HEALTHY = "healthy"
APIS: tuple[Api, ...] = ("v1", "v2")
COLLECTION = {"jobs_interval": "1s", "usage_interval": "1s", "timeout": "9s", "stale_after": "20s"}


@dataclass(frozen=True, slots=True)
class FaultyTarget:
    """One target and its fault case. None: healthy."""

    name: str
    api: Api
    case: FaultCase | None

    @property
    def project(self) -> ProjectOptions:
        """Its project in the simulator. The fault applies to paths with its id."""
        return ProjectOptions(
            id=md5(self.name.encode(), usedforsecurity=False).hexdigest(), name=f"eu-de_{self.name}"
        )

    def target(self, cloud: Simulator, *, closed_port: int) -> dict[str, Any]:
        """Its settings: v1 signs, v2 uses a token, unless the fault concerns signatures."""
        fault = self.case.fault if self.case else ""
        signs = self.api == "v1" or fault.startswith("clock-skew")
        return {
            "project": self.name,
            "project_id": self.project.id,
            "api": self.api,
            "workspaces": ["0"],
            "endpoint": f"http://127.0.0.1:{closed_port}" if fault == "down" else cloud.url,
            "iam_endpoint": cloud.url,
            "credentials": dict(AKSK if signs else BY_PASSWORD),
            "rate_limit": {"requests_per_second": 100, "burst": 100, "concurrency": 4},
        }


TARGETS = (
    FaultyTarget(HEALTHY, "v2", None),
    *(FaultyTarget(f"{name}-{api}", api, case) for name, case in FAULT_CASES.items() for api in APIS),
)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port without a listener."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
async def faulty_cloud() -> AsyncIterator[Simulator]:
    """A simulator with one project for each fault, whose responses carry secrets."""
    projects = tuple(target.project for target in TARGETS)
    options = Options(empty=True, projects=projects, quirks=frozenset({"secrets-in-answers"}))
    async with Simulator(options) as cloud:
        for target in TARGETS:
            job = cloud.world.submit("steady", api=target.api, project=target.project.id)
            cloud.world.start(job)
            if target.case is not None and target.case.fault != "down":
                cloud.faults.add(target.case.simulator_fault(cloud, path=f"*/{target.project.id}/*"))
        yield cloud


async def everything_readable(exporter: ServeProcess) -> Mapping[str, str]:
    """All pages and the log, by source. Every page returns 200 within the timeout."""
    shown = {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        for path, accept in (
            ("/metrics", "text/plain"),
            ("/metrics", "application/openmetrics-text;version=1.0.0"),
            ("/", "text/html"),
            ("/-/healthy", "*/*"),
            ("/-/ready", "*/*"),
        ):
            async with session.get(exporter.url + path, headers={"Accept": accept}) as answer:
                assert answer.status == 200, path
                shown[f"{path} as {accept}"] = await answer.text()
    return {**shown, "log": "".join(exporter.lines)}


def secrets(cloud: Simulator) -> tuple[str, ...]:
    """All secrets, with the ids of access keys, which tell an attacker which secret to look for."""
    keys = cloud.state.keys
    issued = (*keys._tokens, *keys._temporary, *keys._metadata_tokens)
    temporary = (text for key in keys._temporary.values() for text in (key.secret, key.security_token))
    return (ACCESS_KEY, SECRET_KEY, PASSWORD, SECRET_MARKER, POD_IDENTITY_TOKEN, *issued, *temporary)


@pytest.mark.endurance
async def test_every_fault_at_once(faulty_cloud: Simulator, closed_port: int, tmp_path: Path) -> None:
    """The daemon keeps serving, only the healthy target is up, and at debug level no output contains a secret."""
    config = tmp_path / "config.yaml"
    targets = [target.target(faulty_cloud, closed_port=closed_port) for target in TARGETS]
    config.write_text(json.dumps({"targets": targets, "collection": COLLECTION}), encoding="utf-8")
    async with serve_process(config) as exporter:
        for target in TARGETS:
            state = "failed" if target.case else "finished"
            await exporter.wait_for_log(rf"poll\.{state}.*project={target.name} collector=jobs")
        await exporter.wait_for_log(r"poll\.failed.*project=hang-in-body-v2 .*no complete response within 3 s")
        seen = len(exporter.lines)
        await exporter.wait_for_log(r"snapshot\.published", since=seen)

        up = await exporter.samples("modelarts_up")
        ups = {label_value(labels, "project"): value for labels, value in up.items()}
        assert ups == {target.name: float(target.case is None) for target in TARGETS}
        calls = await exporter.samples("modelarts_exporter_api_requests_total")
        outcomes: dict[str, set[str]] = {}
        for labels, value in calls.items():
            if value:
                outcomes.setdefault(label_value(labels, "project"), set()).add(label_value(labels, "outcome"))
        for target in TARGETS:
            expected = {target.case.expected(target.api) if target.case else "ok"}
            if target.name.startswith("200-mb"):
                expected.add("unreachable")  # a busy machine may not read 64 MiB within the deadline
            assert expected & outcomes[target.name], target.name
        assert await exporter.samples("modelarts_training_job_status")

        shown = await everything_readable(exporter)
        assert exporter.process.returncode is None
        assert "defect.met" not in shown["log"]
        assert "Traceback" not in shown["log"]
        for where, text in shown.items():
            for secret in secrets(faulty_cloud):
                assert secret not in text, where


async def test_a_poll_that_overruns_its_interval_delays_the_next(tmp_path: Path) -> None:
    """With an interval of 1 s and two responses of 1.3 s, each poll starts after the previous one has both."""
    delay_s = 1.3
    async with Simulator(Options(empty=True)) as cloud:
        cloud.faults.add(Fault("slow", operation="v2.search", delay=delay_s))
        target = {
            **FaultyTarget(HEALTHY, "v2", None).target(cloud, closed_port=0),
            "project_id": cloud.options.projects[0].id,
        }
        collection = {"jobs_interval": "1s", "usage_interval": "1h", "timeout": "20s", "stale_after": "30s"}
        config = tmp_path / "config.yaml"
        config.write_text(json.dumps({"targets": [target], "collection": collection}), encoding="utf-8")
        async with serve_process(config) as exporter:
            seen = 0
            async with asyncio.timeout(60):
                for _ in range(2):
                    await exporter.wait_for_log(r"poll\.finished.*collector=jobs", since=seen)
                    seen = len(exporter.lines)
        polled_at = [request.at for request in cloud.requests if b'"filters"' in request.body]  # sweeps have none
        assert len(polled_at) >= 2
        assert all(later - earlier >= 2 * delay_s for earlier, later in pairwise(polled_at))  # two searches a poll
