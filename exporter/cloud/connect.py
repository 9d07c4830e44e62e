"""One project in one region: how it is reached and as whom, and the transport that does it."""

import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

import aiohttp
from yarl import URL

from exporter import __version__
from exporter.cloud.auth.auth import Auth, SigningAuth
from exporter.cloud.auth.credentials import KeyProvider, Secret, StaticKeys
from exporter.cloud.auth.metadata import NodeMetadata
from exporter.cloud.auth.pod_identity import PodIdentity
from exporter.cloud.auth.temporary import LeasedKeys
from exporter.cloud.auth.token import TokenAuth
from exporter.cloud.http.circuit import CircuitPolicy
from exporter.cloud.http.client import ApiClient
from exporter.cloud.http.limit import Limits
from exporter.cloud.http.observer import Observer
from exporter.cloud.http.retry import RetryPolicy
from exporter.cloud.http.transport import HttpTransport, sent_once
from exporter.domain.source import Clock

_LARGEST_HEADER_BYTES = 65_536  # a token is several kB, and comes as a header; aiohttp's default is 8190
_LOCAL_TIMEOUT_S = 5.0  # the node's own services answer at once, or not at all


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKeyCredentials:
    """A key pair of the settings, read anew at each use; signs."""

    access_key: Secret
    secret_key: Secret
    security_token: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordCredentials:
    """A user of IAM; buys tokens."""

    username: Secret
    password: Secret
    domain_name: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataCredentials:
    """The agency of the node; signs."""

    base_url: str = "http://169.254.169.254"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodIdentityCredentials:
    """The identity CCE mounts into the pod; signs. `token` is read at each fetch."""

    url: str
    token: Secret


Credentials = AccessKeyCredentials | PasswordCredentials | MetadataCredentials | PodIdentityCredentials


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions:
    """How to reach one project: plain values, with secrets as functions that give them."""

    project: str
    """Value of the label `project`."""
    endpoint: str
    """URL of the ModelArts API; a path in it is kept as a prefix."""
    credentials: Credentials
    iam_endpoint: str = ""
    """URL of IAM; needed for a password, and to look up a project by name."""
    project_id: str = ""
    """Empty: found by `project_name`."""
    project_name: str = ""
    requests_per_second: float = 5.0
    burst: int = 10
    concurrency: int = 4
    timeout_s: float = 10.0
    """Of one request: connect, headers and body. Smaller than a poll's deadline, or no retry fits into it."""
    ca_file: str = ""
    """PEM file of the authorities to trust instead of the system's."""
    insecure_skip_verify: bool = False
    proxy: Secret | None = None
    """URL of an HTTP proxy, perhaps with user and password. Not used for the node's own services."""
    max_answer_bytes: int = 64 * 1024 * 1024
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    circuit: CircuitPolicy = field(default_factory=CircuitPolicy)


@asynccontextmanager
async def connect(
    options: TargetOptions, *, clock: Clock, observer: Observer, jitter: Callable[[], float] = random.random
) -> AsyncIterator[ApiClient]:
    """Give the transport of one target; its connections are closed at the end. Sends nothing by itself.

    Raises OSError when the CA file cannot be read or holds no certificate.
    """
    connector = aiohttp.TCPConnector(
        ssl=_verification(options),
        limit=options.concurrency + 2,  # room for IAM and the node's own services
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        middlewares=(sent_once,),
        headers={"Accept": "application/json", "User-Agent": f"modelarts-exporter/{__version__}"},
        max_field_size=_LARGEST_HEADER_BYTES,
        max_line_size=_LARGEST_HEADER_BYTES,
    ) as session:
        limits = Limits(
            requests_per_second=options.requests_per_second, burst=options.burst, concurrency=options.concurrency
        )
        transport = partial(
            HttpTransport,
            session=session,
            project=options.project,
            clock=clock,
            observer=observer,
            max_answer_bytes=options.max_answer_bytes,
        )
        remote = transport(timeout_s=options.timeout_s, proxy=options.proxy)
        auth = _auth(
            options,
            iam=transport(timeout_s=options.timeout_s, proxy=options.proxy, pace=limits.pace),
            local=transport(timeout_s=min(_LOCAL_TIMEOUT_S, options.timeout_s)),
            clock=clock,
            changed=lambda expires_at: observer.credentials_changed(project=options.project, expires_at=expires_at),
        )
        try:
            yield ApiClient(
                project=options.project,
                endpoint=_base(options.endpoint),
                auth=auth,
                transport=remote,
                limits=limits,
                clock=clock,
                observer=observer,
                retry_policy=options.retry,
                circuit=options.circuit,
                jitter=jitter,
            )
        finally:
            await auth.close()


def _auth(
    options: TargetOptions,
    *,
    iam: HttpTransport,
    local: HttpTransport,
    clock: Clock,
    changed: Callable[[float | None], None],
) -> Auth:
    iam_endpoint = _base(options.iam_endpoint) if options.iam_endpoint else ""
    provider: KeyProvider
    match options.credentials:
        case PasswordCredentials(username=username, password=password, domain_name=domain_name):
            return TokenAuth(
                username=username,
                password=password,
                domain_name=domain_name,
                iam=iam,
                iam_endpoint=iam_endpoint,
                project_id=options.project_id,
                project_name=options.project_name,
                clock=clock,
                changed=changed,
            )
        case AccessKeyCredentials(access_key=access, secret_key=secret, security_token=security_token):
            provider = StaticKeys(access=access, secret=secret, security_token=security_token)
        case MetadataCredentials(base_url=base_url):
            node = NodeMetadata(base_url=_base(base_url), transport=local, clock=clock)
            provider = LeasedKeys(node.key, clock=clock, changed=changed)
        case PodIdentityCredentials(url=url, token=token):
            pod = PodIdentity(url=url, token=token, transport=local, clock=clock)
            provider = LeasedKeys(pod.key, clock=clock, changed=changed)
        case _ as other:
            assert_never(other)
    return SigningAuth(
        provider=provider,
        iam=iam,
        iam_endpoint=iam_endpoint,
        project_id=options.project_id,
        project_name=options.project_name,
        clock=clock,
        changed=changed,
    )


def _base(url: str) -> str:
    """Normalise the address once (international names, default ports), without the slash at its end."""
    return str(URL(url)).rstrip("/")


def _verification(options: TargetOptions) -> ssl.SSLContext | bool:
    if options.insecure_skip_verify:
        return False
    return ssl.create_default_context(cafile=options.ca_file) if options.ca_file else True
