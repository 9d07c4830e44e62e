"""Temporary access keys: one object in three spellings, replaced before it expires (API reference §9.3)."""

from collections.abc import Awaitable, Callable, Sequence

from exporter.cloud.auth.credentials import AccessKey
from exporter.cloud.auth.lease import Lease, LeaseRenewer
from exporter.cloud.http.errors import InvalidResponse
from exporter.cloud.http.response import Response, parse_time, read_response
from exporter.domain.source import Clock

_SPELLINGS = {
    "access": ("access", "accessKeyId", "access_key_id"),
    "secret": ("secret", "secretAccessKey", "secret_access_key"),
    "securitytoken": ("securitytoken", "securityToken", "security_token"),
    "expires_at": ("expires_at", "expiresAt", "expiration"),
}


class LeasedKeys:
    """Provides the keys that `fetch` returns. They are fetched when first needed, and again before they expire."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Lease[AccessKey]]],
        *,
        clock: Clock,
        on_change: Callable[[float | None], None],
    ) -> None:
        self._renewer = LeaseRenewer(fetch, clock=clock, on_change=on_change)
        self._lease: Lease[AccessKey] | None = None

    async def key(self) -> AccessKey:
        """Return the key to sign with now. Raises CloudError."""
        self._lease = await self._renewer.current()
        return self._lease.value

    async def renew(self, refused: AccessKey) -> bool:
        """Fetch a new key, unless the refused one was already replaced."""
        if self._lease is None or self._lease.value != refused:
            return self._lease is not None
        return await self._renewer.renew(self._lease)

    async def close(self) -> None:
        """Cancel a running fetch."""
        await self._renewer.close()


def read_lease(response: Response, *, operation: str, now: float, redact: Sequence[str] = ()) -> Lease[AccessKey]:
    """Read a key with its lifetime. Raises CloudError; InvalidResponse names a field that is missing."""
    credential = read_response(response, dict[str, object], operation=operation, now=now, redact=redact) or {}
    for wrapper in ("credential", "credentials"):
        inner = credential.get(wrapper)
        if isinstance(inner, dict):
            credential = inner
            break
    found: dict[str, str] = {}
    for field, spellings in _SPELLINGS.items():
        value = next((credential[name] for name in spellings if credential.get(name)), None)
        if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
            raise InvalidResponse(operation, f"no text in `{field}` of the credential", status=response.status)
        found[field] = value
    expires_at = parse_time(found["expires_at"])
    if expires_at is None:
        raise InvalidResponse(operation, "no date in `expires_at` of the credential", status=response.status)
    key = AccessKey(
        access=found["access"],
        secret=found["secret"],
        security_token=found["securitytoken"],
        expires_at=expires_at,
    )
    return Lease(value=key, obtained_at=now, expires_at=expires_at)
