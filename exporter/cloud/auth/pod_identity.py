"""Keys of the pod's identity, as CCE mounts it (API reference §9.3)."""

from yarl import URL

from exporter.cloud.auth.credentials import AccessKey, Secret, header_text
from exporter.cloud.auth.lease import Lease
from exporter.cloud.auth.temporary import lease_of
from exporter.cloud.http.request import Request
from exporter.cloud.http.transport import HttpTransport
from exporter.domain.source import Clock

_OPERATION = "pod_identity_key"


class PodIdentity:
    """The address in HC_CONTAINER_CREDENTIALS_FULL_URI, and the token in HC_CONTAINER_AUTHORIZATION_TOKEN_FILE."""

    def __init__(self, *, url: str, token: Secret, transport: HttpTransport, clock: Clock) -> None:
        self._url = URL(url)
        self._token = token
        self._exchange = transport
        self._clock = clock

    async def key(self) -> Lease[AccessKey]:
        """Fetch a key; the token is read at each fetch, for it is rotated. Raises CloudError."""
        token = header_text(self._token, what="the pod's token")
        now = self._clock.time()
        request = Request(
            operation=_OPERATION,
            method="POST",
            base=str(self._url.origin()),
            path=self._url.raw_path,
            query=self._url.raw_query_string,
            body=b"{}",
        )
        return await self._exchange.ask(
            request,
            headers={"Authorization": token, "Content-Type": "application/json"},
            read=lambda reply: lease_of(reply, operation=_OPERATION, now=now, unsaid=(token,)),
        )
