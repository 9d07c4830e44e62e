"""The exporter with TLS and passwords as the chart configures it, its probes and `helm test`: real processes."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.simulator import ACCESS_KEY, PROJECT_ID, SECRET_KEY, Options, Simulator
from tests.chart import chart, pod
from tests.chart.chart import Json, Rendered
from tests.programs import Service, free_port

AUTHENTICATED = ["tls-basic-auth", "mutual-tls", "web-config-secret"]
"""Installs with client authentication."""
NO_SERVICE: Json = {"serviceMonitor": {"enabled": False}}
each_authenticated = pytest.mark.parametrize("install", AUTHENTICATED)


async def run(command: Sequence[str], *, port: int, folder: Path) -> tuple[int | None, str]:
    """Run a command of a pod with its files below a folder, against a local port; return status and output."""
    python, *flags, script, url, path, name, web = command
    assert python == "python3"
    assert flags[-1] == "-c"
    here = f"{url.partition(':')[0]}://127.0.0.1:{port}"
    secrets = pod.moved(web, folder=folder)
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", script, here, path, name, secrets, stdout=PIPE, stderr=PIPE
    )
    out, err = await done.communicate()
    return done.returncode, (out + err).decode()


def probe_command(container: Json, probe: str) -> list[str]:
    """Return the command of a probe."""
    command = container[probe]["exec"]["command"]
    assert isinstance(command, list)
    return command


class AuthenticatedExporter(Service):
    """The exporter; it is ready when the readiness probe of the pod succeeds."""

    def __init__(self, release: Rendered, config: Path, *, folder: Path) -> None:
        self.port = free_port()
        self.release = release
        self.folder = folder
        replaced = {
            "--config.file": str(config),
            "--web.config.file": str(pod.web_config(folder)),
            "--web.listen-address": f"127.0.0.1:{self.port}",
        }
        pairs = [argument.partition("=") for argument in release.container()["args"]]
        arguments = [f"{flag}={replaced.get(flag, value)}" if value else flag for flag, _, value in pairs]
        super().__init__("exporter", (sys.executable, "-m", "exporter", *arguments), folder=folder, port=self.port)

    async def probed(self, probe: str) -> tuple[int | None, str]:
        """Run a probe."""
        return await run(probe_command(self.release.container(), probe), port=self.port, folder=self.folder)

    async def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text(errors="replace")
        status, _ = await self.probed("readinessProbe")
        return status == 0


@dataclass(frozen=True, slots=True)
class Installed:
    """A running exporter, and the files of the test pod."""

    exporter: AuthenticatedExporter
    test: Path

    async def tested(self) -> tuple[int | None, str]:
        """Run what `helm test` runs."""
        (test,) = self.exporter.release.of("Pod")
        return await run(test["spec"]["containers"][0]["command"], port=self.exporter.port, folder=self.test)


Install = Callable[[str], AbstractAsyncContextManager[Installed]]


@pytest.fixture
def installed(tmp_path: Path, secrets: pod.Secrets) -> Install:
    """Starts an install's exporter, with a simulated cloud as its target."""

    @asynccontextmanager
    async def start(install: str) -> AsyncIterator[Installed]:
        async with Simulator(Options(jobs=2, history=0), port=0) as cloud:
            place = "/var/run/secrets/modelarts-exporter"
            keys = {
                "type": "aksk",
                "access_key": f"${{file:{place}/ak}}",
                "secret_key": f"${{file:{place}/sk}}",
            }
            watched = chart.target(endpoint=cloud.url, project_id=PROJECT_ID, credentials=keys)
            values = chart.merged(
                chart.values_of(install),
                {
                    "config": {"targets": [watched]},
                    "web": {
                        "tls": {"caKey": "ca.crt"}
                    },  # the certificates are self-made, so public authorities cannot verify them
                    "credentials": {"data": {"ak": ACCESS_KEY, "sk": SECRET_KEY}},
                },
            )
            release = chart.render(values)
            (tmp_path / "pod").mkdir()
            config = pod.files(release, folder=tmp_path / "pod", secrets=secrets)
            (test,) = release.of("Pod")
            pod.lay_out(release, test["spec"], folder=tmp_path / "test", secrets=secrets)
            async with AuthenticatedExporter(release, config, folder=tmp_path / "pod") as exporter:
                yield Installed(exporter, tmp_path / "test")

    return start


@each_authenticated
async def test_probes_and_helm_test_succeed(install: str, installed: Install) -> None:
    """All three probes succeed, and `helm test`, which verifies the certificate, sees the project."""
    async with installed(install) as here:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert await here.exporter.probed(probe) == (0, ""), probe
        assert await here.tested() == (0, 'modelarts_up{project="vision"} 1\n')


def mistake(folder: Path) -> None:
    """Change the password of a pod's files."""
    path = Path(pod.moved("/etc/modelarts-exporter-web/login/password", folder=folder))
    path.write_text("an-invented-mistake", encoding="utf-8")


def without_certificate(folder: Path) -> None:
    """Remove the client certificate from the files of a pod."""
    client = Path(pod.moved("/etc/modelarts-exporter-web/client", folder=folder))
    client.rename(client.with_name("elsewhere"))


async def test_a_wrong_password_is_refused(installed: Install) -> None:
    """With a wrong password, probe and `helm test` fail at once. Both print the reason, not the password."""
    async with installed("tls-basic-auth") as here:
        mistake(here.exporter.folder)
        mistake(here.test)
        status, output = await here.exporter.probed("livenessProbe")
        assert (status, output.strip()) == (1, f"https://127.0.0.1:{here.exporter.port}/-/healthy: 401")
        status, output = await here.tested()
        assert status == 1
        assert output.endswith("/-/ready: Unauthorized\n")


async def test_a_missing_client_certificate_is_refused(installed: Install) -> None:
    """If client certificates are required, a probe without one fails."""
    async with installed("mutual-tls") as here:
        without_certificate(here.exporter.folder)
        status, _ = await here.exporter.probed("livenessProbe")
        assert status == 1


async def test_helm_test_verifies_the_certificate(installed: Install) -> None:
    """If the certificate has another name, `helm test` fails at once and sends no password."""
    async with installed("tls-basic-auth") as here:
        (test,) = here.exporter.release.of("Pod")
        *command, name, folder = test["spec"]["containers"][0]["command"]
        assert name == "modelarts-exporter.monitoring.svc"
        other = [*command, "elsewhere.example", folder]
        status, output = await run(other, port=here.exporter.port, folder=here.test)
        assert status == 1
        assert "elsewhere.example" in output


def secret_names(spec: Json) -> set[str]:
    """Names of the Secrets that a pod mounts."""
    return {volume["secret"]["secretName"] for volume in spec.get("volumes", []) if "secret" in volume}


@each_authenticated
def test_monitor_authenticates_like_the_probes(install: str) -> None:
    """A monitor uses TLS, verifies the name, and sends the same login and client certificate as probes and test."""
    release = chart.render(chart.merged(chart.values_of(install), {"podMonitor": {"enabled": True}, **NO_SERVICE}))
    (endpoint,) = release.one("PodMonitor")["spec"]["podMetricsEndpoints"]
    web = chart.values_of(install)["web"]
    tls, auth = web["tls"], web.get("basicAuth", {})
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"]["serverName"] == tls.get("serverName", "modelarts-exporter.monitoring.svc")
    brought = {endpoint["basicAuth"][key]["name"] for key in ("username", "password")} if auth else set()
    brought |= {endpoint["tlsConfig"]["keySecret"]["name"]} if "clientSecret" in tls else set()
    assert brought == {found["clientSecret"] for found in (tls, auth) if "clientSecret" in found}
    assert brought <= secret_names(release.pod()["spec"])
    assert brought <= secret_names(release.one("Pod")["spec"])


def test_monitors_agree() -> None:
    """ServiceMonitor and PodMonitor have the same endpoint; a `tlsConfig` in the values replaces the derived one."""
    values = chart.values_of("tls-basic-auth")
    by_service = chart.render(values).one("ServiceMonitor")["spec"]["endpoints"]
    own = {"podMonitor": {"enabled": True}, **NO_SERVICE}
    assert chart.render(chart.merged(values, own)).one("PodMonitor")["spec"]["podMetricsEndpoints"] == by_service
    loose = {"serviceMonitor": {"tlsConfig": {"insecureSkipVerify": True}}}
    (endpoint,) = chart.render(chart.merged(values, loose)).one("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["tlsConfig"] == {"insecureSkipVerify": True}


def test_tls_alone_leaves_probes_to_the_kubelet() -> None:
    """With TLS but without client authentication, the kubelet probes by HTTPS; no client secret is mounted."""
    tls = {"existingSecret": "t", "clientAuthType": "VerifyClientCertIfGiven", "clientSecret": "c"}
    release = chart.render(chart.merged(chart.with_targets(), {"web": {"tls": tls}}))
    for probe, path in (("startupProbe", "healthy"), ("livenessProbe", "healthy"), ("readinessProbe", "ready")):
        probe_request = {"path": f"/-/{path}", "port": "http", "scheme": "HTTPS"}
        assert release.container()[probe]["httpGet"] == probe_request
    assert secret_names(release.pod()["spec"]) == {"t", "modelarts-exporter-web"}
    assert release.one("Service")["spec"]["ports"][0]["appProtocol"] == "https"


@each_authenticated
def test_keys_and_passwords_are_mounted_only_where_needed(install: str) -> None:
    """Only the exporter's pod mounts the server key. Hashes are only in the Secret; passwords are in no object."""
    release = chart.render(chart.values_of(install))
    for volume in release.one("Pod")["spec"]["volumes"]:
        if volume["secret"]["secretName"] == "modelarts-exporter-tls":
            assert [item["key"] for item in volume["secret"]["items"]] == ["ca.crt"]
    others = str([made for made in release.manifests if made["kind"] != "Secret"]) + release.notes
    assert "$2b$" not in others
    assert "an-invented-password" not in others


def test_change_of_users_restarts_nothing() -> None:
    """Changed hashes are reloaded, so the pod is not replaced."""
    values = chart.values_of("tls-basic-auth")
    more = {"web": {"basicAuth": {"users": {"ada": values["web"]["basicAuth"]["users"]["prometheus"]}}}}
    both = [chart.render(values), chart.render(chart.merged(values, more))]
    assert both[0].pod() == both[1].pod()
    assert both[0].one("Secret") != both[1].one("Secret")
