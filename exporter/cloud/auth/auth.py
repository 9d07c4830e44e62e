"""As whom a target is asked: the protocol, and signing each request with an access key."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import msgspec

from exporter.cloud.auth.credentials import AccessKey, KeyProvider
from exporter.cloud.auth.sign import sign
from exporter.cloud.http import response
from exporter.cloud.http.errors import Refused
from exporter.cloud.http.request import Request, query_text
from exporter.cloud.http.transport import HttpTransport
from exporter.domain.source import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedHeaders:
    """What one request is sent with: all its headers, and by which credential."""

    headers: Mapping[str, str] = field(repr=False)
    unsaid: Sequence[str] = field(repr=False)
    """Secrets among the headers: to be blanked out should the cloud repeat them in an error."""
    credential: object = field(repr=False)
    """The credential itself, for `renew`."""


class Auth(Protocol):
    """Whoever vouches for the requests of one target. Raises CloudError where no credential is to be had."""

    async def project_id(self) -> str:
        """The id of the project in the cloud; asked for once where only its name is known."""
        ...

    async def authorize(self, request: Request) -> SignedHeaders:
        """Vouch for this request, now: a signature is good for one sending."""
        ...

    async def renew(self, refused: SignedHeaders) -> bool:
        """After a 401: whether there is another credential than the refused one, so that asking again has a point."""
        ...

    async def close(self) -> None:
        """Stop what runs in the background."""
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
        changed: Callable[[float | None], None],
    ) -> None:
        self._provider = provider
        self._iam = iam
        self._iam_endpoint = iam_endpoint
        self._project_id = project_id
        self._project_name = project_name
        self._clock = clock
        self._changed = changed
        self._lasting: AccessKey | None = None
        self._lookup = asyncio.Lock()

    async def project_id(self) -> str:
        """Give the configured id, or the one IAM has for the configured name."""
        if not self._project_id:
            async with self._lookup:
                if not self._project_id:
                    self._project_id = await self._looked_up()
        return self._project_id

    async def authorize(self, request: Request) -> SignedHeaders:
        """Sign, with X-Project-Id among the signed headers."""
        headers = {**request.headers, "X-Project-Id": await self.project_id()}
        return await self._signed(replace(request, headers=headers))

    async def renew(self, refused: SignedHeaders) -> bool:
        """Ask the provider for another key."""
        return isinstance(refused.credential, AccessKey) and await self._provider.renew(refused.credential)

    async def close(self) -> None:
        """Stop the provider's refresh."""
        await self._provider.close()

    async def _signed(self, request: Request) -> SignedHeaders:
        key = await self._provider.key()
        if key.expires_at is None and key != self._lasting:
            self._lasting = key
            self._changed(None)
        headers = sign(request, key, at=self._clock.time())
        unsaid = (key.access, key.secret, key.security_token, headers["Authorization"].rpartition("=")[2])
        return SignedHeaders(headers=headers, unsaid=unsaid, credential=key)

    async def _looked_up(self) -> str:
        request = Request(
            operation="iam_projects",
            method="GET",
            base=self._iam_endpoint,
            path="/v3/projects",
            query=query_text({"name": self._project_name}),
        )
        grant = await self._signed(request)
        found = await self._iam.ask(
            request,
            headers=grant.headers,
            read=partial(
                response.read,
                answer=_Projects,
                operation=request.operation,
                now=self._clock.time(),
                unsaid=grant.unsaid,
            ),
        )
        for project in found.projects if found else ():
            if project.name == self._project_name:
                return project.id
        raise Refused(
            request.operation, f"there is no project {response.sanitize(self._project_name)}, or it is not ours"
        )
