"""A token of IAM, requested with a password (API reference §9.1)."""

from collections.abc import Callable
from http import HTTPStatus

import msgspec

from exporter.cloud.auth.auth import SignedHeaders
from exporter.cloud.auth.credentials import reveal
from exporter.cloud.auth.lease import Lease, LeaseRenewer
from exporter.cloud.http.errors import InvalidResponse, Refused
from exporter.cloud.http.request import Request
from exporter.cloud.http.response import Response, parse_time, read_response
from exporter.cloud.http.transport import HttpTransport
from exporter.domain.source import Clock
from exporter.settings.secret import Secret

OPERATION = "iam_token"


class _Project(msgspec.Struct):
    id: str


class _TokenBody(msgspec.Struct):
    expires_at: str
    project: _Project


class _TokenResponse(msgspec.Struct):
    token: _TokenBody


class TokenAuth:
    """Sends an `X-Auth-Token` (trap 31), scoped to the project whose id is in the URLs (trap 33).

    The token is valid for a day. It is renewed at 80 % of that, and once when the cloud refuses it earlier.
    """

    def __init__(
        self,
        *,
        username: Secret,
        password: Secret,
        domain_name: Secret,
        iam: HttpTransport,
        iam_endpoint: str,
        project_id: str,
        project_name: str,
        clock: Clock,
        on_change: Callable[[float | None], None],
    ) -> None:
        self._username = username
        self._password = password
        self._domain_name = domain_name
        self._iam = iam
        self._iam_endpoint = iam_endpoint
        self._configured_id = project_id
        self._project_name = project_name
        self._clock = clock
        self._project_id = project_id
        self._renewer = LeaseRenewer(self._fetch_token, clock=clock, on_change=on_change)

    async def project_id(self) -> str:
        """Return the configured id, or the id of the project that the token is scoped to."""
        if not self._project_id:
            await self._renewer.current()
        return self._project_id

    async def authorize(self, request: Request) -> SignedHeaders:
        """Return headers with the token, which is requested first where there is none. Raises CloudError of IAM."""
        lease = await self._renewer.current()
        headers = {"Host": request.host, **request.headers, "X-Auth-Token": lease.value}
        return SignedHeaders(headers=headers, redact=(lease.value,), credential=lease)

    async def renew(self, refused: SignedHeaders) -> bool:
        """Request another token, unless the refused one was already replaced."""
        return isinstance(refused.credential, Lease) and await self._renewer.renew(refused.credential)

    async def close(self) -> None:
        """Cancel a running token request."""
        await self._renewer.close()

    async def _fetch_token(self) -> Lease[str]:
        password = reveal(self._password, what="the password")
        user = {
            "name": reveal(self._username, what="the user name"),
            "password": password,
            "domain": {"name": reveal(self._domain_name, what="the domain name")},
        }
        scope = {"id": self._configured_id} if self._configured_id else {"name": self._project_name}
        login = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": scope}}
        request = Request(
            operation=OPERATION,
            method="POST",
            base=self._iam_endpoint,
            path="/v3/auth/tokens",
            query="nocatalog=true",
            headers={"Content-Type": "application/json"},
            body=msgspec.json.encode({"auth": login}),
        )
        obtained_at = self._clock.time()

        def read_token(response: Response) -> Lease[str]:
            issued = read_response(response, _TokenResponse, operation=OPERATION, now=obtained_at, redact=(password,))
            token = response.headers.get("X-Subject-Token", "")  # trap 32: it is not in the body
            expires_at = parse_time(issued.token.expires_at) if issued else None
            if issued is None or not token or expires_at is None:
                what = "`X-Subject-Token`" if not token else "date in `$.token.expires_at`"
                raise InvalidResponse(OPERATION, f"the response has no {what}", status=response.status)
            if self._configured_id and issued.token.project.id != self._configured_id:
                raise Refused(OPERATION, "the token is for another project", status=HTTPStatus.OK)
            self._project_id = issued.token.project.id
            return Lease(value=token, obtained_at=obtained_at, expires_at=expires_at)

        return await self._iam.send(request, headers={"Host": request.host, **request.headers}, read=read_token)
