"""Keys of the node's agency, from the metadata service of the ECS (API reference §9.3)."""

from http import HTTPStatus

from exporter.cloud.auth.credentials import AccessKey
from exporter.cloud.auth.lease import Lease
from exporter.cloud.auth.temporary import read_lease
from exporter.cloud.http.errors import CloudError, Denied, InvalidResponse, Refused
from exporter.cloud.http.request import Request
from exporter.cloud.http.response import Response, error_for
from exporter.cloud.http.transport import HttpTransport
from exporter.domain.source import Clock

_TOKEN_LIFETIME_S = 21_600  # the longest that the service allows
_TOKENS_UNAVAILABLE = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.SERVICE_UNAVAILABLE)


class NodeMetadata:
    """The metadata service. The node rotates its keys ten minutes before they expire."""

    def __init__(self, *, base_url: str, transport: HttpTransport, clock: Clock) -> None:
        self._base_url = base_url
        self._transport = transport
        self._clock = clock
        self._token = ""
        self._token_until = 0.0

    async def key(self) -> Lease[AccessKey]:
        """Fetch the agency's key, with a new session token if the old one is refused. Raises CloudError.

        Denied: the node has no agency.
        """
        try:
            return await self._fetch_key(await self._session_token())
        except Denied as denied:
            if denied.status != HTTPStatus.UNAUTHORIZED:
                raise
        self._token = ""
        return await self._fetch_key(await self._session_token())

    async def _fetch_key(self, token: str) -> Lease[AccessKey]:
        operation = "metadata_key"
        request = Request(
            operation=operation, method="GET", base=self._base_url, path="/openstack/latest/securitykey"
        )
        now = self._clock.time()
        try:
            return await self._transport.send(
                request,
                headers={"X-Metadata-Token": token} if token else {},
                read=lambda response: read_lease(response, operation=operation, now=now, redact=(token,)),
            )
        except Refused as error:
            raise Denied(operation, "the node has no agency to take a key from", status=error.status) from None

    async def _session_token(self) -> str:
        """Return the session token; empty where the service has no session tokens, or not now."""
        now = self._clock.time()
        if self._token and now < self._token_until:
            return self._token
        operation = "metadata_token"
        request = Request(operation=operation, method="PUT", base=self._base_url, path="/meta-data/latest/api/token")
        try:
            token = await self._transport.send(
                request,
                headers={"X-Metadata-Token-Ttl-Seconds": str(_TOKEN_LIFETIME_S)},
                read=lambda response: _read_token(response, operation=operation, now=now),
            )
        except CloudError as error:
            if error.status in _TOKENS_UNAVAILABLE:
                return ""
            raise
        self._token, self._token_until = token, now + 0.8 * _TOKEN_LIFETIME_S
        return token


def _read_token(response: Response, *, operation: str, now: float) -> str:
    error = error_for(response, operation=operation, now=now)
    if error is not None:
        raise error
    token = response.body.decode("latin-1").strip()
    if not token or not (token.isascii() and token.isprintable()):
        raise InvalidResponse(operation, "the body is not a token", status=response.status)
    return token
