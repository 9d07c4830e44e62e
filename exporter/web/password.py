"""Passwords against their bcrypt hashes: off the event loop, each right one once, and as slow for unknown users."""

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

_LONGEST = 72  # bcrypt looks no further, and neither do those who made the hashes
_KNOWN = 128
_LESS_URGENT = 10


class Verdict(Enum):
    """What a password is worth."""

    RIGHT = "right"
    WRONG = "wrong"
    BUSY = "busy"
    """Too many others are being looked at; ask again."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who somebody claims to be."""

    user: bytes
    password: bytes = field(repr=False)


def login(authorization: str) -> Login | None:
    """Read an Authorization header of the Basic scheme (RFC 7617); None when it is none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        return None
    return Login(user, password) if colon else None


class Passwords:
    """Looks at passwords in a thread of its own, a few at a time from each host and a few more in all.

    What was found right is remembered under a keyed hash, so that a scrape waits for bcrypt once, and never for those
    who try passwords; wrong ones are not remembered.
    """

    def __init__(
        self,
        *,
        compare: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
        most: int = 32,
        most_of_one_host: int = 8,
    ) -> None:
        self._compare = compare
        self._most = most
        self._most_of_one_host = most_of_one_host
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._looking: dict[bytes, asyncio.Future[bool]] = {}
        self._hosts: Counter[str] = Counter()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="password", initializer=_give_way)

    async def verdict(self, login: Login, users: Mapping[bytes, bytes], *, peer: str) -> Verdict:
        """Judge a login by the users there are now, of whom there must be one at least."""
        hashed = users.get(login.user)
        digest = self._digest(login, hashed or b"")
        if digest in self._right:
            self._right.move_to_end(digest)
            return Verdict.RIGHT
        looking = self._looking.get(digest)
        if looking is None:
            host = client_network(peer)
            if len(self._looking) >= self._most or self._hosts[host] >= self._most_of_one_host:
                return Verdict.BUSY
            looking = asyncio.get_running_loop().run_in_executor(
                self._thread, self._compare, login.password[:_LONGEST], hashed or self._nobody(login.user, users)
            )
            self._looking[digest] = looking
            self._hosts[host] += 1
            looking.add_done_callback(partial(self._looked, digest, host))
        right = await asyncio.shield(looking)
        if not right or hashed is None:
            return Verdict.WRONG
        self._right[digest] = None
        if len(self._right) > _KNOWN:
            self._right.popitem(last=False)
        return Verdict.RIGHT

    def close(self) -> None:
        """Look at no more passwords."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _looked(self, digest: bytes, host: str, _: asyncio.Future[bool]) -> None:
        del self._looking[digest]
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]

    def _digest(self, login: Login, hashed: bytes) -> bytes:
        parts = (login.user, hashed, login.password)
        return hmac.digest(self._key, b"".join(len(part).to_bytes(4) + part for part in parts), "sha256")

    def _nobody(self, user: bytes, users: Mapping[bytes, bytes]) -> bytes:
        """Make up a hash that no password has, of a cost that is always the same for this user and is one in use."""
        costs = sorted({hashed[4:6] for hashed in users.values()})
        drawn = int.from_bytes(hmac.digest(self._key, user, "sha256"))
        return bcrypt.gensalt(int(costs[drawn % len(costs)])) + b"." * 31


def _give_way() -> None:
    """Let whoever tries passwords wait for the event loop, not the event loop for them."""
    with suppress(AttributeError, OSError):  # only Linux has priorities of threads
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LESS_URGENT)
