"""A token of IAM, bought with a password (API reference §9.1)."""

from collections.abc import Callable
from http import HTTPStatus

import msgspec

from exporter.cloud.auth.auth import SignedHeaders
from exporter.cloud.auth.credentials import Secret, revealed
from exporter.cloud.auth.lease import Lease, Renewing
from exporter.cloud.http import response
from exporter.cloud.http.errors import InvalidResponse, Refused
from exporter.cloud.http.request import Request
from exporter.cloud.http.transport import HttpTransport
from exporter.domain.source import Clock

OPERATION = "iam_token"


class _Project(msgspec.Struct):
    id: str


class _Token(msgspec.Struct):
    expires_at: str
    project: _Project


class _Issued(msgspec.Struct):
    token: _Token


class TokenAuth:
    """Sends an `X-Auth-Token` (trap 31), scoped to the project whose id stands in the URLs (trap 33).

    The token lasts a day, is renewed at 80 % of that, and once when the cloud refuses it earlier.
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
        changed: Callable[[float | None], None],
    ) -> None:
        self._username = username
        self._password = password
        self._domain_name = domain_name
        self._iam = iam
        self._iam_endpoint = iam_endpoint
        self._wanted_id = project_id
        self._project_name = project_name
        self._clock = clock
        self._project_id = project_id
        self._renewing = Renewing(self._bought, clock=clock, changed=changed)

    async def project_id(self) -> str:
        """Give the configured id, or the one of the project the token is scoped to."""
        if not self._project_id:
            await self._renewing.current()
        return self._project_id

    async def authorize(self, request: Request) -> SignedHeaders:
        """Send the token; bought now where there is none. Raises CloudError of IAM."""
        lease = await self._renewing.current()
        headers = {"Host": request.host, **request.headers, "X-Auth-Token": lease.value}
        return SignedHeaders(headers=headers, unsaid=(lease.value,), credential=lease)

    async def renew(self, refused: SignedHeaders) -> bool:
        """Buy another token, unless that was done already."""
        return isinstance(refused.credential, Lease) and await self._renewing.renew(refused.credential)

    async def close(self) -> None:
        """Stop a purchase that is under way."""
        await self._renewing.close()

    async def _bought(self) -> Lease[str]:
        password = revealed(self._password, what="the password")
        user = {
            "name": revealed(self._username, what="the user name"),
            "password": password,
            "domain": {"name": revealed(self._domain_name, what="the domain name")},
        }
        scope = {"id": self._wanted_id} if self._wanted_id else {"name": self._project_name}
        order = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": scope}}
        request = Request(
            operation=OPERATION,
            method="POST",
            base=self._iam_endpoint,
            path="/v3/auth/tokens",
            query="nocatalog=true",
            headers={"Content-Type": "application/json"},
            body=msgspec.json.encode({"auth": order}),
        )
        obtained_at = self._clock.time()

        def taken(reply: response.Response) -> Lease[str]:
            issued = response.read(reply, _Issued, operation=OPERATION, now=obtained_at, unsaid=(password,))
            token = reply.headers.get("X-Subject-Token", "")  # trap 32: it is not in the body
            expires_at = response.expiry(issued.token.expires_at) if issued else None
            if issued is None or not token or expires_at is None:
                what = "`X-Subject-Token`" if not token else "date in `$.token.expires_at`"
                raise InvalidResponse(OPERATION, f"the answer has no {what}", status=reply.status)
            if self._wanted_id and issued.token.project.id != self._wanted_id:
                raise Refused(OPERATION, "the token is for another project", status=HTTPStatus.OK)
            self._project_id = issued.token.project.id
            return Lease(value=token, obtained_at=obtained_at, expires_at=expires_at)

        return await self._iam.ask(request, headers={"Host": request.host, **request.headers}, read=taken)
