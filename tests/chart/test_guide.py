"""Every command of docs/kubernetes.md, tested without a cluster; includes the test alert."""

import argparse
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml

from tests.chart import chart
from tests.chart.chart import CI, PATH, Rendered
from tests.chart.fake_cluster import CURL, HELM, STACK, FakeCluster
from tests.chart.guide import PAGE, Call, blocks, run_shell_blocks
from tests.programs import Prometheus, Service, free_port, until


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    """All commands of the page, in order."""
    return run_shell_blocks(tmp_path_factory.mktemp("walk"))


def test_every_command_is_valid(calls: list[Call]) -> None:
    """Each command is valid after those before it: flags, values, names, ports and keys exist."""
    cluster = FakeCluster()
    installed = []
    for call in calls:
        match call.program:
            case "helm":
                cluster.helm(call)
            case "kubectl":
                cluster.kubectl(call)
            case "git":
                assert call.arguments == ("clone", chart.load(PATH / "Chart.yaml")["home"])
            case "docker":
                assert call.arguments[0] in {"build", "push"}
                assert call.arguments[-1] in {".", f"registry.example/modelarts-exporter:{version()}"}
        installed.append(set(cluster.releases))
    assert {"modelarts-exporter", STACK} in installed
    assert cluster.releases == {}, "something is left after the uninstall"
    assert cluster.secrets == {}


def version() -> str:
    """The chart's own image tag."""
    found = chart.load(PATH / "Chart.yaml")["appVersion"]
    assert isinstance(found, str)
    return found


def requests(calls: list[Call], port: int) -> list[argparse.Namespace]:
    """Calls of curl to one port of this machine."""
    found = [CURL.read(call.arguments) for call in calls if call.program == "curl"]
    return [options for options in found if urlsplit(options.rest[0]).port == port]


async def send(options: argparse.Namespace, *, to: str) -> None:
    """Send the request of a curl command with --data to another address. Raises for an error status."""
    path = urlsplit(options.rest[0]).path
    assert options.data is not None
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.post(to + path, data=options.data, headers={"Content-Type": "application/x-www-form-urlencoded"}),
    ):
        pass


def demo(release: Rendered, *, folder: Path, simulator: int) -> Service:
    """The command of the pod, on free ports."""
    port = free_port()
    arguments = [a for a in release.container()["args"] if not a.startswith("--web.listen-address=")]
    moved = [f"--web.listen-address=127.0.0.1:{port}", f"--listen-address=127.0.0.1:{simulator}"]
    return Service("exporter", (sys.executable, "-m", "exporter", *arguments, *moved), folder=folder, port=port)


def demo_release(calls: list[Call]) -> Rendered:
    """The release of the first install of our chart."""
    call = next(call for call in calls if "./helm/modelarts-exporter" in call.arguments)
    (path,) = HELM.read(call.arguments).values
    return chart.render(chart.load(call.folder / path))


async def test_alert_fires(calls: list[Call], tmp_path: Path) -> None:
    """The simulator commands of the page make an installed alert fire, and its query finds the alert."""
    release = demo_release(calls)
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(release.one("PrometheusRule")["spec"]), encoding="utf-8")
    simulator = free_port()
    (question,) = requests(calls, 9090)
    kind, _, query = question.data_urlencode.partition("=")
    assert (question.get, kind, urlsplit(question.rest[0]).path) == (True, "query", "/api/v1/query")
    async with demo(release, folder=tmp_path, simulator=simulator) as exporter:
        endpoint = release.one("ServiceMonitor")["spec"]["endpoints"][0]
        targets = [{"targets": [exporter.address]}]
        scrape = {"job_name": "x", "metrics_path": endpoint["path"], "static_configs": targets}
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(fast(rules))],
            "scrape_configs": [scrape],
        }
        async with Prometheus(settings, folder=tmp_path) as prometheus:
            await until_up(prometheus)
            assert await prometheus.query(query) == []
            for order in requests(calls, 10311):
                await send(order, to=f"http://127.0.0.1:{simulator}")

            async def fires() -> bool:
                return len(await prometheus.query(query)) == 1

            await until(fires, "the test alert fires")
            (alert,) = await prometheus.query(query)
            assert alert["metric"]["user"] == "vision-train"


def fast(rules: Path) -> Path:
    """The rule file, with the scrape interval of this test as the evaluation interval."""
    document = yaml.safe_load(rules.read_text(encoding="utf-8"))
    for group in document["groups"]:
        group["interval"] = "1s"
    rules.write_text(yaml.safe_dump(document), encoding="utf-8")
    return rules


async def until_up(prometheus: Prometheus) -> None:
    """Wait until Prometheus has a scrape of both projects."""

    async def both() -> bool:
        return len(await prometheus.query("modelarts_up == 1")) == 2

    await until(both, "Prometheus has scraped the exporter")


@pytest.mark.parametrize("block", blocks("yaml"))
def test_example_values_are_valid(block: str) -> None:
    """Each example of values is valid on top of an install."""
    assert chart.render(chart.merged(chart.values_of("kube-prometheus-stack"), yaml.safe_load(block))).manifests


def test_every_way_to_install_is_listed() -> None:
    """The page lists every file in ci/, and no other."""
    listed = re.findall(r"^\| \[`([\w-]+)`\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {(PAGE.parent / link).resolve() for _, link in listed} == set(CI)
    assert all(link.endswith(f"/{name}-values.yaml") for name, link in listed)


def test_named_values_exist() -> None:
    """Values named in the text of the page exist in the chart."""
    values = chart.load(PATH / "values.yaml")
    for name in re.findall(r"`((?:networkPolicy|credentials|serviceMonitor|config)\.\w+)`", PAGE.read_text("utf-8")):
        section, key = name.split(".")
        assert key in values[section], name
