"""Passwords: verification, its cost, and what an attacker can learn or delay."""

import asyncio
import base64
import threading
from collections.abc import Iterator, Mapping

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.password import Credentials, PasswordVerifier, Verdict, parse_basic_auth

CHEAP = 4


def hashed(text: str, *, cost: int = CHEAP, version: bytes = b"$2b") -> bytes:
    """The bcrypt hash of a password."""
    return bcrypt.hashpw(text.encode(), bcrypt.gensalt(cost)).replace(b"$2b", version)


USERS: Mapping[bytes, bytes] = {b"prometheus": hashed("right"), b"probe": hashed("other", version=b"$2y")}
VALID = Credentials(b"prometheus", b"right")
INVALID = Credentials(b"prometheus", b"wrong")


class Bcrypt:
    """Counts bcrypt calls, and can block them."""

    def __init__(self) -> None:
        self.compared: list[bytes] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, given: bytes, hashed: bytes) -> bool:
        """Compare once released."""
        assert threading.current_thread() is not threading.main_thread()
        self.compared.append(hashed)
        assert self.may_go.wait(10)
        return bcrypt.checkpw(given, hashed)


@pytest.fixture
def watched() -> Bcrypt:
    """The counting bcrypt."""
    return Bcrypt()


@pytest.fixture
def passwords(watched: Bcrypt) -> Iterator[PasswordVerifier]:
    """A verifier."""
    passwords = PasswordVerifier(compare=watched)
    yield passwords
    passwords.close()


@pytest.mark.parametrize(
    "claimed, expected",
    [
        pytest.param(VALID, Verdict.VALID, id="right"),
        pytest.param(Credentials(b"probe", b"other"), Verdict.VALID, id="right, hash of htpasswd"),
        pytest.param(INVALID, Verdict.INVALID, id="wrong password"),
        pytest.param(Credentials(b"prometheus", b""), Verdict.INVALID, id="no password"),
        pytest.param(Credentials(b"prometheus", b"other"), Verdict.INVALID, id="another's password"),
        pytest.param(Credentials(b"nobody", b"right"), Verdict.INVALID, id="unknown user"),
        pytest.param(Credentials(b"", b"right"), Verdict.INVALID, id="no user"),
        pytest.param(Credentials(b"prometheus", b"right\0"), Verdict.INVALID, id="with a zero byte"),
        pytest.param(Credentials(b"prometheus", b"x" * 10_000), Verdict.INVALID, id="endless"),
    ],
)
async def test_verdict(passwords: PasswordVerifier, claimed: Credentials, expected: Verdict) -> None:
    """Only a known user with the right password is valid, the second time like the first."""
    for _ in range(2):
        assert await passwords.verify(claimed, USERS, peer="192.0.2.1") is expected


async def test_bcrypt_sees_72_bytes(passwords: PasswordVerifier) -> None:
    """A longer password counts by its first 72 bytes, as when the hash was made."""
    users = {b"u": hashed("p" * 72)}
    assert await passwords.verify(Credentials(b"u", b"p" * 80), users, peer="::1") is Verdict.VALID


async def test_valid_password_is_compared_once(passwords: PasswordVerifier, watched: Bcrypt) -> None:
    """A scrape waits for bcrypt the first time only, also with concurrent requests."""
    verdicts = await asyncio.gather(*(passwords.verify(VALID, USERS, peer="192.0.2.1") for _ in range(20)))
    assert verdicts == [Verdict.VALID] * 20
    assert await passwords.verify(VALID, USERS, peer="192.0.2.2") is Verdict.VALID
    assert watched.compared == [USERS[b"prometheus"]]


async def test_changed_password_is_compared_again(passwords: PasswordVerifier, watched: Bcrypt) -> None:
    """Credentials valid under the old hash are invalid under a new one, and without the user."""
    assert await passwords.verify(VALID, USERS, peer="192.0.2.1") is Verdict.VALID
    changed = {**USERS, b"prometheus": hashed("new")}
    assert await passwords.verify(VALID, changed, peer="192.0.2.1") is Verdict.INVALID
    gone = {b"probe": USERS[b"probe"]}
    assert await passwords.verify(VALID, gone, peer="192.0.2.1") is Verdict.INVALID
    assert len(watched.compared) == 3


async def test_cache_of_valid_credentials_is_bounded(passwords: PasswordVerifier, watched: Bcrypt) -> None:
    """After 128 other credentials a password is compared again: the cache has a limit."""
    users = {f"user{number}".encode(): hashed(f"right{number}") for number in range(129)}
    logins = [Credentials(f"user{number}".encode(), f"right{number}".encode()) for number in range(129)]
    for claimed in (*logins, logins[128], logins[0]):
        assert await passwords.verify(claimed, users, peer="192.0.2.1") is Verdict.VALID
    assert len(watched.compared) == 130


async def test_unknown_user_costs_as_much(passwords: PasswordVerifier, watched: Bcrypt) -> None:
    """For an unknown user a hash with the cost of the users is compared, so that timing does not reveal users."""
    users = {b"a": hashed("right", cost=5)}
    for user in (b"a", b"b", b"c"):
        assert await passwords.verify(Credentials(user, b"wrong"), users, peer="192.0.2.1") is Verdict.INVALID
    assert [each[:7] for each in watched.compared] == [b"$2b$05$"] * 3


async def test_unknown_users_share_the_costs_of_the_known(passwords: PasswordVerifier, watched: Bcrypt) -> None:
    """If the hashes differ in cost, an unknown user has one of these costs, always the same."""
    users = {b"a": hashed("right", cost=4), b"b": hashed("right", cost=5)}
    costs = []
    for _ in range(2):
        for number in range(32):
            await passwords.verify(Credentials(f"nobody{number}".encode(), b"wrong"), users, peer="192.0.2.1")
        costs.append([each[4:6] for each in watched.compared])
        watched.compared.clear()
    assert costs[0] == costs[1]
    assert set(costs[0]) == {b"04", b"05"}  # by chance of one in two thousand millions only one


async def test_guesses_do_not_delay_known_users(passwords: PasswordVerifier, watched: Bcrypt) -> None:
    """While guesses are pending, one host has few slots and gets BUSY beyond; cached credentials do not wait."""
    assert await passwords.verify(VALID, USERS, peer="192.0.2.1") is Verdict.VALID
    watched.may_go.clear()
    guesses = [
        asyncio.create_task(
            passwords.verify(Credentials(b"prometheus", b"guess%d" % number), USERS, peer="198.51.100.1")
        )
        for number in range(50)
    ]
    async with asyncio.timeout(5):
        assert await passwords.verify(VALID, USERS, peer="192.0.2.1") is Verdict.VALID
    other_user = asyncio.create_task(passwords.verify(Credentials(b"probe", b"other"), USERS, peer="192.0.2.1"))
    await asyncio.sleep(0)
    watched.may_go.set()
    assert await other_user is Verdict.VALID
    assert (await asyncio.gather(*guesses)).count(Verdict.BUSY) == 50 - 8
    assert len(watched.compared) == 1 + 8 + 1


async def test_many_hosts_together_are_bounded(watched: Bcrypt) -> None:
    """What waits is bounded over all hosts, and addresses of one IPv6 network are one host."""
    passwords = PasswordVerifier(compare=watched, max_pending=5, max_pending_per_host=2)
    watched.may_go.clear()
    one_network = [f"2001:db8::{number}" for number in range(1, 9)]
    many = [f"192.0.2.{number}" for number in range(1, 9)]
    guesses = [
        asyncio.create_task(passwords.verify(Credentials(b"prometheus", peer.encode()), USERS, peer=peer))
        for peer in (*one_network, *many)
    ]
    await asyncio.sleep(0)
    watched.may_go.set()
    verdicts = await asyncio.gather(*guesses)
    passwords.close()
    assert [verify is Verdict.BUSY for verify in verdicts[:8]] == [False] * 2 + [True] * 6
    assert [verify is Verdict.BUSY for verify in verdicts[8:]] == [False] * 3 + [True] * 5


async def test_slots_are_freed(passwords: PasswordVerifier) -> None:
    """After verification a slot is free again."""
    for number in range(40):
        claimed = Credentials(b"prometheus", b"guess%d" % number)
        assert await passwords.verify(claimed, USERS, peer="198.51.100.1") is Verdict.INVALID


def test_password_is_in_no_text() -> None:
    """A login that ends in a log or a traceback does not show the password."""
    assert "right" not in repr(VALID)


@pytest.mark.parametrize(
    "header, expected",
    [
        pytest.param("Basic " + base64.b64encode(b"user:pass").decode(), Credentials(b"user", b"pass"), id="plain"),
        pytest.param("basic " + base64.b64encode(b"user:").decode(), Credentials(b"user", b""), id="no password"),
        pytest.param("BASIC  " + base64.b64encode(b"u:a:b").decode(), Credentials(b"u", b"a:b"), id="colon in it"),
        pytest.param("", None, id="no header"),
        pytest.param("Basic", None, id="only the scheme"),
        pytest.param("Bearer " + base64.b64encode(b"user:pass").decode(), None, id="other scheme"),
        pytest.param("Basic " + base64.b64encode(b"user").decode(), None, id="no colon"),
        pytest.param("Basic dXNlcjpwYXNz!", None, id="not base64"),
        pytest.param("Basic dXNlcjpwYXN", None, id="cut short"),
        pytest.param("Basic üser:pass", None, id="not ASCII"),
    ],
)
def test_authorization_header(header: str, expected: Credentials | None) -> None:
    """What RFC 7617 calls Basic is read; everything else is None."""
    assert parse_basic_auth(header) == expected


@given(st.binary(max_size=40).filter(lambda user: b":" not in user), st.binary(max_size=40))
def test_any_login_is_read_back(user: bytes, secret: bytes) -> None:
    """Whatever bytes a client uses for its name and password arrive as they are."""
    assert parse_basic_auth("Basic " + base64.b64encode(user + b":" + secret).decode()) == Credentials(user, secret)


@given(st.text(max_size=60))
def test_any_header_is_survived(header: str) -> None:
    """No Authorization header can make it fail."""
    parse_basic_auth("Basic " + header)
