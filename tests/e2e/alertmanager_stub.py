"""A webhook receiver for Alertmanager, and the configuration with which Alertmanager calls it at once."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.programs import until


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One alert of one notification."""

    status: str
    """firing or resolved."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: str
    """Start of the alert, as Alertmanager writes it."""


@dataclass(slots=True)
class AlertReceiver:
    """Keeps all notifications in the order of arrival."""

    url: str = ""
    notifications: list[Notification] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        """Handle one request, which may carry several alerts."""
        payload = await request.json()
        self.notifications += [
            Notification(
                status=alert["status"],
                labels=alert["labels"],
                annotations=alert["annotations"],
                starts_at=alert["startsAt"],
            )
            for alert in payload["alerts"]
        ]
        return web.Response()

    def for_job(self, name: str) -> list[Notification]:
        """Notifications about one job by its name."""
        return [each for each in self.notifications if each.labels.get("job_name") == name]

    async def wait_for_notifications(self, status: str, names: Iterable[str], *, deadline_s: float) -> None:
        """Wait until each of these jobs has a notification with this status."""

        async def received() -> bool:
            return wanted <= {each.labels.get("job_name") for each in self.notifications if each.status == status}

        wanted = set(names)
        await until(received, f"notifications with status {status} for {wanted}", deadline_s=deadline_s)


@asynccontextmanager
async def run_receiver() -> AsyncIterator[AlertReceiver]:
    """Run a receiver."""
    receiver = AlertReceiver()
    app = web.Application()
    app.router.add_post("/", receiver.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        receiver.url = f"http://{host}:{port}/"
        yield receiver
    finally:
        await runner.cleanup()


def alertmanager_config(receiver: AlertReceiver, *, alert: str) -> dict[str, Any]:
    """Alertmanager configuration: one notification for each alert of this name, at once, repeated after hours."""
    return {
        "route": {
            "receiver": "nobody",
            "routes": [
                {
                    "receiver": "stub",
                    "matchers": [f"alertname = {alert}"],
                    "group_by": ["..."],
                    "group_wait": "0s",
                    "group_interval": "1s",
                    "repeat_interval": "4h",
                }
            ],
        },
        "receivers": [
            {"name": "nobody"},
            {"name": "stub", "webhook_configs": [{"url": receiver.url, "send_resolved": True}]},
        ],
    }
