"""Access keys and their providers, and reading secrets."""

from dataclasses import dataclass, field
from typing import Protocol

from exporter.cloud.http.errors import Denied
from exporter.settings.secret import Secret, SecretUnreadable

CREDENTIALS = "credentials"
"""Operation of an error without a request: no credential was available, so nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A key pair; a temporary one is sent with its security token."""

    access: str
    secret: str = field(repr=False)
    security_token: str = field(default="", repr=False)
    expires_at: float | None = None
    """Seconds since the epoch; None: it does not expire."""


class KeyProvider(Protocol):
    """Provides access keys. Raises CloudError when none is available."""

    async def key(self) -> AccessKey:
        """Return the key to sign with now."""
        ...

    async def renew(self, refused: AccessKey) -> bool:
        """Try to get another key after the cloud refused this one. False: there is no other key."""
        ...

    async def close(self) -> None:
        """Stop background tasks."""
        ...


class StaticKeys:
    """Keys from the settings, read at each use, so that a rotated file counts from the next call on."""

    def __init__(self, *, access: Secret, secret: Secret, security_token: Secret | None = None) -> None:
        self._access = access
        self._secret = secret
        self._security_token = security_token

    async def key(self) -> AccessKey:
        """Read the pair. Raises Denied when a part cannot be read."""
        return AccessKey(
            access=reveal_header(self._access, what="the access key"),
            secret=reveal_header(self._secret, what="the secret key"),
            security_token=reveal_header(self._security_token, what="the security token")
            if self._security_token
            else "",
        )

    async def renew(self, refused: AccessKey) -> bool:
        """Return whether the files hold another pair now."""
        return await self.key() != refused

    async def close(self) -> None:
        """Do nothing: there are no background tasks."""


def reveal(secret: Secret, *, what: str) -> str:
    """Read a secret. Raises Denied with a sentence that holds nothing of its content."""
    reason = "it is empty"
    try:
        text = secret.reveal()
    except SecretUnreadable as error:
        text, reason = "", str(error)  # this text is safe to show
    except Exception as error:  # noqa: BLE001 - any failure to read a secret denies the call
        text, reason = "", type(error).__name__  # the text of another error may quote the secret
    if not text:
        raise Denied(CREDENTIALS, f"{what} cannot be read: {reason}")
    return text


def reveal_header(secret: Secret, *, what: str) -> str:
    """Read a secret for a header, without surrounding white space. Raises Denied."""
    text = reveal(secret, what=what).strip()
    if not text or not (text.isascii() and text.isprintable()):
        raise Denied(CREDENTIALS, f"{what} is empty or has characters that no header may have")
    return text
