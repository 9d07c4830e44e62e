"""Temporary access keys: one object, spelled in three ways, and replaced before it runs out (API reference §9.3)."""

from collections.abc import Awaitable, Callable, Sequence

from exporter.cloud.auth.credentials import AccessKey
from exporter.cloud.auth.lease import Lease, Renewing
from exporter.cloud.http import response
from exporter.cloud.http.errors import InvalidResponse
from exporter.domain.source import Clock

_SPELLINGS = {
    "access": ("access", "accessKeyId", "access_key_id"),
    "secret": ("secret", "secretAccessKey", "secret_access_key"),
    "securitytoken": ("securitytoken", "securityToken", "security_token"),
    "expires_at": ("expires_at", "expiresAt", "expiration"),
}


class LeasedKeys:
    """Provides the keys that `fetch` brings: fetched when first needed, and again before they run out."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Lease[AccessKey]]],
        *,
        clock: Clock,
        changed: Callable[[float | None], None],
    ) -> None:
        self._renewing = Renewing(fetch, clock=clock, changed=changed)
        self._lease: Lease[AccessKey] | None = None

    async def key(self) -> AccessKey:
        """Give the key to sign with now. Raises CloudError."""
        self._lease = await self._renewing.current()
        return self._lease.value

    async def renew(self, refused: AccessKey) -> bool:
        """Fetch again, unless another key than the refused one came meanwhile."""
        if self._lease is None or self._lease.value != refused:
            return self._lease is not None
        return await self._renewing.renew(self._lease)

    async def close(self) -> None:
        """Stop a fetch that is under way."""
        await self._renewing.close()


def lease_of(reply: response.Response, *, operation: str, now: float, unsaid: Sequence[str] = ()) -> Lease[AccessKey]:
    """Read a key with its lifetime. Raises CloudError; an incomplete one is Unintelligible and names the field."""
    told = response.read(reply, dict[str, object], operation=operation, now=now, unsaid=unsaid)
    credential = told or {}
    for wrapper in ("credential", "credentials"):
        inner = credential.get(wrapper)
        if isinstance(inner, dict):
            credential = inner
            break
    found: dict[str, str] = {}
    for field, spellings in _SPELLINGS.items():
        value = next((credential[name] for name in spellings if credential.get(name)), None)
        if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
            raise InvalidResponse(operation, f"no text in `{field}` of the credential", status=reply.status)
        found[field] = value
    expires_at = response.expiry(found["expires_at"])
    if expires_at is None:
        raise InvalidResponse(operation, "no date in `expires_at` of the credential", status=reply.status)
    key = AccessKey(
        access=found["access"],
        secret=found["secret"],
        security_token=found["securitytoken"],
        expires_at=expires_at,
    )
    return Lease(value=key, obtained_at=now, expires_at=expires_at)
