"""The objects of a cluster after each command of docs/kubernetes.md, without a real cluster."""

import argparse
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import helm_python as helm
import pytest

from tests.chart import chart, schemas
from tests.chart.chart import NEWEST, PATH, Json, Rendered
from tests.chart.guide import Call

STACK = "kube-prometheus-stack"
STACK_OBJECTS = {
    f"service/{STACK}-prometheus": {9090},
    f"service/{STACK}-alertmanager": {9093},
    f"service/{STACK}-grafana": {80},
    f"secret/{STACK}-grafana": set(),
}
"""Objects of kube-prometheus-stack that the page names, with their ports; tests cannot render that chart."""


class Parser(argparse.ArgumentParser):
    """Fails the test for an argument that is not declared. Abbreviations are not accepted."""

    def __init__(self, *flags: str, many: Sequence[str] = (), valued: Sequence[str] = (), rest: str = "*") -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        for flag in flags:
            self.add_argument(f"--{flag}", action="store_true")
        for flag in valued:
            self.add_argument(f"--{flag}")
        for flag in many:
            self.add_argument(f"--{flag}", action="append", default=[])
        self.add_argument("rest", nargs=rest)

    def error(self, message: str) -> Any:
        """Fail the test."""
        raise AssertionError(message)

    def read(self, arguments: Iterable[str]) -> argparse.Namespace:
        """Parse."""
        return self.parse_intermixed_args(list(arguments))


HELM = Parser("install", "create-namespace", "wait", valued=["namespace"], many=["values", "set"])
KUBECTL = Parser(valued=["namespace", "output", "tail", "dry-run", "filename"], many=["from-literal"])
CURL = Parser("silent", "show-error", "get", valued=["data", "data-urlencode"], rest="+")


class FakeCluster:
    """The releases and Secrets after the commands so far."""

    def __init__(self) -> None:
        self.releases: dict[str, Rendered | None] = {}
        """By name; None for kube-prometheus-stack."""
        self.secrets: dict[str, set[str]] = {}
        """Keys of Secrets that `kubectl create` made, by name."""

    def helm(self, call: Call) -> None:
        """Apply a `helm` command."""
        options = HELM.read(call.arguments)
        match options.rest:
            case ["repo", "add", _, url]:
                assert urlsplit(url).scheme == "https"
            case ["upgrade", name, "prometheus-community/kube-prometheus-stack"]:
                assert options.install
                self.releases[name] = None
            case ["upgrade", name, path]:
                assert (call.folder / path).resolve() == PATH
                self._install(name, options, folder=call.folder)
            case ["test", name]:
                release = self.releases[name]
                assert release is not None
                assert release.one("Pod")["metadata"]["namespace"] == options.namespace
            case ["uninstall", name]:
                del self.releases[name]
            case _:
                pytest.fail(f"not supported by the fake cluster: {call}")

    def _install(self, name: str, options: argparse.Namespace, *, folder: Path) -> None:
        files = [chart.load(folder / path) for path in options.values]
        values = chart.merged(*files, *map(helm.parse_set_string, options.set))
        release = chart.render(values, name=name, namespace=options.namespace)
        for manifest in release.manifests:
            schemas.check(manifest, kubernetes=NEWEST)
        for kind in ("ServiceMonitor", "PrometheusRule"):
            assert release.one(kind)["metadata"]["labels"]["release"] in self.releases, "no Prometheus selects it"
        for volume in release.pod()["spec"].get("volumes", []):
            if "secret" in volume:
                references = re.findall(
                    r"/var/run/secrets/modelarts-exporter/([\w-]+)\}", json.dumps(release.manifests)
                )
                assert set(references) == self.secrets[volume["secret"]["secretName"]]
        self.releases[name] = release

    def kubectl(self, call: Call) -> None:
        """Apply a `kubectl` command."""
        options = KUBECTL.read(call.arguments)
        if options.rest[0] != "apply":
            assert options.namespace == "monitoring"
        match options.rest:
            case ["create", "secret", "generic", name]:
                assert name not in self.secrets or options.dry_run == "client", "it already exists"
                pairs = [literal.partition("=") for literal in options.from_literal]
                assert all(text for _, _, text in pairs), "a value is empty"
                self.secrets[name] = {key for key, _, _ in pairs}
            case ["apply"]:
                assert options.filename == "-"
            case ["port-forward", where, ports]:
                assert int(ports.partition(":")[2] or ports) in self.ports(where)
            case ["logs", where]:
                assert where in self.objects()
            case ["get" | "delete", kind, name]:
                assert name in self.secrets or f"{kind}/{name}" in self.objects()
                if options.rest[0] == "delete":
                    del self.secrets[name]
            case _:
                pytest.fail(f"not supported by the fake cluster: {call}")

    def objects(self) -> set[str]:
        """All objects, as `kind/name`."""
        ours = {f"{m['kind'].lower()}/{m['metadata']['name']}" for m in self._manifests()}
        return ours | (set(STACK_OBJECTS) if STACK in self.releases else set())

    def ports(self, where: str) -> set[int]:
        """Ports of an object; for a pod, including those on its loopback address."""
        assert where in self.objects()
        if where in STACK_OBJECTS:
            return STACK_OBJECTS[where]
        release = self.releases[where.partition("/")[2]]
        assert release is not None
        return {release.container()["ports"][0]["containerPort"], 10311}

    def _manifests(self) -> Iterator[Json]:
        return (m for release in self.releases.values() if release is not None for m in release.manifests)
