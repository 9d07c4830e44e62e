"""Keys of the pod's identity, which CCE mounts into the pod (API reference §9.3)."""

from yarl import URL

from exporter.cloud.auth.credentials import AccessKey, reveal_header
from exporter.cloud.auth.lease import Lease
from exporter.cloud.auth.temporary import read_lease
from exporter.cloud.http.request import Request
from exporter.cloud.http.transport import HttpTransport
from exporter.domain.source import Clock
from exporter.settings.secret import Secret

_OPERATION = "pod_identity_key"


class PodIdentityService:
    """The service at HC_CONTAINER_CREDENTIALS_FULL_URI, with the token of HC_CONTAINER_AUTHORIZATION_TOKEN_FILE."""

    def __init__(self, *, url: str, token: Secret, transport: HttpTransport, clock: Clock) -> None:
        self._url = URL(url)
        self._token = token
        self._transport = transport
        self._clock = clock

    async def key(self) -> Lease[AccessKey]:
        """Fetch a key. The token is read at each fetch, because it is rotated. Raises CloudError."""
        token = reveal_header(self._token, what="the pod's token")
        now = self._clock.time()
        request = Request(
            operation=_OPERATION,
            method="POST",
            base=str(self._url.origin()),
            path=self._url.raw_path,
            query=self._url.raw_query_string,
            body=b"{}",
        )
        return await self._transport.send(
            request,
            headers={"Authorization": token, "Content-Type": "application/json"},
            read=lambda response: read_lease(response, operation=_OPERATION, now=now, redact=(token,)),
        )
