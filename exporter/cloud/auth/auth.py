"""The protocol of authentication, and its implementation that signs each request with an access key."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import msgspec

from exporter.cloud.auth.credentials import AccessKey, KeyProvider
from exporter.cloud.auth.sign import sign
from exporter.cloud.http.errors import Refused
from exporter.cloud.http.request import Request, encode_query
from exporter.cloud.http.response import read_response, sanitize
from exporter.cloud.http.transport import HttpTransport
from exporter.domain.source import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedHeaders:
    """The headers of one request, and the credential they were made with."""

    headers: Mapping[str, str] = field(repr=False)
    redact: Sequence[str] = field(repr=False)
    """Secrets in the headers; masked where the cloud repeats them in an error."""
    credential: object = field(repr=False)
    """Passed back to `renew`."""


class Auth(Protocol):
    """Authenticates the requests of one target. Raises CloudError where no credential is available."""

    async def project_id(self) -> str:
        """Return the id of the project in the cloud; looked up once where only its name is known."""
        ...

    async def authorize(self, request: Request) -> SignedHeaders:
        """Return the headers to send this request with, once and now."""
        ...

    async def renew(self, refused: SignedHeaders) -> bool:
        """Try to get another credential after a 401. Returns whether there is one to retry with."""
        ...

    async def close(self) -> None:
        """Stop background tasks."""
        ...


class _Project(msgspec.Struct):
    id: str
    name: str


class _Projects(msgspec.Struct):
    projects: list[_Project]


class SigningAuth:
    """Signs each request with an access key (`SDK-HMAC-SHA256`)."""

    def __init__(
        self,
        *,
        provider: KeyProvider,
        iam: HttpTransport,
        iam_endpoint: str,
        project_id: str,
        project_name: str,
        clock: Clock,
        on_change: Callable[[float | None], None],
    ) -> None:
        self._provider = provider
        self._iam = iam
        self._iam_endpoint = iam_endpoint
        self._project_id = project_id
        self._project_name = project_name
        self._clock = clock
        self._on_change = on_change
        self._permanent_key: AccessKey | None = None
        self._lookup_lock = asyncio.Lock()

    async def project_id(self) -> str:
        """Return the configured id, or the one that IAM has for the configured name."""
        if not self._project_id:
            async with self._lookup_lock:
                if not self._project_id:
                    self._project_id = await self._look_up_project()
        return self._project_id

    async def authorize(self, request: Request) -> SignedHeaders:
        """Sign the request, with X-Project-Id among the signed headers."""
        headers = {**request.headers, "X-Project-Id": await self.project_id()}
        return await self._sign(replace(request, headers=headers))

    async def renew(self, refused: SignedHeaders) -> bool:
        """Try to get another key from the provider."""
        return isinstance(refused.credential, AccessKey) and await self._provider.renew(refused.credential)

    async def close(self) -> None:
        """Stop the provider."""
        await self._provider.close()

    async def _sign(self, request: Request) -> SignedHeaders:
        key = await self._provider.key()
        if key.expires_at is None and key != self._permanent_key:
            self._permanent_key = key
            self._on_change(None)
        headers = sign(request, key, at=self._clock.time())
        redact = (key.access, key.secret, key.security_token, headers["Authorization"].rpartition("=")[2])
        return SignedHeaders(headers=headers, redact=redact, credential=key)

    async def _look_up_project(self) -> str:
        request = Request(
            operation="iam_projects",
            method="GET",
            base=self._iam_endpoint,
            path="/v3/projects",
            query=encode_query({"name": self._project_name}),
        )
        signed = await self._sign(request)
        found = await self._iam.send(
            request,
            headers=signed.headers,
            read=partial(
                read_response,
                answer=_Projects,
                operation=request.operation,
                now=self._clock.time(),
                redact=signed.redact,
            ),
        )
        for project in found.projects if found else ():
            if project.name == self._project_name:
                return project.id
        raise Refused(
            request.operation, f"there is no project {sanitize(self._project_name)}, or the credential has no access"
        )
