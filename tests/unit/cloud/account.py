"""An invented account, a recording observer, and a short way to a connected client."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from exporter.cloud.connect import MAX_RESPONSE_BYTES
from exporter.cloud.connect import connect as cloud_connect
from exporter.cloud.http.circuit import CircuitPolicy
from exporter.cloud.http.client import ApiClient
from exporter.cloud.http.endpoint import Caller, Endpoint
from exporter.cloud.http.observer import Observer
from exporter.cloud.http.retry import RetryPolicy
from exporter.domain.source import Clock
from exporter.settings import AkSk, Password, RateLimit, Secret, Target, Tls
from tests.unit.cloud.scripted_server import Step, respond

PROJECT_ID = "0123456789abcdef0123456789abcdef"
ACCESS = "INVENTEDACCESSKEY001"
SECRET = "InventedSecretKeyInventedSecretKey000001"
PASSWORD = "invented-password-✓"
TOKEN = "MIIInventedToken" + "x" * 3000
TTL_S = 86_400
KEYS = AkSk(access_key=Secret(ACCESS), secret_key=Secret(SECRET))
LOGIN = Password(username=Secret("ivy"), password=Secret(PASSWORD), domain_name=Secret("INVENTED-DOMAIN"))


class ComputedSecret(Secret):
    """A secret that a function returns, called at each use."""

    __slots__ = ("_compute",)

    def __init__(self, compute: Callable[[], str]) -> None:
        super().__init__()
        self._compute = compute

    def reveal(self) -> str:
        """Call the function."""
        return self._compute()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A target, and everything else that `connect` takes beside clock and observer."""

    target: Target
    timeout_s: float = 5.0
    retry: RetryPolicy
    circuit: CircuitPolicy = field(default_factory=CircuitPolicy)
    environ: Mapping[str, str] = field(default_factory=dict)
    metadata_url: str = "http://127.0.0.1:9"
    max_response_bytes: int = MAX_RESPONSE_BYTES


def retries(attempts: int = 3) -> RetryPolicy:
    """A policy with pauses of milliseconds and a budget of 25 s."""
    return RetryPolicy(attempts=attempts, base_s=0.001, cap_s=0.002, total_s=25.0)


def options(url: str, **changes: Any) -> Options:
    """Options for a server of the tests: fast retries, a rate limit that never waits.

    `changes` are fields of `Options`, of `Target`, or of its rate limit and TLS.
    """

    def changed(kind: type[Any]) -> dict[str, Any]:
        names = kind.__dataclass_fields__ if kind is Options else kind.__struct_fields__
        return {name: changes.pop(name) for name in names if name in changes}

    target: dict[str, Any] = {
        "project": "vision",
        "endpoint": url,
        "iam_endpoint": url,
        "project_id": PROJECT_ID,
        "credentials": KEYS,
        "rate_limit": RateLimit(**{"requests_per_second": 10_000, "burst": 1000, **changed(RateLimit)}),
        "tls": Tls(**changed(Tls)),
    }
    others = {"retry": retries(), **changed(Options)}
    given = Options(target=Target(**{**target, **changed(Target)}), **others)
    assert not changes
    return given


def connect(given: Options, *, clock: Clock, observer: Observer) -> AbstractAsyncContextManager[ApiClient]:
    """Connect with these options."""
    return cloud_connect(
        given.target,
        timeout_s=given.timeout_s,
        retry=given.retry,
        environ=given.environ,
        metadata_url=given.metadata_url,
        clock=clock,
        observer=observer,
        jitter=random.random,
        circuit=given.circuit,
        max_response_bytes=given.max_response_bytes,
    )


async def make_call(caller: Caller, endpoint: Endpoint[Page] = JOBS) -> Page | None:
    """Call the endpoint, as a coroutine with a plain type for `asyncio.create_task`."""
    return await caller.call(endpoint)


def token_issued(
    token: str = TOKEN, *, expires_at: str = "2023-11-15T22:13:20.000000Z", project_id: str = PROJECT_ID
) -> Step:
    """Respond as IAM does, with the token in the header. By default it is valid for a day from the clock's start."""
    body = {"token": {"expires_at": expires_at, "project": {"id": project_id, "name": "eu-de_vision"}}}
    return respond(201, body, {"X-Subject-Token": token})


@dataclass
class RecordingObserver:
    """Records all events."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    durations_s: list[float] = field(default_factory=list)
    withheld: list[tuple[str, str]] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    throttles: int = 0
    circuit: list[bool] = field(default_factory=list)
    expiries: list[float | None] = field(default_factory=list)
    repairs: list[tuple[str, str]] = field(default_factory=list)
    _finished: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_called(self, times: int) -> None:
        """Wait until this many requests have finished."""
        while len(self.calls) < times:
            self._finished.clear()
            await self._finished.wait()

    def call_finished(self, *, project: str, operation: str, outcome: str, duration_s: float) -> None:
        """Record the operation with its outcome."""
        assert project == "vision"
        self.calls.append((operation, outcome))
        self.durations_s.append(duration_s)
        self._finished.set()

    def call_withheld(self, *, project: str, operation: str, outcome: str) -> None:
        """Record the operation with its outcome."""
        assert project == "vision"
        self.withheld.append((operation, outcome))

    def call_retried(self, *, project: str, operation: str) -> None:
        """Record the operation."""
        assert project == "vision"
        self.retries.append(operation)

    def throttled(self, *, project: str) -> None:
        """Count."""
        assert project == "vision"
        self.throttles += 1

    def circuit_changed(self, *, project: str, is_open: bool) -> None:
        """Record the new state."""
        assert project == "vision"
        self.circuit.append(is_open)

    def credentials_changed(self, *, project: str, expires_at: float | None) -> None:
        """Record the expiry."""
        assert project == "vision"
        self.expiries.append(expires_at)

    def response_repaired(self, *, project: str, operation: str, kind: str) -> None:
        """Record the operation with the kind of flaw."""
        assert project == "vision"
        self.repairs.append((operation, kind))

    def unknown_value(self, *, project: str, field: str) -> None:
        """Not called by the client."""
        raise AssertionError(f"{project}: {field}")
