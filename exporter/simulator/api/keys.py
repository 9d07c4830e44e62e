"""Valid credentials: access keys, temporary keys and tokens, and the lock-out after failed signatures."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from exporter.simulator import options as known
from exporter.simulator.options import Options

LOCKED_AFTER = 5
"""Consecutive failed signatures that lock an access key."""
LOCKED_S = 300.0
"""How long an access key stays locked."""
ROTATE_BEFORE_S = 600.0
"""Temporary keys are replaced this long before they expire; until then the old ones stay valid."""
METADATA_TOKEN_S = 21_600.0
"""Longest lifetime of a metadata token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An IAM token, scoped to one project; project "" is a domain token, valid for no project."""

    text: str
    project: str
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporaryKey:
    """Temporary keys of the node's agency or of a pod."""

    access: str
    secret: str
    security_token: str
    expires_at: float


class Keys:
    """Valid and issued credentials. `time` is the client's clock, not the simulated time."""

    def __init__(self, options: Options, *, time: Callable[[], float]) -> None:
        self._options = options
        self._time = time
        self._issued = 0
        self._tokens: dict[str, Token] = {}
        self._temporary: dict[str, TemporaryKey] = {}
        self._newest: dict[str, TemporaryKey] = {}
        self._metadata_tokens: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._locked_until: dict[str, float] = {}
        self.access_key = known.ACCESS_KEY
        self.secret_key = known.SECRET_KEY
        self.user = known.USER
        self.password = known.PASSWORD
        self.domain = known.DOMAIN
        self.pod_identity_token = known.POD_IDENTITY_TOKEN

    # Signatures

    def secret(self, access_key: str) -> str | None:
        """Secret key of an access key; None for an unknown or expired one."""
        if access_key == self.access_key:
            return self.secret_key
        temporary = self._temporary.get(access_key)
        return temporary.secret if temporary and temporary.expires_at > self._time() else None

    def security_token(self, access_key: str) -> str | None:
        """Required X-Security-Token; None for a permanent key."""
        temporary = self._temporary.get(access_key)
        return temporary.security_token if temporary else None

    def is_locked(self, access_key: str) -> bool:
        """Whether the access key is locked after too many failed signatures."""
        return self._locked_until.get(access_key, 0.0) > self._time()

    def record_failure(self, access_key: str) -> None:
        """Count a failed signature; the fifth consecutive one locks the key for five minutes."""
        self._failures[access_key] = self._failures.get(access_key, 0) + 1
        if self._failures[access_key] >= LOCKED_AFTER:
            self._locked_until[access_key] = self._time() + LOCKED_S
            self._failures[access_key] = 0

    def record_success(self, access_key: str) -> None:
        """Reset the count of failed signatures."""
        self._failures.pop(access_key, None)

    def rotate(
        self, *, access_key: str | None = None, secret_key: str | None = None, password: str | None = None
    ) -> None:
        """Replace permanent credentials; the old ones become invalid. A new password expires every token."""
        self.access_key = access_key or self.access_key
        self.secret_key = secret_key or self.secret_key
        if password:
            self.password = password
            self.expire_tokens()

    # Tokens

    def issue_token(self, project: str) -> Token:
        """Issue a token for a project id; "" issues a domain token."""
        text = self._random_hex("token")
        token = Token(text=text * 20, project=project, expires_at=self._time() + self._options.token_lifetime_s)
        self._tokens = {key: each for key, each in self._tokens.items() if each.expires_at > self._time() - 86_400}
        self._tokens[token.text] = token
        return token

    def token(self, text: str) -> Token | None:
        """Return the token with that text, expired or not; None if it was never issued."""
        return self._tokens.get(text)

    def expire_tokens(self) -> None:
        """Expire every token issued so far."""
        self._tokens = {
            key: Token(text=each.text, project=each.project, expires_at=self._time())
            for key, each in self._tokens.items()
        }

    # Temporary keys

    def temporary(self, holder: str) -> TemporaryKey:
        """Return the newest temporary keys of a holder; they are replaced ten minutes before they expire."""
        now = self._time()
        newest = self._newest.get(holder)
        if newest is None or newest.expires_at - now < min(ROTATE_BEFORE_S, self._options.temporary_lifetime_s / 2):
            newest = TemporaryKey(
                access=f"TEMP{self._random_hex('access')[:16].upper()}",
                secret=self._random_hex("secret")[:40],
                security_token=self._random_hex("security") * 4,
                expires_at=now + self._options.temporary_lifetime_s,
            )
            self._newest[holder] = newest
            self._temporary[newest.access] = newest
        return newest

    def expire_temporary(self) -> None:
        """Invalidate every temporary key issued so far; the next call issues new ones."""
        self._temporary.clear()
        self._newest.clear()

    def issue_metadata_token(self, lifetime_s: float) -> str:
        """Issue a token for the metadata service."""
        text = self._random_hex("metadata")
        self._metadata_tokens[text] = self._time() + lifetime_s
        return text

    def metadata_token_valid(self, text: str) -> bool:
        """Whether that metadata token was issued and has not expired."""
        return self._metadata_tokens.get(text, 0.0) > self._time()

    def pod_token_valid(self, authorization: str) -> bool:
        """Whether that is the pod-identity token."""
        return hmac.compare_digest(authorization.encode(), self.pod_identity_token.encode())

    def _random_hex(self, kind: str) -> str:
        self._issued += 1
        return hashlib.sha256(f"{self._options.seed}/{kind}/{self._issued}".encode()).hexdigest()
