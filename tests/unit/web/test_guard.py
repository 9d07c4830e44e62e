"""Basic auth and rate limit over real sockets, and changes of the file at run time."""

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
    """The header of basic auth."""
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


RIGHT = basic("prometheus", "right")
PATHS = ("/metrics", "/", "/-/healthy", "/-/ready", "/nothing")


class Door:
    """A guarded server, its file, and the changes it reported."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.path = path
        self.changes: list[bool] = []
        self.guard = Guard(load_web_config(path), clock=clock, on_change=self.changes.append, interval_s=3600)
        self.served = Served()
        self.reloads = 0

    async def reload(self) -> tuple[str, ...]:
        """Count reloads of the settings."""
        self.reloads += 1
        return ()

    async def status(self, path: str = "/metrics", *, auth: dict[str, str] | None = None, method: str = "GET") -> int:
        """Status of a request."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://{self.served.address}{path}", headers=auth) as answer,
        ):
            return answer.status


@asynccontextmanager
async def guarded(folder: Path, text: str, *, clock: ManualClock | None = None) -> AsyncIterator[Door]:
    """Serve with this web configuration; the test triggers the checks."""
    path = folder / "web.yml"
    path.write_text(text, encoding="utf-8")
    guarded_server = Door(path, clock or ManualClock())
    async with guarded_server.served.serving(guard=guarded_server.guard, reload=guarded_server.reload):
        yield guarded_server


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_needs_authentication(tmp_path: Path, path: str) -> None:
    """With users, no path is answered without credentials, including health and unknown paths."""
    async with guarded(tmp_path, USERS) as guarded_server:
        received = await raw(
            guarded_server.served.address, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        assert received.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert b'\r\nWWW-Authenticate: Basic realm="modelarts-exporter", charset="UTF-8"\r\n' in received
        assert received.endswith(b"\r\n\r\nunauthorized")
        assert await guarded_server.status(path, auth=RIGHT) == (404 if path == "/nothing" else 200)


@pytest.mark.parametrize(
    "user, password",
    [
        pytest.param("prometheus", "wrong", id="wrong password"),
        pytest.param("nobody", "right", id="unknown user"),
        pytest.param("prometheus", HASH, id="the hash itself"),
    ],
)
async def test_wrong_credentials(tmp_path: Path, user: str, password: str) -> None:
    """Wrong credentials get the same 401, whatever is wrong."""
    async with guarded(tmp_path, USERS) as guarded_server:
        assert await guarded_server.status(auth=basic(user, password)) == 401


async def test_guessing_is_slowed_down(tmp_path: Path) -> None:
    """Of many concurrent guesses of one host, a few are verified and the others get 429; the user gets in."""
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(9)).decode()
    async with guarded(tmp_path, f"basic_auth_users: {{prometheus: '{hashed}'}}\n") as guarded_server:
        assert await guarded_server.status(auth=RIGHT) == 200
        guesses = [guarded_server.status(auth=basic("prometheus", f"guess{number}")) for number in range(40)]
        statuses, mine = await asyncio.gather(asyncio.gather(*guesses), guarded_server.status(auth=RIGHT))
    assert mine == 200
    assert set(statuses) == {401, 429}


async def test_reload_needs_authentication(tmp_path: Path) -> None:
    """POST /-/reload needs credentials; without them it does nothing."""
    async with guarded(tmp_path, USERS) as guarded_server:
        assert await guarded_server.status("/-/reload", method="POST") == 401
        assert guarded_server.reloads == 0
        assert await guarded_server.status("/-/reload", method="POST", auth=RIGHT) == 200
        assert guarded_server.reloads == 1


async def test_without_users_there_is_no_authentication(tmp_path: Path) -> None:
    """A file without users does not require a password."""
    async with guarded(tmp_path, "") as guarded_server:
        assert await guarded_server.status() == 200


async def test_rate_limit(tmp_path: Path) -> None:
    """A burst is answered, then one request per interval; beyond it 429, before passwords are verified."""
    clock = ManualClock()
    async with guarded(tmp_path, USERS + "rate_limit: {interval: 10s, burst: 3}\n", clock=clock) as guarded_server:
        assert [await guarded_server.status(auth=RIGHT) for _ in range(4)] == [200, 200, 200, 429]
        assert await guarded_server.status() == 429
        clock.turn(9.9)
        assert await guarded_server.status(auth=RIGHT) == 429
        clock.turn(0.2)
        assert [await guarded_server.status(auth=RIGHT) for _ in range(2)] == [200, 429]
        clock.turn(3600)
        assert [await guarded_server.status(auth=RIGHT) for _ in range(4)] == [200, 200, 200, 429]


async def test_headers_are_added(tmp_path: Path) -> None:
    """Headers of the file are on every response, also errors and large ones; the page keeps its stricter policy."""
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


async def test_users_change_at_run_time(tmp_path: Path) -> None:
    """A new password is valid from the next check on, also on open connections, and the old one is not."""
    async with guarded(tmp_path, USERS) as guarded_server, aiohttp.ClientSession() as session:
        url = f"http://{guarded_server.served.address}/metrics"
        async with session.get(url, headers=RIGHT) as answer:
            assert answer.status == 200
        guarded_server.path.write_text(USERS.replace(HASH, OTHER), encoding="utf-8")
        await guarded_server.guard.reload_if_changed()
        async with session.get(url, headers=RIGHT) as answer:
            assert answer.status == 401
        async with session.get(url, headers=basic("prometheus", "other")) as answer:
            assert answer.status == 200
        assert guarded_server.changes == [True]


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
async def test_invalid_change_changes_nothing(folder: Path, text: str, sentence: str) -> None:
    """A file that is invalid or would remove protection keeps the old users; this is logged once and reported."""
    async with guarded(folder, USERS) as guarded_server:
        guarded_server.path.write_text(text, encoding="utf-8")
        with capture_logs() as logs:
            for _ in range(3):
                await guarded_server.guard.reload_if_changed()
        assert [entry["event"] for entry in logs] == ["web_config.refused"]
        assert any(problem.startswith(sentence) for problem in logs[0]["problems"])
        assert guarded_server.changes == [False]
        assert await guarded_server.status() == 401
        assert await guarded_server.status(auth=RIGHT) == 200


async def test_corrected_file_is_applied(tmp_path: Path) -> None:
    """After a rejection the first valid file is in force, and this is reported."""
    async with guarded(tmp_path, USERS) as guarded_server:
        guarded_server.path.write_text("basic_auth_users: [", encoding="utf-8")
        await guarded_server.guard.reload_if_changed()
        guarded_server.path.write_text(USERS.replace(HASH, OTHER), encoding="utf-8")
        await guarded_server.guard.reload_if_changed()
        assert guarded_server.changes == [False, True]
        assert await guarded_server.status(auth=basic("prometheus", "other")) == 200


async def test_missing_file_changes_nothing(tmp_path: Path) -> None:
    """Without its file the server continues with the last configuration."""
    async with guarded(tmp_path, USERS) as guarded_server:
        guarded_server.path.unlink()
        with capture_logs() as logs:
            await guarded_server.guard.reload_if_changed()
        assert logs == [
            {
                "event": "web_config.refused",
                "log_level": "error",
                "problems": ["cannot be read: No such file or directory"],
            }
        ]
        assert await guarded_server.status(auth=RIGHT) == 200


@pytest.mark.parametrize(
    "touch",
    [
        pytest.param(lambda _: None, id="untouched"),
        pytest.param(lambda path: path.write_text(USERS, encoding="utf-8"), id="written again"),
        pytest.param(lambda path: path.write_text(USERS + "# a word\n", encoding="utf-8"), id="with a comment"),
    ],
)
async def test_unchanged_content_is_not_logged(tmp_path: Path, touch: Callable[[Path], None]) -> None:
    """A file with unchanged content is not logged, however often it is checked."""
    async with guarded(tmp_path, USERS) as guarded_server:
        touch(guarded_server.path)
        with capture_logs() as logs:
            await guarded_server.guard.reload_if_changed()
            await guarded_server.guard.reload_if_changed()
        assert (logs, guarded_server.changes) == ([], [])


async def test_rate_changes_at_run_time(tmp_path: Path) -> None:
    """A new rate starts with its full burst; an unchanged rate is not refilled by another change."""
    rate = "rate_limit: {interval: 1h, burst: 1}\n"
    async with guarded(tmp_path, rate) as guarded_server:
        assert await guarded_server.status() == 200
        guarded_server.path.write_text(
            rate + "http_server_config: {headers: {X-Frame-Options: deny}}\n", encoding="utf-8"
        )
        await guarded_server.guard.reload_if_changed()
        assert await guarded_server.status() == 429
        guarded_server.path.write_text(rate.replace("burst: 1", "burst: 2"), encoding="utf-8")
        await guarded_server.guard.reload_if_changed()
        assert [await guarded_server.status() for _ in range(3)] == [200, 200, 429]


async def test_failed_check_is_repeated(tmp_path: Path) -> None:
    """Any error of a check is logged, the configuration stays in force, and the next check follows."""
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
    """Neither a failed login nor a rejected file writes a password or a hash to the log."""
    caplog.set_level("DEBUG")
    secret = basic("prometheus", "invented-password")["Authorization"]
    with capture_logs() as logs:
        async with guarded(tmp_path, USERS) as guarded_server:
            await raw(
                guarded_server.served.address,
                f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {secret}\r\nConnection: close\r\n\r\n".encode(),
            )
            guarded_server.path.write_text("basic_auth_users: {prometheus: invented-password}\n", encoding="utf-8")
            await guarded_server.guard.reload_if_changed()
    logged = repr(logs) + caplog.text
    assert "web_config.refused" in logged
    assert "invented-password" not in logged
    assert secret not in logged
    assert HASH not in logged


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
async def test_cross_site_reload_is_forbidden(tmp_path: Path, site: str, status: int) -> None:
    """A page of another site cannot make a browser with stored credentials reload the exporter."""
    async with guarded(tmp_path, USERS) as guarded_server, aiohttp.ClientSession() as session:
        headers = {**RIGHT, "Sec-Fetch-Site": site} if site else RIGHT
        async with session.post(f"http://{guarded_server.served.address}/-/reload", headers=headers) as answer:
            assert answer.status == status
        assert guarded_server.reloads == (1 if status == 200 else 0)
