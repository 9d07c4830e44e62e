"""From a job that fails in the cloud to the pager: simulator, exporter, Prometheus with our rules, Alertmanager, webhook.

One story is played once, with the real programs; each test holds one fact against what the pager received.
"""

import re
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml
from aiohttp import web

from exporter.simulator import ACCESS_KEY, PROJECT_ID, SECRET_KEY, Job, Options, Simulator
from tests.programs import Alertmanager, Prometheus, Service, free_port, until

ROOT = Path(__file__).parents[2]
ALERT = "ModelArtsTrainingJobFailed"
CLEARS_S = 40
"""Instead of the shipped 1800 s; long enough for both restarts to happen while the pages are open."""
INTERVAL_S = 1
"""Of polls, scrapes and evaluations."""
POOL = "pool-a"

pytestmark = pytest.mark.timeout(400)  # the story is told to whichever test comes first


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What the webhook received about one job."""

    status: str
    """firing or resolved."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    begun: str
    """When the alert began, in Alertmanager's words."""
    after_s: float
    """From the beginning of the story."""


@dataclass(slots=True)
class Pager:
    """A webhook of Alertmanager that keeps what it gets."""

    url: str = ""
    messages: list[Message] = field(default_factory=list)
    _begun_at: float = field(default_factory=time.monotonic)

    async def receive(self, request: web.Request) -> web.Response:
        """Take one notification, which may be about several alerts."""
        notification = await request.json()
        for alert in notification["alerts"]:
            self.messages.append(
                Message(
                    status=alert["status"],
                    labels=alert["labels"],
                    annotations=alert["annotations"],
                    begun=alert["startsAt"],
                    after_s=time.monotonic() - self._begun_at,
                )
            )
        return web.Response()

    def about(self, job: Job) -> list[Message]:
        """Messages about a job, in the order they came."""
        return [message for message in self.messages if message.labels.get("job_id") == job.id]

    async def until_told(self, status: str, *jobs: Job, deadline_s: float) -> None:
        """Wait until each of these jobs has had a message of that status."""

        async def told() -> bool:
            return not missing()

        def missing() -> set[str]:
            return {job.name for job in jobs if status not in [message.status for message in self.about(job)]}

        try:
            await until(told, f"every page is {status}", deadline_s=deadline_s)
        except AssertionError as late:
            raise AssertionError(f"{late}; not {missing()}, but {self.messages}") from None


@asynccontextmanager
async def paging() -> AsyncIterator[Pager]:
    """A pager that listens."""
    pager = Pager()
    app = web.Application()
    app.router.add_post("/", pager.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        pager.url = f"http://{host}:{port}/"
        yield pager
    finally:
        await runner.cleanup()


def rules(folder: Path) -> Path:
    """Write the shipped rules with the one threshold replaced in the documented way, and nothing else changed."""
    copies = folder / "rules"
    copies.mkdir()
    for path in sorted((ROOT / "alerts").glob("*.yaml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in document["groups"]:
            group["rules"] = [set_threshold(rule) if rule["alert"] == ALERT else rule for rule in group["rules"]]
        (copies / path.name).write_text(yaml.safe_dump(document), encoding="utf-8")
    return copies


def set_threshold(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the token that `threshold` names throughout a rule, windows of that length included."""
    token = re.escape(rule["annotations"]["threshold"])
    text = re.sub(rf"(?<![\w.]){token}(?=s?(?![\w.]))", str(CLEARS_S), yaml.safe_dump(dict(rule)))
    changed: dict[str, Any] = yaml.safe_load(text)
    return changed


def alertmanager(folder: Path, pager: Pager) -> Alertmanager:
    """An Alertmanager that sends each alert by itself, at once, and within the story never again."""
    route = {
        "receiver": "pager",
        "group_by": ["..."],
        "group_wait": "0s",
        "group_interval": "1s",
        "repeat_interval": "4h",
        "routes": [{"receiver": "pager", "matchers": [f"alertname = {ALERT}"]}, {"receiver": "nobody"}],
    }
    receivers = [
        {"name": "pager", "webhook_configs": [{"url": pager.url, "send_resolved": True}]},
        {"name": "nobody"},
    ]
    return Alertmanager({"route": route, "receivers": receivers}, folder=folder)


def prometheus(folder: Path, *, exporter: Service, alerts_to: Service) -> Prometheus:
    """A Prometheus that scrapes the exporter and evaluates our rules each second."""
    config = {
        "global": {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"},
        "rule_files": [f"{rules(folder)}/*.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alerts_to.address]}]}]},
        "scrape_configs": [
            {"job_name": "modelarts-exporter", "static_configs": [{"targets": [exporter.address]}]},
        ],
    }
    return Prometheus(config, folder=folder)


def exporter(folder: Path, cloud: Simulator) -> Service:
    """The exporter's own command, with a settings file; it sweeps each second and lets go of deleted jobs soon."""
    target = {
        "project": "vision",
        "endpoint": cloud.url,
        "iam_endpoint": cloud.url,
        "project_id": PROJECT_ID,
        "api": "both",
        "credentials": {"type": "aksk", "access_key": ACCESS_KEY, "secret_key": SECRET_KEY},
        "rate_limit": {"requests_per_second": 1000, "burst": 1000, "concurrency": 4},
    }
    collection = {
        "jobs_interval": f"{INTERVAL_S}s",
        "usage_interval": "10s",
        "sweep_interval": "1s",
        "timeout": "4s",
        "stale_after": "5s",
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"targets": [target], "collection": collection}), encoding="utf-8")
    port = free_port()
    command = (
        sys.executable,
        "-m",
        "exporter",
        "serve",
        f"--config.file={config}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    return Service("exporter", command, folder=folder, port=port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """Everybody in the story. Those of the first block are paged for, the others are not."""

    watched: Job
    """Runs until it is made to fail through the control API, killed in its second task."""
    lost: Job
    """Of the old generation; runs until the cloud loses it."""
    quick: Job
    """Submitted, started and failed between two polls."""
    quick_v1: Job
    unborn: Job
    """Could not be created: it has no start."""
    early: Job
    """Failed a moment before the exporter's first start."""
    early_v1: Job
    deleted: Job
    """Deleted as soon as the exporter had seen it fail."""
    meanwhile: Job
    """Fails while the exporter is dead."""

    old: Job
    """Failed long before the exporter's first start."""
    old_v1: Job
    completed: Job
    terminated: Job
    running: Job

    @property
    def paged(self) -> tuple[Job, ...]:
        """The jobs that somebody must hear of."""
        return (
            self.watched,
            self.lost,
            self.quick,
            self.quick_v1,
            self.unborn,
            self.early,
            self.early_v1,
            self.deleted,
            self.meanwhile,
        )

    @property
    def quiet(self) -> tuple[Job, ...]:
        """The jobs that nobody must hear of."""
        return (self.old, self.old_v1, self.completed, self.terminated, self.running)
