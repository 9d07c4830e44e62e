"""The compose file and the files it mounts, tested without pulling an image."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import yaml

from exporter.commands import main
from tests.image.compose_schema import Composition, Datasources, Mount, Providers, composition, replaceable
from tests.image.conftest import ROOT
from tests.programs import Alertmanager, Prometheus, Service, found, free_port, until

FILE = ROOT / "compose.yaml"
PROMETHEUS = ROOT / "compose/prometheus/prometheus.yml"
WALK = ROOT / "docs/docker.md"
ALERTMANAGER = ROOT / "compose/alertmanager/alertmanager.yml"


@pytest.fixture(scope="module")
def composed() -> Composition:
    return composition(FILE)


def outside(mounts: list[Mount], inside: str) -> Path:
    """Return the file in the repository that a path in a container is mounted from."""
    for mount in mounts:
        if mount.type == "bind" and (inside == mount.target or inside.startswith(mount.target + "/")):
            return ROOT / (mount.source + inside.removeprefix(mount.target))
    raise AssertionError(f"{inside} is not mounted")


def port_of(composed: Composition, address: str) -> str:
    """Port of `service:port`; fails if the service does not publish it."""
    name, _, port = address.partition(":")
    assert port in {published.rpartition(":")[2] for published in composed.services[name].ports}, address
    return port


def test_docker_compose_accepts_the_file() -> None:
    """`docker compose config` accepts the file. Skipped if it is not installed: the structs check it anyway."""
    candidates = [["docker", "compose"], ["docker-compose"]]
    for command in candidates:
        known = shutil.which(command[0]) and subprocess.run([*command, "version"], check=False, capture_output=True)
        if known and known.returncode == 0:
            checked = subprocess.run(
                [*command, "--file", str(FILE), "config", "--quiet"], check=False, capture_output=True, text=True
            )
            assert (checked.returncode, checked.stderr) == (0, "")
            return
    pytest.skip("docker compose is not installed: ONLY OUR OWN STRUCTS CHECK THE FILE")


def test_images_are_pinned(composed: Composition) -> None:
    """Each image has a full version as its tag, and a variable that can set a digest instead."""
    defaults = replaceable(FILE)

    for name, service in composed.services.items():
        assert defaults[f"{name.upper()}_IMAGE"] == service.image
        if service.build is None:
            assert re.fullmatch(r"docker\.io/[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service.image)


def test_the_base_image_is_that_of_the_dockerfile(composed: Composition) -> None:
    """The compose file and the Dockerfile name the same base image."""
    build = composed.services["exporter"].build
    assert build is not None
    assert build.args["PYTHON_IMAGE"] in re.findall(
        r"^ARG PYTHON_IMAGE=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )


def test_nothing_is_published_beyond_loopback(composed: Composition) -> None:
    """Every port is published on 127.0.0.1, and no two are equal."""
    ports = [port for service in composed.services.values() for port in service.ports]

    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in ports)
    assert len(set(ports)) == len(ports)


def test_mounts_exist_and_are_read_only(composed: Composition) -> None:
    """Each bind mount is read-only and its source is in the repository; each volume is declared."""
    for service in composed.services.values():
        for mount in service.volumes:
            if mount.type == "bind":
                assert mount.read_only
                assert (ROOT / mount.source).exists()
            else:
                assert mount.source in composed.volumes


def test_dependencies_exist_and_have_no_cycle(composed: Composition) -> None:
    """Services depend on existing services, without a cycle."""
    started: list[str] = []
    while len(started) < len(composed.services):
        ready = [
            name
            for name, service in composed.services.items()
            if name not in started and set(service.depends_on) <= set(started)
        ]
        assert ready, f"these depend on each other: {set(composed.services) - set(started)}"
        started += ready

    assert started[-1] == "grafana"


def test_the_exporter_accepts_its_command(composed: Composition) -> None:
    """The exporter accepts its arguments, and its ports are those that are published."""
    name, *flags = composed.services["exporter"].command
    parsed = main.commands[name].make_context(name, flags).params

    assert str(parsed["web_listen_address"].port) == port_of(composed, "exporter:10310")
    assert parsed["web_listen_address"].host == "", "the loopback address of a container cannot be reached"


def test_promtool_accepts_the_configuration_and_all_rules(composed: Composition, tmp_path: Path) -> None:
    """With the mounts of the compose file, promtool accepts the configuration and all rules."""
    service = composed.services["prometheus"]
    (flag,) = (word for word in service.command if word.startswith("--config.file="))
    inside = Path(flag.removeprefix("--config.file="))
    for mount in service.volumes:
        if mount.type == "bind":
            place = tmp_path / mount.target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(ROOT / mount.source)
    checked = subprocess.run(
        [found("promtool"), "check", "config", str(tmp_path / str(inside).lstrip("/"))],
        check=False,
        capture_output=True,
        text=True,
    )
    rules = [
        rule
        for path in (ROOT / "alerts").glob("*.yaml")
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert sum(int(count) for count in re.findall(r"SUCCESS: (\d+) rules found", checked.stdout)) == len(rules) > 0


def test_scrape_targets_exist(composed: Composition) -> None:
    """Every scrape target and the Alertmanager address is a service and a port that it publishes."""
    config = yaml.safe_load(
        outside(composed.services["prometheus"].volumes, "/etc/prometheus/prometheus.yml").read_text()
    )
    target = [
        each for job in [*config["scrape_configs"], *config["alerting"]["alertmanagers"]] for each in targets(job)
    ]

    assert {port_of(composed, address.replace("localhost", "prometheus")) for address in target} == {
        *("10310", "9090", "9093")
    }


def test_amtool_accepts_the_configuration(composed: Composition) -> None:
    """Checks with amtool that the mounted file is valid and routes the alert about a failed job to `pager`."""
    path = str(outside(composed.services["alertmanager"].volumes, "/etc/alertmanager/alertmanager.yml"))
    amtool = found("amtool")
    checked = subprocess.run([amtool, "check-config", path], check=False, capture_output=True, text=True)
    routed = {
        severity: subprocess.run(
            [amtool, "config", "routes", "test", f"--config.file={path}", f"severity={severity}"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for severity in ("critical", "warning")
    }

    assert checked.returncode == 0, checked.stderr
    assert routed == {"critical": "pager", "warning": "nobody"}


def test_grafana_finds_its_data_sources(composed: Composition) -> None:
    """The provisioned data sources match the structs, and their addresses are services and published ports."""
    path = outside(composed.services["grafana"].volumes, "/etc/grafana/provisioning/datasources/datasources.yaml")
    sources = msgspec.yaml.decode(path.read_bytes(), type=Datasources).datasources

    assert [source.type for source in sources if source.isDefault] == ["prometheus"]
    for source in sources:
        assert port_of(composed, source.url.removeprefix("http://"))
        assert source.url.startswith(f"http://{source.type}:")


def test_grafana_finds_every_dashboard(composed: Composition) -> None:
    """The provider matches the struct, its folder has all dashboards, and the home dashboard is one of them."""
    grafana = composed.services["grafana"]
    path = outside(grafana.volumes, "/etc/grafana/provisioning/dashboards/providers.yaml")
    (provider,) = msgspec.yaml.decode(path.read_bytes(), type=Providers).providers
    folder = outside(grafana.volumes, provider.options.path)
    uids = [json.loads(board.read_text(encoding="utf-8"))["uid"] for board in folder.glob("*.json")]

    assert folder == ROOT / "dashboards"
    assert len(set(uids)) == len(uids) > 0
    assert outside(grafana.volumes, grafana.environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).exists()


class Running(NamedTuple):
    """The services of the compose file as processes, except Grafana."""

    exporter: Service
    simulated: str
    prometheus: Prometheus
    alertmanager: Alertmanager


@pytest.fixture
async def running(composed: Composition, tmp_path: Path) -> AsyncIterator[Running]:
    """Prometheus, Alertmanager and the demo with the settings of the compose file, on local ports."""
    (tmp_path / "alerts").mkdir()
    for path in (ROOT / "alerts").glob("*.yaml"):
        rules = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in rules["groups"]:
            group.pop("interval", None)  # a test cannot wait a minute
        (tmp_path / "alerts" / path.name).write_text(yaml.safe_dump(rules), encoding="utf-8")
    cloud = free_port()
    port = free_port()
    command = (
        *(sys.executable, "-m", "exporter", composed.services["exporter"].command[0]),
        *(f"--web.listen-address=127.0.0.1:{port}", f"--listen-address=127.0.0.1:{cloud}"),
    )
    async with AsyncExitStack() as up:
        exporter = await up.enter_async_context(Service("exporter", command, folder=tmp_path, port=port))
        routing = yaml.safe_load(ALERTMANAGER.read_text(encoding="utf-8"))
        alertmanager = await up.enter_async_context(Alertmanager(routing, folder=tmp_path))
        text = PROMETHEUS.read_text(encoding="utf-8").replace("exporter:10310", exporter.address)
        config = yaml.safe_load(text.replace("alertmanager:9093", alertmanager.address))
        config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] != "prometheus"]
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}  # a test cannot wait 15 s
        prometheus = await up.enter_async_context(Prometheus(config, folder=tmp_path))
        yield Running(exporter, f"127.0.0.1:{cloud}", prometheus, alertmanager)


async def test_the_documented_failure_raises_an_alert(running: Running) -> None:
    """All targets are up, all rules are healthy, and the command in docs/docker.md raises a critical alert."""

    async def all_up() -> bool:
        answer = await running.prometheus.json("/api/v1/targets", state="active")
        return [target["health"] for target in answer["data"]["activeTargets"]] == ["up", "up"]

    async def all_evaluated() -> bool:
        answer = await running.prometheus.json("/api/v1/rules")
        return {rule["health"] for group in answer["data"]["groups"] for rule in group["rules"]} == {"ok"}

    async def paged() -> bool:
        alerts: list[dict[str, Any]] = await running.alertmanager.json("/api/v2/alerts", receiver="pager")
        return any(
            alert["labels"].get("job_name") == "canary"
            and alert["labels"]["alertname"] == "ModelArtsTrainingJobFailed"
            for alert in alerts
        )

    await until(all_up, "the exporter and Alertmanager are up")
    await until(all_evaluated, "every rule has been evaluated without an error")
    shown = re.search(
        r"^docker compose exec exporter python -c '(.*?)'$",
        WALK.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert shown is not None
    program = shown[1].replace("127.0.0.1:10311", running.simulated)
    given = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await given.wait() == 0
    await until(paged, "Alertmanager has the page for the canary")


async def test_health_checks(composed: Composition, running: Running) -> None:
    """Each health check succeeds against its program, and fails if nothing listens."""
    addresses = {
        "exporter": ("127.0.0.1:10310", running.exporter.address),
        "prometheus": ("127.0.0.1:9090", running.prometheus.address),
        "alertmanager": ("127.0.0.1:9093", running.alertmanager.address),
    }
    unused = f"127.0.0.1:{free_port()}"
    for name, (written, address) in addresses.items():
        kind, *command = composed.services[name].healthcheck.test
        assert kind == "CMD", "the image may have no shell"
        assert any(written in word for word in command), f"{name}: its health check uses another address"
        succeeded = {
            target: subprocess.run(  # noqa: ASYNC221 - the servers are other processes
                [found(command[0]), *(word.replace(written, target) for word in command[1:])],
                check=False,
                capture_output=True,
                timeout=30,
            ).returncode
            == 0
            for target in (address, unused)
        }
        assert succeeded == {address: True, unused: False}, name


def targets(job: dict[str, Any]) -> list[str]:
    """Addresses in a scrape or alerting configuration."""
    return [address for each in job["static_configs"] for address in each["targets"]]
