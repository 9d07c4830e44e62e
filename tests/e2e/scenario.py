"""The programs between simulator and alert receiver, and the steps of the alerting scenario."""

import re
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.simulator import ACCESS_KEY, PROJECT_ID, SECRET_KEY, Job, Simulator
from exporter.simulator.world.job import Api
from tests.programs import Prometheus, Service, free_port, until

ROOT = Path(__file__).parents[2]
ALERT = "ModelArtsTrainingJobFailed"
INTERVAL_S = 1
"""Of polls, scrapes and evaluations."""
STEP_TIMEOUT_S = 60.0
"""Deadline of each step, on a busy machine."""


def with_threshold(rule: Mapping[str, Any], seconds: int) -> dict[str, Any]:
    """Replace a rule's threshold token as docs/alerts.md describes."""
    token = re.escape(rule["annotations"]["threshold"])
    changed: dict[str, Any] = yaml.safe_load(
        re.sub(rf"(?<![\w.]){token}(?=s?(?![\w.]))", str(seconds), yaml.safe_dump(dict(rule)))
    )
    return changed


def rules(folder: Path, *, clears_s: int) -> str:
    """Write the shipped rules with one changed threshold. Returns the glob pattern of the files."""
    copies = folder / "rules"
    copies.mkdir()
    for path in sorted((ROOT / "alerts").glob("*.yaml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in document["groups"]:
            group.pop("interval", None)  # every rule is evaluated each second
            group["rules"] = [
                with_threshold(rule, clears_s) if rule.get("alert") == ALERT else rule for rule in group["rules"]
            ]
        (copies / path.name).write_text(yaml.safe_dump(document), encoding="utf-8")
    return f"{copies}/*.yaml"


def exporter_of(cloud: Simulator, *, folder: Path) -> Service:
    """The real `serve`. It sweeps as often as it polls, so that deleted jobs disappear soon."""
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
        "sweep_interval": f"{INTERVAL_S}s",
        "timeout": "4s",
        "stale_after": "5s",
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"targets": [target], "collection": collection}), encoding="utf-8")
    port = free_port()
    listen = f"--web.listen-address=127.0.0.1:{port}"
    command = (sys.executable, "-m", "exporter", "serve", f"--config.file={config}", listen)
    return Service("exporter", command, folder=folder, port=port)


def prometheus_of(exporter: Service, *, alerts_to: Service, clears_s: int, folder: Path) -> Prometheus:
    """A Prometheus that scrapes the exporter and evaluates the shipped rules each second."""
    config = {
        "global": {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"},
        "rule_files": [rules(folder, clears_s=clears_s)],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alerts_to.address]}]}]},
        "scrape_configs": [{"job_name": "exporter", "static_configs": [{"targets": [exporter.address]}]}],
    }
    return Prometheus(config, folder=folder)


class Scenario:
    """The programs and the steps. Jobs are identified by name; times are seconds since the epoch."""

    def __init__(self, *, cloud: Simulator, exporter: Service, prometheus: Prometheus) -> None:
        self.cloud = cloud
        self.exporter = exporter
        self.prometheus = prometheus
        self._names: dict[str, str] = {}

    def submit(self, name: str, *, api: Api = "v2", ago_s: float = 0.0, **more: Any) -> Job:
        """Submit a job with a submission time in the past."""
        world = self.cloud.world
        job = world.submit(name, api=api, submitted_at=world.now - ago_s, **more)
        self._names[job.id] = name
        return job

    def run(self, name: str, *, api: Api = "v2", ago_s: float = 0.0, **more: Any) -> Job:
        """Submit and start a job, both in the past."""
        job = self.submit(name, api=api, ago_s=ago_s, **more)
        self.cloud.world.start(job, at=job.submitted_at)
        return job

    def past_failure(self, name: str, *, api: Api, ended_ago_s: float) -> None:
        """Add a job that ran for a minute and failed in the past."""
        job = self.run(name, api=api, ago_s=ended_ago_s + 60)
        self.cloud.world.fail(job, at=job.submitted_at + 60)

    def quick_failure(self, name: str, *, api: Api) -> None:
        """Add a job that is submitted, starts and fails between two API calls."""
        self.cloud.world.fail(self.run(name, api=api))

    async def move(self, name: str, step: str, **how: Any) -> None:
        """Change a job through the simulator's control API."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.cloud.url}/simulator/jobs/{name}/{step}", json=how) as answer,
        ):
            assert answer.status == 200, await answer.text()

    async def exported(self) -> dict[str, str]:
        """Exported status by job."""
        _, text = await self.exporter.get("/metrics")
        return {
            self._names[sample.labels["job_id"]]: sample.labels["status"]
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "modelarts_training_job_status"
        }

    async def until_exported(self, name: str, status: str) -> None:
        """Wait until the exporter exports a job with this status."""

        async def shown() -> bool:
            return (await self.exported()).get(name) == status

        await until(shown, f"the exporter exports {name} as {status}", deadline_s=STEP_TIMEOUT_S)

    async def until_scraped(self, expression: str, *, results: int) -> None:
        """Wait until a query has this number of results."""

        async def matches() -> bool:
            return len(await self.prometheus.query(expression)) == results

        await until(matches, f"{expression} has {results} results", deadline_s=STEP_TIMEOUT_S)

    async def until_evaluated(self) -> None:
        """Wait until all rules were evaluated after a new scrape."""
        await self.until_scraped(f"timestamp(up == 1) > {time.time()}", results=1)
        scraped_at = time.time()

        async def evaluated() -> bool:
            return all(
                datetime.fromisoformat(rule["lastEvaluation"]).timestamp() > scraped_at for rule in await self.rules()
            )

        await until(evaluated, "the rules are evaluated", deadline_s=STEP_TIMEOUT_S)

    async def rules(self) -> list[dict[str, Any]]:
        """All rules with their state, as the API returns them."""
        answer = await self.prometheus.json("/api/v1/rules")
        return [rule for group in answer["data"]["groups"] for rule in group["rules"]]

    async def firing(self) -> set[str]:
        """Jobs whose alert fires now."""
        return {
            self._names[alert["labels"]["job_id"]]
            for rule in await self.rules()
            if rule["name"] == ALERT
            for alert in rule["alerts"]
            if alert["state"] == "firing"
        }

    async def sample_times(self, series: str) -> dict[str, list[float]]:
        """Times of the samples of a series, by job."""
        return {
            self._names[item["metric"]["job_id"]]: sorted(float(at) for at, _ in item["values"])
            for item in await self.prometheus.query(f"{series}[1h]")
        }
