"""What a poller needs in tests."""

from dataclasses import dataclass, replace
from typing import Any

from exporter.app.project import poll_settings
from exporter.domain.source import JobSource
from exporter.polling.poller import PollSettings
from exporter.settings import load

_TARGET = """
targets:
  - project: vision
    endpoint: https://modelarts.example.com
    project_id: "0123456789abcdef0123456789abcdef"
    credentials: {type: aksk, access_key: a, secret_key: b}
"""


def default_poll_settings(**changes: Any) -> PollSettings:
    """The settings' own defaults, with these changes."""
    settings = load(_TARGET, environ={})
    return replace(poll_settings(settings.targets[0], settings), **changes)


@dataclass
class FakeSources:
    """Sources that are known without asking."""

    sources: tuple[JobSource, ...] = ()
    error: Exception | None = None

    async def project_id(self) -> str:
        """Return that it is unknown."""
        return ""

    async def current(self) -> tuple[JobSource, ...]:
        """Return the sources, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.sources
