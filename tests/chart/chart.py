"""The chart, through Helm itself as a library: no helm program and no cluster is needed."""

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
"""The releases of Kubernetes between which the chart is held; the schemas of kubernetes-validate end there."""

Json = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, as Kubernetes' own strict decoding does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice: {keys}, {node.start_mark}"
        return super().construct_mapping(node, deep=deep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What one set of values makes."""

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
        """The pod that the Deployment makes."""
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
    """Render as `helm template` does. `operator` says whether the cluster knows the Prometheus Operator's kinds.

    Raises helm.HelmError: values against the schema, and what the chart refuses.
    """
    options = {
        "name": name,
        "namespace": namespace,
        "kube_version": f"v{kubernetes}.0",
        "api_versions": ["monitoring.coreos.com/v1"] if operator else [],
    }
    # The library's own wrapper passes neither the version nor the kinds on; what it wraps takes both.
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
    """The values of one supported way to install."""
    return load(PATH / "ci" / f"{name}-values.yaml")


@cache
def rendered(path: Path, *, kubernetes: str = NEWEST) -> Rendered:
    """Render one supported way to install; once for all tests, which only read."""
    return render(load(path), kubernetes=kubernetes)


def merged(*several: Mapping[str, Any]) -> Json:
    """Values laid over one another, as Helm does with several files."""
    whole: Json = {}
    for values in several:
        for key, value in values.items():
            both = isinstance(value, dict) and isinstance(whole.get(key), dict)
            whole[key] = merged(whole[key], value) if both else value
    return whole


def target(**changes: Any) -> Json:
    """A target without secrets in the cluster: the agency of the node."""
    return {
        "project": "vision",
        "cloud": "huaweicloud",
        "region": "eu-west-101",
        "project_id": "0123456789abcdef0123456789abcdef",
        "credentials": {"type": "metadata"},
        **changes,
    }


def watching(*targets: Json) -> Json:
    """Values that watch these targets, or one."""
    return {"config": {"targets": list(targets) or [target()]}}
