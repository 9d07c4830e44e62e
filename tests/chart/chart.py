"""Renders the chart with Helm as a library; needs neither the helm program nor a cluster."""

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml
from helm_python import _native

ROOT = Path(__file__).parents[2]
PATH = ROOT / "helm/modelarts-exporter"
CI = sorted((PATH / "ci").glob("*-values.yaml"))
OLDEST, NEWEST = "1.25", "1.37"
"""The Kubernetes releases to test against; the schemas of kubernetes-validate end at the newest."""

Json = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, as the strict decoding of Kubernetes does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"duplicate key: {keys}, {node.start_mark}"
        return super().construct_mapping(node, deep=deep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What Helm renders from one set of values."""

    texts: Mapping[str, str]
    """By template, NOTES.txt included."""
    manifests: tuple[Json, ...]

    def of(self, kind: str) -> Iterator[Json]:
        """Manifests of one kind."""
        return (manifest for manifest in self.manifests if manifest["kind"] == kind)

    def one(self, kind: str) -> Json:
        """The only manifest of a kind."""
        found = list(self.of(kind))
        assert len(found) == 1, f"{len(found)} of {kind}"
        return found[0]

    def pod(self) -> Json:
        """The pod template of the Deployment."""
        template = self.one("Deployment")["spec"]["template"]
        assert isinstance(template, dict)
        return template

    def container(self) -> Json:
        """The exporter's container."""
        container = self.pod()["spec"]["containers"][0]
        assert isinstance(container, dict)
        return container

    @property
    def notes(self) -> str:
        """What Helm prints after an install."""
        return next(text for path, text in self.texts.items() if path.endswith("NOTES.txt"))


@cache
def _loaded(path: Path) -> helm.Chart:
    return helm.Chart.load(path)


def render(
    values: Mapping[str, Any],
    *,
    name: str = "modelarts-exporter",
    namespace: str = "monitoring",
    kubernetes: str = NEWEST,
    operator: bool = True,
    path: Path = PATH,
) -> Rendered:
    """Render as `helm template` does. `operator`: whether the cluster has the CRDs of the Prometheus Operator.

    Raises helm.HelmError if the values do not match the schema, or the chart refuses them.
    """
    options = {
        "name": name,
        "namespace": namespace,
        "kube_version": f"v{kubernetes}.0",
        "api_versions": ["monitoring.coreos.com/v1"] if operator else [],
    }
    # The wrapper in the library does not pass on the version and the kinds; the wrapped function takes both.
    answer = _native.call_string("helm_render", _loaded(path)._raw(), json.dumps(dict(values)), json.dumps(options))
    texts = json.loads(answer)
    manifests = tuple(
        manifest
        for path, text in texts.items()
        if not path.endswith(".txt")
        for manifest in yaml.load_all(text, _Loader)
        if manifest
    )
    return Rendered(texts=texts, manifests=manifests)


def load(path: Path) -> Json:
    """Read a file of values."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def values_of(name: str) -> Json:
    """The values of one file in ci/, each of which is a supported way to install."""
    return load(PATH / "ci" / f"{name}-values.yaml")


@cache
def rendered(path: Path, *, kubernetes: str = NEWEST) -> Rendered:
    """Render the values of one file in ci/; cached, because tests only read it."""
    return render(load(path), kubernetes=kubernetes)


def merged(*several: Mapping[str, Any]) -> Json:
    """Merge values as Helm merges several files: the last one wins."""
    result: Json = {}
    for values in several:
        for key, value in values.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def target(**changes: Any) -> Json:
    """A target that needs no Secret: its credential is the agency of the node."""
    return {
        "project": "vision",
        "cloud": "huaweicloud",
        "region": "eu-west-101",
        "project_id": "0123456789abcdef0123456789abcdef",
        "credentials": {"type": "metadata"},
        **changes,
    }


def with_targets(*targets: Json) -> Json:
    """Values with these targets; by default with one."""
    return {"config": {"targets": list(targets) or [target()]}}
