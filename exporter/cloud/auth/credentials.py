"""Access keys, and whoever provides them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from exporter.cloud.http.errors import Denied
from exporter.settings.secret import SecretUnreadable

CREDENTIALS = "credentials"
"""Operation of a failure that is ours alone: no credential to be had, so nothing was sent."""

Secret = Callable[[], str]
"""Gives a secret as it is now: asked at each use, so that a rotated file counts from the next call on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A key pair; a temporary one must travel with its security token."""

    access: str
    secret: str = field(repr=False)
    security_token: str = field(default="", repr=False)
    expires_at: float | None = None
    """Seconds since the epoch; None: it does not expire."""


class KeyProvider(Protocol):
    """Whoever has access keys. Raises CloudError when there is none to be had."""

    async def key(self) -> AccessKey:
        """Give the key to sign with now."""
        ...

    async def renew(self, refused: AccessKey) -> bool:
        """Look for another key than the one the cloud refused; False: there is none, asking again is pointless."""
        ...

    async def close(self) -> None:
        """Stop what runs in the background."""
        ...


class StaticKeys:
    """Keys from the settings: read anew at each use, never cached."""

    def __init__(self, *, access: Secret, secret: Secret, security_token: Secret | None = None) -> None:
        self._access = access
        self._secret = secret
        self._security_token = security_token

    async def key(self) -> AccessKey:
        """Read the pair. Raises Denied when a part cannot be read."""
        return AccessKey(
            access=header_text(self._access, what="the access key"),
            secret=header_text(self._secret, what="the secret key"),
            security_token=header_text(self._security_token, what="the security token")
            if self._security_token
            else "",
        )

    async def renew(self, refused: AccessKey) -> bool:
        """Whether the files hold another pair by now."""
        return await self.key() != refused

    async def close(self) -> None:
        """Do nothing: nothing runs."""


def revealed(secret: Secret, *, what: str) -> str:
    """Read a secret. Raises Denied with one sentence that holds nothing of its content."""
    reason = "it is empty"
    try:
        text = secret()
    except SecretUnreadable as error:
        text, reason = "", str(error)  # that text is made to be shown
    except Exception as error:  # noqa: BLE001 - whatever keeps a secret from being read, the call is denied
        text, reason = "", type(error).__name__  # a stranger's text may quote the secret
    if not text:
        raise Denied(CREDENTIALS, f"{what} cannot be read: {reason}")
    return text


def header_text(secret: Secret, *, what: str) -> str:
    """Read a secret that travels in a header, without the white space around it. Raises Denied."""
    text = revealed(secret, what=what).strip()
    if not text or not (text.isascii() and text.isprintable()):
        raise Denied(CREDENTIALS, f"{what} is empty or holds characters no key has")
    return text
