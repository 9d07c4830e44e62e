"""The end of the chain: a webhook that Alertmanager calls, and the configuration that makes it call at once."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.programs import until


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What the pager received about one alert."""

    status: str
    """firing or resolved."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    begun: str
    """When the alert began, in Alertmanager's words."""


@dataclass(slots=True)
class Pager:
    """Keeps what it is told, in the order it came."""

    url: str = ""
    messages: list[Message] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        """Take one notification, which may be about several alerts."""
        notification = await request.json()
        self.messages += [
            Message(
                status=alert["status"],
                labels=alert["labels"],
                annotations=alert["annotations"],
                begun=alert["startsAt"],
            )
            for alert in notification["alerts"]
        ]
        return web.Response()

    def about(self, name: str) -> list[Message]:
        """Messages about the job of that name."""
        return [message for message in self.messages if message.labels.get("job_name") == name]

    async def until_told(self, status: str, names: Iterable[str], *, deadline_s: float) -> None:
        """Wait until each of these jobs has had a message of that status."""

        async def told() -> bool:
            return wanted <= {message.labels.get("job_name") for message in self.messages if message.status == status}

        wanted = set(names)
        await until(told, f"the pager is told {status} of {wanted}", deadline_s=deadline_s)


@asynccontextmanager
async def paging() -> AsyncIterator[Pager]:
    """Give a pager that listens."""
    pager = Pager()
    app = web.Application()
    app.router.add_post("/", pager.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        pager.url = f"http://{host}:{port}/"
        yield pager
    finally:
        await runner.cleanup()


def routing(pager: Pager, *, alert: str) -> dict[str, Any]:
    """Configure an Alertmanager to tell the pager of each such alert by itself, at once, and not again for hours."""
    return {
        "route": {
            "receiver": "nobody",
            "routes": [
                {
                    "receiver": "pager",
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
            {"name": "pager", "webhook_configs": [{"url": pager.url, "send_resolved": True}]},
        ],
    }
