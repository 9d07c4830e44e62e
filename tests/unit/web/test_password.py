"""Passwords: who is right, what it costs, and what an attacker learns and can hold up."""

import asyncio
import base64
import threading
from collections.abc import Iterator, Mapping

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.password import Login, Passwords, Verdict, login

CHEAP = 4


def hashed(text: str, *, cost: int = CHEAP, version: bytes = b"$2b") -> bytes:
    """The bcrypt hash of a password."""
    return bcrypt.hashpw(text.encode(), bcrypt.gensalt(cost)).replace(b"$2b", version)


USERS: Mapping[bytes, bytes] = {b"prometheus": hashed("right"), b"probe": hashed("other", version=b"$2y")}
RIGHT = Login(b"prometheus", b"right")
WRONG = Login(b"prometheus", b"wrong")


class Bcrypt:
    """bcrypt, watched: how much work a login makes is the whole point. It can be made to wait."""

    def __init__(self) -> None:
        self.compared: list[bytes] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, given: bytes, hashed: bytes) -> bool:
        """Compare, when it may."""
        assert threading.current_thread() is not threading.main_thread()
        self.compared.append(hashed)
        assert self.may_go.wait(10)
        return bcrypt.checkpw(given, hashed)


@pytest.fixture
def watched() -> Bcrypt:
    """What compares passwords."""
    return Bcrypt()


@pytest.fixture
def passwords(watched: Bcrypt) -> Iterator[Passwords]:
    """A keeper of the door."""
    passwords = Passwords(compare=watched)
    yield passwords
    passwords.close()


@pytest.mark.parametrize(
    "claimed, verdict",
    [
        pytest.param(RIGHT, Verdict.RIGHT, id="right"),
        pytest.param(Login(b"probe", b"other"), Verdict.RIGHT, id="right, hash of htpasswd"),
        pytest.param(WRONG, Verdict.WRONG, id="wrong password"),
        pytest.param(Login(b"prometheus", b""), Verdict.WRONG, id="no password"),
        pytest.param(Login(b"prometheus", b"other"), Verdict.WRONG, id="another's password"),
        pytest.param(Login(b"nobody", b"right"), Verdict.WRONG, id="unknown user"),
        pytest.param(Login(b"", b"right"), Verdict.WRONG, id="no user"),
        pytest.param(Login(b"prometheus", b"right\0"), Verdict.WRONG, id="with a zero byte"),
        pytest.param(Login(b"prometheus", b"x" * 10_000), Verdict.WRONG, id="endless"),
    ],
)
async def test_verdict(passwords: Passwords, claimed: Login, verdict: Verdict) -> None:
    """Only a known user with the right password comes in, the second time as the first."""
    for _ in range(2):
        assert await passwords.verdict(claimed, USERS, peer="192.0.2.1") is verdict


async def test_bcrypt_sees_72_bytes(passwords: Passwords) -> None:
    """A longer password counts by its first 72 bytes, as with those who made the hash."""
    users = {b"u": hashed("p" * 72)}
    assert await passwords.verdict(Login(b"u", b"p" * 80), users, peer="::1") is Verdict.RIGHT


async def test_right_password_is_compared_once(passwords: Passwords, watched: Bcrypt) -> None:
    """A scrape pays for bcrypt the first time only, also when several come at once."""
    verdicts = await asyncio.gather(*(passwords.verdict(RIGHT, USERS, peer="192.0.2.1") for _ in range(20)))
    assert verdicts == [Verdict.RIGHT] * 20
    assert await passwords.verdict(RIGHT, USERS, peer="192.0.2.2") is Verdict.RIGHT
    assert watched.compared == [USERS[b"prometheus"]]


async def test_changed_password_is_compared_again(passwords: Passwords, watched: Bcrypt) -> None:
    """What was right under the old hash is not right under the new one, nor when the user is gone."""
    assert await passwords.verdict(RIGHT, USERS, peer="192.0.2.1") is Verdict.RIGHT
    changed = {**USERS, b"prometheus": hashed("new")}
    assert await passwords.verdict(RIGHT, changed, peer="192.0.2.1") is Verdict.WRONG
    gone = {b"probe": USERS[b"probe"]}
    assert await passwords.verdict(RIGHT, gone, peer="192.0.2.1") is Verdict.WRONG
    assert len(watched.compared) == 3


async def test_memory_of_right_ones_is_bounded(passwords: Passwords, watched: Bcrypt) -> None:
    """After 128 others a password is compared again: what is remembered does not grow."""
    users = {f"user{number}".encode(): hashed(f"right{number}") for number in range(129)}
    logins = [Login(f"user{number}".encode(), f"right{number}".encode()) for number in range(129)]
    for claimed in (*logins, logins[128], logins[0]):
        assert await passwords.verdict(claimed, users, peer="192.0.2.1") is Verdict.RIGHT
    assert len(watched.compared) == 130


async def test_unknown_user_costs_as_much(passwords: Passwords, watched: Bcrypt) -> None:
    """For an unknown user a hash of the users' own cost is compared, so that time does not tell who exists."""
    users = {b"a": hashed("right", cost=5)}
    for user in (b"a", b"b", b"c"):
        assert await passwords.verdict(Login(user, b"wrong"), users, peer="192.0.2.1") is Verdict.WRONG
    assert [each[:7] for each in watched.compared] == [b"$2b$05$"] * 3


async def test_unknown_users_share_the_costs_of_the_known(passwords: Passwords, watched: Bcrypt) -> None:
    """Where the users' hashes differ in cost, an unknown user has one of them, and always the same."""
    users = {b"a": hashed("right", cost=4), b"b": hashed("right", cost=5)}
    costs = []
    for _ in range(2):
        for number in range(32):
            await passwords.verdict(Login(f"nobody{number}".encode(), b"wrong"), users, peer="192.0.2.1")
        costs.append([each[4:6] for each in watched.compared])
        watched.compared.clear()
    assert costs[0] == costs[1]
    assert set(costs[0]) == {b"04", b"05"}  # by chance of one in two thousand millions only one


async def test_those_who_guess_do_not_hold_up_the_known(passwords: Passwords, watched: Bcrypt) -> None:
    """While guesses queue, one host has a few places and gets BUSY beyond; who was right before waits for nobody."""
    assert await passwords.verdict(RIGHT, USERS, peer="192.0.2.1") is Verdict.RIGHT
    watched.may_go.clear()
    guesses = [
        asyncio.create_task(passwords.verdict(Login(b"prometheus", b"guess%d" % number), USERS, peer="198.51.100.1"))
        for number in range(50)
    ]
    async with asyncio.timeout(5):
        assert await passwords.verdict(RIGHT, USERS, peer="192.0.2.1") is Verdict.RIGHT
    newcomer = asyncio.create_task(passwords.verdict(Login(b"probe", b"other"), USERS, peer="192.0.2.1"))
    await asyncio.sleep(0)
    watched.may_go.set()
    assert await newcomer is Verdict.RIGHT
    assert (await asyncio.gather(*guesses)).count(Verdict.BUSY) == 50 - 8
    assert len(watched.compared) == 1 + 8 + 1


async def test_many_hosts_together_are_bounded(watched: Bcrypt) -> None:
    """What waits is bounded over all hosts, and addresses of one IPv6 network are one host."""
    passwords = Passwords(compare=watched, most=5, most_of_one_host=2)
    watched.may_go.clear()
    one_network = [f"2001:db8::{number}" for number in range(1, 9)]
    many = [f"192.0.2.{number}" for number in range(1, 9)]
    guesses = [
        asyncio.create_task(passwords.verdict(Login(b"prometheus", peer.encode()), USERS, peer=peer))
        for peer in (*one_network, *many)
    ]
    await asyncio.sleep(0)
    watched.may_go.set()
    verdicts = await asyncio.gather(*guesses)
    passwords.close()
    assert [verdict is Verdict.BUSY for verdict in verdicts[:8]] == [False] * 2 + [True] * 6
    assert [verdict is Verdict.BUSY for verdict in verdicts[8:]] == [False] * 3 + [True] * 5


async def test_places_are_free_again(passwords: Passwords) -> None:
    """Whoever has had an answer may ask again: the places are not used up."""
    for number in range(40):
        claimed = Login(b"prometheus", b"guess%d" % number)
        assert await passwords.verdict(claimed, USERS, peer="198.51.100.1") is Verdict.WRONG


def test_password_is_in_no_text() -> None:
    """A login that ends in a log or a traceback does not tell the password."""
    assert "right" not in repr(RIGHT)


@pytest.mark.parametrize(
    "header, expected",
    [
        pytest.param("Basic " + base64.b64encode(b"user:pass").decode(), Login(b"user", b"pass"), id="plain"),
        pytest.param("basic " + base64.b64encode(b"user:").decode(), Login(b"user", b""), id="no password"),
        pytest.param("BASIC  " + base64.b64encode(b"u:a:b").decode(), Login(b"u", b"a:b"), id="colon in it"),
        pytest.param("", None, id="no header"),
        pytest.param("Basic", None, id="only the scheme"),
        pytest.param("Bearer " + base64.b64encode(b"user:pass").decode(), None, id="other scheme"),
        pytest.param("Basic " + base64.b64encode(b"user").decode(), None, id="no colon"),
        pytest.param("Basic dXNlcjpwYXNz!", None, id="not base64"),
        pytest.param("Basic dXNlcjpwYXN", None, id="cut short"),
        pytest.param("Basic üser:pass", None, id="not ASCII"),
    ],
)
def test_authorization_header(header: str, expected: Login | None) -> None:
    """What RFC 7617 calls Basic is read; everything else is nobody."""
    assert login(header) == expected


@given(st.binary(max_size=40).filter(lambda user: b":" not in user), st.binary(max_size=40))
def test_any_login_is_read_back(user: bytes, secret: bytes) -> None:
    """Whatever bytes a client uses for its name and password arrive as they are."""
    assert login("Basic " + base64.b64encode(user + b":" + secret).decode()) == Login(user, secret)


@given(st.text(max_size=60))
def test_any_header_is_survived(header: str) -> None:
    """No Authorization header can make it fail."""
    login("Basic " + header)
