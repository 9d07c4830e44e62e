"""Verifies passwords against bcrypt hashes: off the event loop, cached when valid, equally slow for unknown users."""

import asyncio
import base64
import binascii
import hmac
import os
import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

import bcrypt

from exporter.web.connection_pool import client_network

_MAX_BYTES = 72  # bcrypt ignores further bytes, both here and where the hashes are made
_CACHE_SIZE = 128
_NICENESS = 10


class Verdict(Enum):
    """Result of verifying credentials."""

    VALID = "valid"
    INVALID = "invalid"
    BUSY = "busy"
    """Too many verifications are pending; try again later."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """User and password of a request, not verified yet."""

    user: bytes
    password: bytes = field(repr=False)


def parse_basic_auth(authorization: str) -> Credentials | None:
    """Parse an Authorization header of the Basic scheme (RFC 7617). None for anything else."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        return None
    return Credentials(user, password) if colon else None


class PasswordVerifier:
    """Runs bcrypt in one thread. Caps the pending verifications, in all and per client network.

    Valid credentials are cached under a keyed hash: a scrape waits for bcrypt once, and later scrapes do not queue
    behind clients that guess passwords. Invalid credentials are not cached.
    """

    def __init__(
        self,
        *,
        compare: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
        max_pending: int = 32,
        max_pending_per_host: int = 8,
    ) -> None:
        self._compare = compare
        self._max_pending = max_pending
        self._max_pending_per_host = max_pending_per_host
        self._key = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, None] = OrderedDict()
        self._pending: dict[bytes, asyncio.Future[bool]] = {}
        self._pending_by_host: Counter[str] = Counter()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="password", initializer=_lower_priority)

    async def verify(self, credentials: Credentials, users: Mapping[bytes, bytes], *, peer: str) -> Verdict:
        """Verify against `users` (bcrypt hash by user), which must not be empty. `peer` is the client's address."""
        password_hash = users.get(credentials.user)
        digest = self._digest(credentials, password_hash or b"")
        if digest in self._verified:
            self._verified.move_to_end(digest)
            return Verdict.VALID
        pending = self._pending.get(digest)
        if pending is None:
            host = client_network(peer)
            if len(self._pending) >= self._max_pending or self._pending_by_host[host] >= self._max_pending_per_host:
                return Verdict.BUSY
            pending = asyncio.get_running_loop().run_in_executor(
                self._executor,
                self._compare,
                credentials.password[:_MAX_BYTES],
                password_hash or self._dummy_hash(credentials.user, users),
            )
            self._pending[digest] = pending
            self._pending_by_host[host] += 1
            pending.add_done_callback(partial(self._compared, digest, host))
        valid = await asyncio.shield(pending)
        if not valid or password_hash is None:
            return Verdict.INVALID
        self._verified[digest] = None
        if len(self._verified) > _CACHE_SIZE:
            self._verified.popitem(last=False)
        return Verdict.VALID

    def close(self) -> None:
        """Cancel pending verifications."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _compared(self, digest: bytes, host: str, _: asyncio.Future[bool]) -> None:
        del self._pending[digest]
        self._pending_by_host[host] -= 1
        if not self._pending_by_host[host]:
            del self._pending_by_host[host]

    def _digest(self, credentials: Credentials, password_hash: bytes) -> bytes:
        parts = (credentials.user, password_hash, credentials.password)
        return hmac.digest(self._key, b"".join(len(part).to_bytes(4) + part for part in parts), "sha256")

    def _dummy_hash(self, user: bytes, users: Mapping[bytes, bytes]) -> bytes:
        """Return a hash that no password matches. Its cost is one in use, and always the same for the same user."""
        costs = sorted({password_hash[4:6] for password_hash in users.values()})
        number = int.from_bytes(hmac.digest(self._key, user, "sha256"))
        return bcrypt.gensalt(int(costs[number % len(costs)])) + b"." * 31


def _lower_priority() -> None:
    """Lower the priority of this thread, so that bcrypt does not slow the event loop down."""
    with suppress(AttributeError, OSError):  # only Linux has thread priorities
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
