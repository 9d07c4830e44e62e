"""A real `serve` whose targets have every fault at once, both generations of each, beside one that is well."""

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
from tests.e2e.endurance import Living, label, living
from tests.e2e.faults import TROUBLES, Trouble
from tests.e2e.harness import AKSK, BY_PASSWORD

WELL = "well"
APIS: tuple[Api, ...] = ("v1", "v2")
COLLECTION = {"jobs_interval": "1s", "usage_interval": "1s", "timeout": "9s", "stale_after": "20s"}


@dataclass(frozen=True, slots=True)
class Patient:
    """One target, and what is wrong with it."""

    name: str
    api: Api
    trouble: Trouble | None

    @property
    def project(self) -> ProjectOptions:
        """Its project in the cloud, by whose id the fault is aimed."""
        return ProjectOptions(
            id=md5(self.name.encode(), usedforsecurity=False).hexdigest(), name=f"eu-de_{self.name}"
        )

    def target(self, cloud: Simulator, *, closed: int) -> dict[str, Any]:
        """Its part of the settings: v1 signs, v2 has a token, save where the fault is one of signatures."""
        fault = self.trouble.fault if self.trouble else ""
        signs = self.api == "v1" or fault.startswith("clock-skew")
        return {
            "project": self.name,
            "project_id": self.project.id,
            "api": self.api,
            "workspaces": ["0"],
            "endpoint": f"http://127.0.0.1:{closed}" if fault == "down" else cloud.url,
            "iam_endpoint": cloud.url,
            "credentials": dict(AKSK if signs else BY_PASSWORD),
            "rate_limit": {"requests_per_second": 100, "burst": 100, "concurrency": 4},
        }


PATIENTS = (
    Patient(WELL, "v2", None),
    *(Patient(f"{name}-{api}", api, trouble) for name, trouble in TROUBLES.items() for api in APIS),
)


@pytest.fixture
def closed() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
async def sick() -> AsyncIterator[Simulator]:
    """A cloud with a project for each fault, whose answers carry secrets."""
    projects = tuple(patient.project for patient in PATIENTS)
    options = Options(empty=True, projects=projects, quirks=frozenset({"secrets-in-answers"}))
    async with Simulator(options) as cloud:
        for patient in PATIENTS:
            job = cloud.world.submit("steady", api=patient.api, project=patient.project.id)
            cloud.world.start(job)
            if patient.trouble is not None and patient.trouble.fault != "down":
                cloud.faults.add(patient.trouble.made(cloud, path=f"*/{patient.project.id}/*"))
        yield cloud


async def everything_shown(exporter: Living) -> Mapping[str, str]:
    """What anybody can read of a running exporter, by where it stands; each answered promptly, with 200."""
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
    """Every secret there is, the ids of access keys included: they tell an attacker which secret to look for."""
    keys = cloud.state.keys
    issued = (*keys._tokens, *keys._temporary, *keys._metadata_tokens)
    temporary = (text for key in keys._temporary.values() for text in (key.secret, key.security_token))
    return (ACCESS_KEY, SECRET_KEY, PASSWORD, SECRET_MARKER, POD_IDENTITY_TOKEN, *issued, *temporary)


async def test_every_fault_at_once(sick: Simulator, closed: int, tmp_path: Path) -> None:
    """The daemon lives and serves, only what is well is up, and at debug level nothing it shows holds a secret."""
    config = tmp_path / "config.yaml"
    targets = [patient.target(sick, closed=closed) for patient in PATIENTS]
    config.write_text(json.dumps({"targets": targets, "collection": COLLECTION}), encoding="utf-8")
    async with living(config) as exporter:
        for patient in PATIENTS:
            state = "failed" if patient.trouble else "finished"
            await exporter.said(rf"poll\.{state}.*project={patient.name} collector=jobs")
        await exporter.said(r"poll\.failed.*project=hang-in-body-v2 .*no complete response within 3 s")
        seen = len(exporter.lines)
        await exporter.said(r"snapshot\.published", since=seen)

        ups = {label(labels, "project"): value for labels, value in (await exporter.samples("modelarts_up")).items()}
        assert ups == {patient.name: float(patient.trouble is None) for patient in PATIENTS}
        calls = await exporter.samples("modelarts_exporter_api_requests_total")
        outcomes: dict[str, set[str]] = {}
        for labels, value in calls.items():
            if value:
                outcomes.setdefault(label(labels, "project"), set()).add(label(labels, "outcome"))
        for patient in PATIENTS:
            expected = {patient.trouble.expected(patient.api) if patient.trouble else "ok"}
            if patient.name.startswith("200-mb"):
                expected.add("unreachable")  # a busy machine does not read 64 MiB within the deadline
            assert expected & outcomes[patient.name], patient.name
        assert await exporter.samples("modelarts_training_job_status")

        shown = await everything_shown(exporter)
        assert exporter.process.returncode is None
        assert "defect.met" not in shown["log"]
        assert "Traceback" not in shown["log"]
        for where, text in shown.items():
            for secret in secrets(sick):
                assert secret not in text, where


async def test_a_poll_that_overruns_its_interval_delays_the_next(tmp_path: Path) -> None:
    """With an interval of 1 s and two answers of 1.3 s, each poll begins after the one before has both."""
    delay_s = 1.3
    async with Simulator(Options(empty=True)) as cloud:
        cloud.faults.add(Fault("slow", operation="v2.search", delay=delay_s))
        target = {**Patient(WELL, "v2", None).target(cloud, closed=0), "project_id": cloud.options.projects[0].id}
        collection = {"jobs_interval": "1s", "usage_interval": "1h", "timeout": "20s", "stale_after": "30s"}
        config = tmp_path / "config.yaml"
        config.write_text(json.dumps({"targets": [target], "collection": collection}), encoding="utf-8")
        async with living(config) as exporter:
            seen = 0
            async with asyncio.timeout(60):
                for _ in range(2):
                    await exporter.said(r"poll\.finished.*collector=jobs", since=seen)
                    seen = len(exporter.lines)
        polled_at = [request.at for request in cloud.requests if b'"filters"' in request.body]  # sweeps have none
        assert len(polled_at) >= 2
        assert all(later - earlier >= 2 * delay_s for earlier, later in pairwise(polled_at))  # two searches a poll
