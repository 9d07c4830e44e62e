"""`--web.config.file` as an operator uses it: the real command, real certificates, a real Prometheus."""

import asyncio
import os
import signal
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from exporter.simulator import Options, Simulator
from tests.certificates import Authority, Pair, client_of
from tests.e2e.endurance import ServeProcess, document, serve_process, write
from tests.e2e.test_commands import run_command
from tests.programs import Prometheus, until

PASSWORD = "invented-password"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(6)).decode()


@pytest.fixture
async def cloud() -> AsyncIterator[Simulator]:
    """A small simulator."""
    async with Simulator(Options(jobs=3, history=3)) as cloud:
        yield cloud


IN_FORCE = "modelarts_exporter_web_config_last_reload_successful"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The certificate authority that server and client trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def scraper(authority: Authority) -> Pair:
    """The client certificate of the scraper."""
    return authority.issue("scraper", "DNS:prometheus.example")


@pytest.fixture
def web_config(tmp_path: Path, authority: Authority) -> Path:
    """A web configuration with server and client certificates, an allowed name, a user and headers."""
    put(tmp_path, authority.issue("server", "IP:127.0.0.1"))
    path = tmp_path / "web.yml"
    path.write_text(
        f"""
tls_server_config:
  cert_file: tls.crt
  key_file: tls.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: {authority.certificate}
  client_allowed_sans: [prometheus.example]
http_server_config:
  headers: {{Strict-Transport-Security: max-age=31536000}}
basic_auth_users:
  prometheus: {HASH}
""",
        encoding="utf-8",
    )
    return path


def put(folder: Path, pair: Pair) -> None:
    """Replace certificate and key atomically."""
    for name, source in (("tls.crt", pair.certificate), ("tls.key", pair.key)):
        (folder / f"{name}.new").write_bytes(source.read_bytes())
        (folder / f"{name}.new").rename(folder / name)


def edit(path: Path, old: str, new: str) -> None:
    """Replace text in a file."""
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


async def request(
    exporter: ServeProcess,
    path: str,
    context: ssl.SSLContext,
    *,
    password: str | None = PASSWORD,
    method: str = "GET",
) -> tuple[int, str]:
    """Send a request over TLS. Returns status and text."""
    login = {} if password is None else {"Authorization": f"Basic {encoded(password)}"}
    url = exporter.url.replace("http://", "https://") + path
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, ssl=context, headers=login) as answer,
    ):
        return answer.status, await answer.text()


def encoded(password: str) -> str:
    """Value of the Basic authorization."""
    return b64encode(f"prometheus:{password}".encode()).decode()


async def server_serial(exporter: ServeProcess, context: ssl.SSLContext) -> object:
    """Serial number of the certificate that a new connection receives."""
    host, _, port = exporter.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown = writer.get_extra_info("peercert")
    writer.transport.abort()
    return shown["serialNumber"]


async def test_certificate_and_password_are_required(
    cloud: Simulator, tmp_path: Path, web_config: Path, authority: Authority, scraper: Pair
) -> None:
    """Every path requires the client certificate and the password. The log contains neither."""
    config = write(tmp_path / "config.yaml", document(cloud))
    known = client_of(authority, scraper)
    others = (client_of(authority), client_of(authority, authority.issue("other", "DNS:other.example")))
    async with serve_process(config, f"--web.config.file={web_config}", "--web.enable-lifecycle") as exporter:
        await exporter.wait_until_served(r"poll\.finished.*collector=jobs")
        status, text = await request(exporter, "/metrics", known)
        assert status == 200
        assert 'modelarts_up{project="vision"} 1' in text
        for path in ("/metrics", "/", "/-/healthy", "/-/ready"):
            assert (await request(exporter, path, known))[0] == 200
            assert (await request(exporter, path, known, password=None))[0] == 401
            assert (await request(exporter, path, known, password="guess"))[0] == 401
        assert (await request(exporter, "/-/reload", known, password=None, method="POST"))[0] == 401
        assert (await request(exporter, "/-/reload", known, method="POST"))[0] == 200
        for context in others:
            with pytest.raises(aiohttp.ClientError):
                await request(exporter, "/metrics", context)
        exporter.process.send_signal(signal.SIGTERM)
        assert await exporter.wait_for_exit() == 0
        log = "".join(exporter.lines)
    assert "Traceback" not in log
    for secret in (
        PASSWORD,
        HASH,
        encoded(PASSWORD),
        encoded("guess"),
        scraper.key.read_text(encoding="utf-8")[40:80],
    ):
        assert secret not in log


async def test_certificate_and_password_change_without_a_restart(
    cloud: Simulator, tmp_path: Path, web_config: Path, authority: Authority, scraper: Pair
) -> None:
    """A running process uses a renewed certificate and a new password. An invalid file changes nothing."""
    config = write(tmp_path / "config.yaml", document(cloud))
    context = client_of(authority, scraper)
    async with serve_process(config, f"--web.config.file={web_config}") as exporter:
        before = await server_serial(exporter, context)
        put(tmp_path, authority.issue("renewed", "IP:127.0.0.1"))
        await exporter.wait_for_log(r"web_config\.reloaded")
        assert await server_serial(exporter, context) != before

        line = len(exporter.lines)
        edit(web_config, "tls_server_config", "tls_server_conf")
        refused = await exporter.wait_for_log(r"web_config\.refused", since=line)
        assert "tls_server_conf: unknown key; did you mean tls_server_config?" in refused.string
        assert f"\n{IN_FORCE} 0.0\n" in (await request(exporter, "/metrics", context))[1]
        assert (await request(exporter, "/-/healthy", context))[0] == 200

        changed = bcrypt.hashpw(b"next", bcrypt.gensalt(4)).decode()
        edit(web_config, "tls_server_conf", "tls_server_config")
        edit(web_config, HASH, changed)
        async with asyncio.timeout(20):
            while (await request(exporter, "/-/healthy", context, password="next"))[0] != 200:
                pass
        assert (await request(exporter, "/-/healthy", context))[0] == 401
        assert f"\n{IN_FORCE} 1.0\n" in (await request(exporter, "/metrics", context, password="next"))[1]


async def test_prometheus_scrapes_it(
    cloud: Simulator, tmp_path: Path, web_config: Path, authority: Authority, scraper: Pair
) -> None:
    """A Prometheus configured as in docs/security.md scrapes it; its target is up."""
    (tmp_path / "password").write_text(PASSWORD, encoding="utf-8")
    config = write(tmp_path / "config.yaml", document(cloud))
    async with serve_process(config, f"--web.config.file={web_config}") as exporter:
        scraping = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
            "scrape_configs": [
                {
                    "job_name": "modelarts-exporter",
                    "scheme": "https",
                    "basic_auth": {"username": "prometheus", "password_file": str(tmp_path / "password")},
                    "tls_config": {
                        "ca_file": str(authority.certificate),
                        "cert_file": str(scraper.certificate),
                        "key_file": str(scraper.key),
                    },
                    "static_configs": [{"targets": [exporter.url.removeprefix("http://")]}],
                }
            ],
        }
        async with Prometheus(scraping, folder=tmp_path) as prometheus:

            async def seen() -> bool:
                return [each["value"][1] for each in await prometheus.query("up")] == ["1"]

            await until(seen, "Prometheus sees the exporter up")


async def test_mistakes_stop_the_start(cloud: Simulator, tmp_path: Path) -> None:
    """An invalid web configuration: exit code 2 and all sentences at once, before the first API call."""
    config = write(tmp_path / "config.yaml", document(cloud))
    path = tmp_path / "web.yml"
    path.write_text(
        "tls_server_config: {cert_file: none.crt, key_file: none.key, min_version: TLS10}\n"
        f"basic_auth_users: {{prometheus: {PASSWORD}}}\n",
        encoding="utf-8",
    )
    for command in ("serve", "check-config"):
        code, out, err = await run_command(
            command, f"--config.file={config}", env={**os.environ, "MODELARTS_EXPORTER_WEB_CONFIG_FILE": str(path)}
        )
        assert (code, out) == (2, "")
        assert err.splitlines() == [
            f"{path}: tls_server_config.cert_file: {tmp_path}/none.crt: cannot be read: No such file or directory",
            f"{path}: tls_server_config.key_file: {tmp_path}/none.key: cannot be read: No such file or directory",
            (f"{path}: tls_server_config.min_version: TLS 1.0 and 1.1 are deprecated (RFC 8996); use TLS12 or TLS13"),
            f"{path}: basic_auth_users.prometheus: must be a bcrypt hash, as `htpasswd -nBC 10 USER` prints it",
        ]
    assert len(cloud.requests) == 0


async def test_check_config_accepts_a_valid_one(cloud: Simulator, tmp_path: Path, web_config: Path) -> None:
    """Two valid files: exit code 0 and one line for each."""
    config = write(tmp_path / "config.yaml", document(cloud))
    assert await run_command("check-config", f"--config.file={config}", f"--web.config.file={web_config}") == (
        0,
        f"{config}: valid, 1 target\n{web_config}: valid\n",
        "",
    )
