"""Who is let in, by basic auth and by a rate, over real sockets; and what happens when the file changes."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import bcrypt
import pytest
from structlog.testing import capture_logs

from exporter.web.config import load_web_config
from exporter.web.guard import Guard
from tests.clock import ManualClock
from tests.unit.web.test_server import LARGE, FakeExposition, Served, raw

HASH = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
OTHER = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()
USERS = f"basic_auth_users: {{prometheus: '{HASH}'}}\n"


def basic(user: str, password: str) -> dict[str, str]:
    """The header of a login."""
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


RIGHT = basic("prometheus", "right")
PATHS = ("/metrics", "/", "/-/healthy", "/-/ready", "/nothing")


class Door:
    """A guarded server, its file, and what it told of changes."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.path = path
        self.changes: list[bool] = []
        self.guard = Guard(load_web_config(path), clock=clock, on_change=self.changes.append, interval_s=3600)
        self.served = Served()
        self.reloads = 0

    async def reload(self) -> tuple[str, ...]:
        """Stand for the reload of the settings."""
        self.reloads += 1
        return ()

    async def status(self, path: str = "/metrics", *, auth: dict[str, str] | None = None, method: str = "GET") -> int:
        """Ask, and give the status."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://{self.served.address}{path}", headers=auth) as answer,
        ):
            return answer.status


@asynccontextmanager
async def guarded(folder: Path, text: str, *, clock: ManualClock | None = None) -> AsyncIterator[Door]:
    """Serve with this web configuration; it is looked at again when the test says so."""
    path = folder / "web.yml"
    path.write_text(text, encoding="utf-8")
    door = Door(path, clock or ManualClock())
    async with door.served.serving(guard=door.guard, reload=door.reload):
        yield door


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_asks_who_it_is(tmp_path: Path, path: str) -> None:
    """With users nothing is answered to a stranger, health included, not even whether a path exists."""
    async with guarded(tmp_path, USERS) as door:
        told = await raw(door.served.address, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert told.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert b'\r\nWWW-Authenticate: Basic realm="modelarts-exporter", charset="UTF-8"\r\n' in told
        assert told.endswith(b"\r\n\r\nunauthorized")
        assert await door.status(path, auth=RIGHT) == (404 if path == "/nothing" else 200)


@pytest.mark.parametrize(
    "user, password",
    [
        pytest.param("prometheus", "wrong", id="wrong password"),
        pytest.param("nobody", "right", id="unknown user"),
        pytest.param("prometheus", HASH, id="the hash itself"),
    ],
)
async def test_wrong_login(tmp_path: Path, user: str, password: str) -> None:
    """Whoever is not who they say gets the same 401, whatever is wrong."""
    async with guarded(tmp_path, USERS) as door:
        assert await door.status(auth=basic(user, password)) == 401


async def test_guessing_is_slowed_down(tmp_path: Path) -> None:
    """Of many guesses at once from one host a few are looked at, and the others get 429; the user comes in."""
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(9)).decode()
    async with guarded(tmp_path, f"basic_auth_users: {{prometheus: '{hashed}'}}\n") as door:
        assert await door.status(auth=RIGHT) == 200
        guesses = [door.status(auth=basic("prometheus", f"guess{number}")) for number in range(40)]
        statuses, mine = await asyncio.gather(asyncio.gather(*guesses), door.status(auth=RIGHT))
    assert mine == 200
    assert set(statuses) == {401, 429}


async def test_reload_asks_too(tmp_path: Path) -> None:
    """POST /-/reload is for users only, and a stranger's does nothing."""
    async with guarded(tmp_path, USERS) as door:
        assert await door.status("/-/reload", method="POST") == 401
        assert door.reloads == 0
        assert await door.status("/-/reload", method="POST", auth=RIGHT) == 200
        assert door.reloads == 1


async def test_without_users_nobody_is_asked(tmp_path: Path) -> None:
    """A file without users protects nothing by password."""
    async with guarded(tmp_path, "") as door:
        assert await door.status() == 200


async def test_rate_is_kept(tmp_path: Path) -> None:
    """A burst is answered, then one request each interval; beyond it comes 429, before any password is looked at."""
    clock = ManualClock()
    async with guarded(tmp_path, USERS + "rate_limit: {interval: 10s, burst: 3}\n", clock=clock) as door:
        assert [await door.status(auth=RIGHT) for _ in range(4)] == [200, 200, 200, 429]
        assert await door.status() == 429
        clock.turn(9.9)
        assert await door.status(auth=RIGHT) == 429
        clock.turn(0.2)
        assert [await door.status(auth=RIGHT) for _ in range(2)] == [200, 429]
        clock.turn(3600)
        assert [await door.status(auth=RIGHT) for _ in range(4)] == [200, 200, 200, 429]


async def test_headers_are_added(tmp_path: Path) -> None:
    """Headers of the file are on every answer, refusals and large ones too; the page keeps its stricter policy."""
    policy = "default-src 'self'"
    headers = f'http_server_config: {{headers: {{X-Frame-Options: deny, Content-Security-Policy: "{policy}"}}}}\n'
    path = tmp_path / "web.yml"
    path.write_text(headers + USERS, encoding="utf-8")
    served = Served(FakeExposition(large=LARGE))
    guard = Guard(load_web_config(path), clock=ManualClock())
    async with served.serving(guard=guard), aiohttp.ClientSession(auto_decompress=False) as session:
        for where, auth, status in (("/metrics", RIGHT, 200), ("/metrics", None, 401), ("/nothing", RIGHT, 404)):
            async with session.get(f"http://{served.address}{where}", headers=auth) as answer:
                assert answer.status == status
                assert answer.headers["X-Frame-Options"] == "deny"
                assert answer.headers["Content-Security-Policy"] == policy
        async with session.get(f"http://{served.address}/", headers=RIGHT) as answer:
            assert answer.headers["X-Frame-Options"] == "deny"
            assert answer.headers.getall("Content-Security-Policy") == [
                value
                for value in answer.headers.getall("Content-Security-Policy")
                if value.startswith("default-src 'none'")
            ]


async def test_users_change_while_it_runs(tmp_path: Path) -> None:
    """A new password holds from the next look on, also on connections that are open, and the old one no longer."""
    async with guarded(tmp_path, USERS) as door, aiohttp.ClientSession() as session:
        url = f"http://{door.served.address}/metrics"
        async with session.get(url, headers=RIGHT) as answer:
            assert answer.status == 200
        door.path.write_text(USERS.replace(HASH, OTHER), encoding="utf-8")
        await door.guard.reload_if_changed()
        async with session.get(url, headers=RIGHT) as answer:
            assert answer.status == 401
        async with session.get(url, headers=basic("prometheus", "other")) as answer:
            assert answer.status == 200
        assert door.changes == [True]


@pytest.mark.parametrize(
    "text, sentence",
    [
        pytest.param("basic_auth_users: {", "line 1, column 20: not YAML", id="not YAML"),
        pytest.param(USERS + "users: {}\n", "users: unknown key", id="unknown key"),
        pytest.param("", "basic_auth_users: removing the last user needs a restart", id="cut short"),
        pytest.param(
            USERS + "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n",
            "tls_server_config: switching TLS on or off needs a restart",
            id="TLS switched on",
        ),
    ],
)
async def test_bad_change_changes_nothing(folder: Path, text: str, sentence: str) -> None:
    """A file that cannot be used, or would open the door, keeps the old users; that is logged once, and told."""
    async with guarded(folder, USERS) as door:
        door.path.write_text(text, encoding="utf-8")
        with capture_logs() as logs:
            for _ in range(3):
                await door.guard.reload_if_changed()
        assert [entry["event"] for entry in logs] == ["web_config.refused"]
        assert any(problem.startswith(sentence) for problem in logs[0]["problems"])
        assert door.changes == [False]
        assert await door.status() == 401
        assert await door.status(auth=RIGHT) == 200


async def test_mended_file_is_taken(tmp_path: Path) -> None:
    """After a refusal the first usable file is in force, and that is told too."""
    async with guarded(tmp_path, USERS) as door:
        door.path.write_text("basic_auth_users: [", encoding="utf-8")
        await door.guard.reload_if_changed()
        door.path.write_text(USERS.replace(HASH, OTHER), encoding="utf-8")
        await door.guard.reload_if_changed()
        assert door.changes == [False, True]
        assert await door.status(auth=basic("prometheus", "other")) == 200


async def test_file_that_vanishes_changes_nothing(tmp_path: Path) -> None:
    """Without its file the server goes on as before."""
    async with guarded(tmp_path, USERS) as door:
        door.path.unlink()
        with capture_logs() as logs:
            await door.guard.reload_if_changed()
        assert logs == [
            {
                "event": "web_config.refused",
                "log_level": "error",
                "problems": ["cannot be read: No such file or directory"],
            }
        ]
        assert await door.status(auth=RIGHT) == 200


@pytest.mark.parametrize(
    "touch",
    [
        pytest.param(lambda _: None, id="untouched"),
        pytest.param(lambda path: path.write_text(USERS, encoding="utf-8"), id="written again"),
        pytest.param(lambda path: path.write_text(USERS + "# a word\n", encoding="utf-8"), id="with a comment"),
    ],
)
async def test_nothing_new_is_no_news(tmp_path: Path, touch: Callable[[Path], None]) -> None:
    """A file that says what it said before is not logged, however often it is looked at."""
    async with guarded(tmp_path, USERS) as door:
        touch(door.path)
        with capture_logs() as logs:
            await door.guard.reload_if_changed()
            await door.guard.reload_if_changed()
        assert (logs, door.changes) == ([], [])


async def test_rate_changes_while_it_runs(tmp_path: Path) -> None:
    """A new rate begins with its whole burst; the same rate is not filled up by a change elsewhere."""
    rate = "rate_limit: {interval: 1h, burst: 1}\n"
    async with guarded(tmp_path, rate) as door:
        assert await door.status() == 200
        door.path.write_text(rate + "http_server_config: {headers: {X-Frame-Options: deny}}\n", encoding="utf-8")
        await door.guard.reload_if_changed()
        assert await door.status() == 429
        door.path.write_text(rate.replace("burst: 1", "burst: 2"), encoding="utf-8")
        await door.guard.reload_if_changed()
        assert [await door.status() for _ in range(3)] == [200, 200, 429]


async def test_a_look_that_fails_is_not_the_last(tmp_path: Path) -> None:
    """Whatever goes wrong in looking is logged, the door stays as it is, and it is looked at again."""
    path = tmp_path / "web.yml"
    path.write_text(USERS, encoding="utf-8")
    failures = iter([RuntimeError("by chance")])
    seen: list[bool] = []

    def on_change(successful: bool) -> None:
        seen.append(successful)
        for failure in failures:
            raise failure

    guard = Guard(load_web_config(path), clock=ManualClock(), interval_s=0.01, on_change=on_change)
    served = Served()
    with capture_logs() as logs:
        async with served.serving(guard=guard):
            for hashed in (OTHER, HASH):
                before = len(seen)
                path.write_text(USERS.replace(HASH, hashed), encoding="utf-8")
                while len(seen) == before:
                    await raw(served.address, b"GET / HTTP/1.0\r\n\r\n")
    assert [entry["event"] for entry in logs] == ["web_config.reloaded", "web_config.failed", "web_config.reloaded"]


async def test_credentials_are_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a login that fails nor a file that is refused puts a password or a hash into the log."""
    caplog.set_level("DEBUG")
    secret = basic("prometheus", "invented-password")["Authorization"]
    with capture_logs() as logs:
        async with guarded(tmp_path, USERS) as door:
            await raw(
                door.served.address,
                f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {secret}\r\nConnection: close\r\n\r\n".encode(),
            )
            door.path.write_text("basic_auth_users: {prometheus: invented-password}\n", encoding="utf-8")
            await door.guard.reload_if_changed()
    said = repr(logs) + caplog.text
    assert "web_config.refused" in said
    assert "invented-password" not in said
    assert secret not in said
    assert HASH not in said


@pytest.mark.parametrize(
    "site, status",
    [
        pytest.param("cross-site", 403, id="page of another site"),
        pytest.param("same-site", 403, id="page of a neighbour"),
        pytest.param("same-origin", 200, id="page of ours"),
        pytest.param("none", 200, id="the user"),
        pytest.param("", 200, id="no browser"),
    ],
)
async def test_reload_is_not_for_other_pages(tmp_path: Path, site: str, status: int) -> None:
    """A page elsewhere cannot make somebody's browser, which knows the password, reload the exporter."""
    async with guarded(tmp_path, USERS) as door, aiohttp.ClientSession() as session:
        headers = {**RIGHT, "Sec-Fetch-Site": site} if site else RIGHT
        async with session.post(f"http://{door.served.address}/-/reload", headers=headers) as answer:
            assert answer.status == status
        assert door.reloads == (1 if status == 200 else 0)
