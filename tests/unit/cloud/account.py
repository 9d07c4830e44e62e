"""An invented account, a recording observer, and the shortest way to a transport."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from exporter.cloud.connect import AccessKeyCredentials, PasswordCredentials, TargetOptions
from exporter.cloud.http.endpoint import Caller, Endpoint
from exporter.cloud.http.retry import RetryPolicy
from tests.unit.cloud.scripted_server import Step, answer

PROJECT_ID = "0123456789abcdef0123456789abcdef"
ACCESS = "INVENTEDACCESSKEY001"
SECRET = "InventedSecretKeyInventedSecretKey000001"
PASSWORD = "invented-password-✓"
TOKEN = "MIIInventedToken" + "x" * 3000
TTL_S = 86_400
KEYS = AccessKeyCredentials(access_key=lambda: ACCESS, secret_key=lambda: SECRET)
LOGIN = PasswordCredentials(username=lambda: "ivy", password=lambda: PASSWORD, domain_name=lambda: "INVENTED-DOMAIN")


class Item(msgspec.Struct):
    id: int


class Page(msgspec.Struct):
    jobs: list[Item]


PAGE = {"jobs": [{"id": 7}]}
JOBS = Endpoint(name="list_jobs", method="GET", path="/v1/{project_id}/jobs", answer=Page, notes="")
JOBS_V1 = Endpoint(
    name="list_jobs", method="GET", path="/v1/{project_id}/jobs", answer=Page, notes="", in_band_failure=True
)
METRICS = Endpoint(
    name="metrics", method="GET", path="/v2/{project_id}/metrics", answer=Page, notes="", may_be_empty=True
)
SEARCH = Endpoint(
    name="search", method="POST", path="/v2/{project_id}/searches", answer=Page, notes="", in_band_failure=True
)


def options(url: str, **changes: Any) -> TargetOptions:
    """Options for a server of the tests: fast retries, no rate limit to speak of."""
    given: dict[str, Any] = {
        "project": "vision",
        "endpoint": url,
        "iam_endpoint": url,
        "project_id": PROJECT_ID,
        "credentials": KEYS,
        "requests_per_second": 10_000,
        "burst": 1000,
        "timeout_s": 5.0,
        "retry": RetryPolicy(attempts=3, base_s=0.001, cap_s=0.002),
    }
    return TargetOptions(**{**given, **changes})


async def asked(caller: Caller, endpoint: Endpoint[Page] = JOBS) -> Page | None:
    """Call, as a coroutine of a plain type that tasks can be made of."""
    return await caller.call(endpoint)


def token_issued(
    token: str = TOKEN, *, expires_at: str = "2023-11-15T22:13:20.000000Z", project_id: str = PROJECT_ID
) -> Step:
    """Answer as IAM does: the token in the header. By default it lasts a day from the manual clock's start."""
    body = {"token": {"expires_at": expires_at, "project": {"id": project_id, "name": "eu-de_vision"}}}
    return answer(201, body, {"X-Subject-Token": token})


@dataclass
class RecordingObserver:
    """Remembers what it was told."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    durations_s: list[float] = field(default_factory=list)
    withheld: list[tuple[str, str]] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    throttles: int = 0
    circuit: list[bool] = field(default_factory=list)
    expiries: list[float | None] = field(default_factory=list)
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_called(self, times: int) -> None:
        """Wait until so many exchanges are over."""
        while len(self.calls) < times:
            self._told.clear()
            await self._told.wait()

    def call_finished(self, *, project: str, operation: str, outcome: str, duration_s: float) -> None:
        """Remember the operation with its outcome."""
        assert project == "vision"
        self.calls.append((operation, outcome))
        self.durations_s.append(duration_s)
        self._told.set()

    def call_withheld(self, *, project: str, operation: str, outcome: str) -> None:
        """Remember the operation with its outcome."""
        assert project == "vision"
        self.withheld.append((operation, outcome))

    def call_retried(self, *, project: str, operation: str) -> None:
        """Remember the operation."""
        assert project == "vision"
        self.retries.append(operation)

    def throttled(self, *, project: str) -> None:
        """Count."""
        assert project == "vision"
        self.throttles += 1

    def circuit_changed(self, *, project: str, is_open: bool) -> None:
        """Remember the new state."""
        assert project == "vision"
        self.circuit.append(is_open)

    def credentials_changed(self, *, project: str, expires_at: float | None) -> None:
        """Remember the expiry."""
        assert project == "vision"
        self.expiries.append(expires_at)

    def unknown_value(self, *, project: str, field: str) -> None:
        """Never told by the transport."""
        raise AssertionError(f"{project}: {field}")
