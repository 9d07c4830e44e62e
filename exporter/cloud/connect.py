"""Connects to one target of the settings: its session, its credentials, and the client that makes its calls."""

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import assert_never

import aiohttp
from yarl import URL

from exporter import __version__
from exporter.cloud.auth.auth import Auth, SigningAuth
from exporter.cloud.auth.credentials import KeyProvider, StaticKeys
from exporter.cloud.auth.metadata import NodeMetadata
from exporter.cloud.auth.pod_identity import PodIdentityService
from exporter.cloud.auth.temporary import LeasedKeys
from exporter.cloud.auth.token import TokenAuth
from exporter.cloud.http.circuit import CircuitPolicy
from exporter.cloud.http.client import ApiClient
from exporter.cloud.http.limit import Limits
from exporter.cloud.http.observer import Observer
from exporter.cloud.http.retry import RetryPolicy
from exporter.cloud.http.transport import HttpTransport, send_once
from exporter.domain.source import Clock
from exporter.settings import (
    POD_TOKEN_FILE,
    POD_URL,
    AkSk,
    Metadata,
    Password,
    PodIdentity,
    Secret,
    SecretFile,
    Target,
    Tls,
)

MAX_RESPONSE_BYTES = 64 * 1024 * 1024

_MAX_HEADER_BYTES = 65_536  # a token is several kB in a header; the default of aiohttp is 8190
_LOCAL_TIMEOUT_S = 5.0  # the node's own services respond at once or not at all
_CIRCUIT = CircuitPolicy()


@asynccontextmanager
async def connect(
    target: Target,
    *,
    timeout_s: float,
    retry: RetryPolicy,
    environ: Mapping[str, str],
    metadata_url: str,
    clock: Clock,
    observer: Observer,
    jitter: Callable[[], float],
    circuit: CircuitPolicy = _CIRCUIT,
    max_response_bytes: int = MAX_RESPONSE_BYTES,
) -> AsyncIterator[ApiClient]:
    """Yield the client of one target; its connections are closed at the end. Sends nothing by itself.

    `timeout_s` limits one request: connect, headers and body. `environ` holds the variables of a pod identity,
    `metadata_url` is the node's metadata service; both are used by these credentials only, and never through a proxy.
    Raises OSError when the CA file cannot be read or holds no certificate.
    """
    connector = aiohttp.TCPConnector(
        ssl=_tls(target.tls),
        limit=target.rate_limit.concurrency + 2,  # two for IAM and the node's own services
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        middlewares=(send_once,),
        headers={"Accept": "application/json", "User-Agent": f"modelarts-exporter/{__version__}"},
        max_field_size=_MAX_HEADER_BYTES,
        max_line_size=_MAX_HEADER_BYTES,
    ) as session:
        limits = Limits(
            requests_per_second=target.rate_limit.requests_per_second,
            burst=target.rate_limit.burst,
            concurrency=target.rate_limit.concurrency,
        )
        transport = partial(
            HttpTransport,
            session=session,
            project=target.project,
            clock=clock,
            observer=observer,
            max_response_bytes=max_response_bytes,
        )
        auth = _auth(
            target,
            iam=transport(timeout_s=timeout_s, proxy=target.proxy, pace=limits.pace),
            local=transport(timeout_s=min(_LOCAL_TIMEOUT_S, timeout_s)),
            environ=environ,
            metadata_url=metadata_url,
            clock=clock,
            on_change=lambda expires_at: observer.credentials_changed(project=target.project, expires_at=expires_at),
        )
        try:
            yield ApiClient(
                project=target.project,
                endpoint=_base(target.endpoint),
                auth=auth,
                transport=transport(timeout_s=timeout_s, proxy=target.proxy),
                limits=limits,
                clock=clock,
                observer=observer,
                retry_policy=retry,
                circuit_policy=circuit,
                jitter=jitter,
            )
        finally:
            await auth.close()


def _auth(
    target: Target,
    *,
    iam: HttpTransport,
    local: HttpTransport,
    environ: Mapping[str, str],
    metadata_url: str,
    clock: Clock,
    on_change: Callable[[float | None], None],
) -> Auth:
    iam_endpoint = _base(target.iam_endpoint) if target.iam_endpoint else ""
    provider: KeyProvider
    match target.credentials:
        case Password(username=username, password=password, domain_name=domain_name):
            return TokenAuth(
                username=username,
                password=password,
                domain_name=domain_name,
                iam=iam,
                iam_endpoint=iam_endpoint,
                project_id=target.project_id,
                project_name=target.project_name,
                clock=clock,
                on_change=on_change,
            )
        case AkSk(access_key=access, secret_key=secret, security_token=security_token):
            provider = StaticKeys(access=access, secret=secret, security_token=security_token)
        case Metadata():
            node = NodeMetadata(base_url=_base(metadata_url), transport=local, clock=clock)
            provider = LeasedKeys(node.key, clock=clock, on_change=on_change)
        case PodIdentity():  # the settings require both variables
            token = Secret(SecretFile(Path(environ[POD_TOKEN_FILE])), key=POD_TOKEN_FILE)
            pod = PodIdentityService(url=environ[POD_URL], token=token, transport=local, clock=clock)
            provider = LeasedKeys(pod.key, clock=clock, on_change=on_change)
        case _ as other:
            assert_never(other)
    return SigningAuth(
        provider=provider,
        iam=iam,
        iam_endpoint=iam_endpoint,
        project_id=target.project_id,
        project_name=target.project_name,
        clock=clock,
        on_change=on_change,
    )


def _base(url: str) -> str:
    """Normalise a URL (international names, default ports), without the slash at its end."""
    return str(URL(url)).rstrip("/")


def _tls(tls: Tls) -> ssl.SSLContext | bool:
    if tls.insecure_skip_verify:
        return False
    return ssl.create_default_context(cafile=tls.ca_file) if tls.ca_file else True
