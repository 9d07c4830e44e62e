"""A pod's files and variables on this machine, so that the real command can be run as the pod would run it."""

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.chart.chart import Json, Rendered

INVENTED = "invented"
"""What stands in for a Secret or ConfigMap that somebody else makes."""
_FILE = re.compile(r"\$\{file:([^}]+)\}")


def files(rendered: Rendered, *, folder: Path) -> Path:
    """Lay the pod's volumes out below a folder, and give the settings file, its paths changed to match."""
    container, spec = rendered.container(), rendered.pod()["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    places = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    for place, volume in places.items():
        path = folder / place.lstrip("/")
        path.mkdir(parents=True)
        for name, text in _content(rendered, volume).items():
            (path / name).write_text(text, encoding="utf-8")
    config = folder / "etc/modelarts-exporter/config.yaml"
    text = config.read_text(encoding="utf-8")
    for reference in _FILE.findall(text):
        path = folder / reference.lstrip("/")
        assert str(Path(reference).parent) in places, f"{reference} is in no volume"
        if not path.exists():
            path.write_text(INVENTED, encoding="utf-8")
    for place in places:
        text = text.replace(place, str(folder / place.lstrip("/")))
    config.write_text(text, encoding="utf-8")
    return config


def variables(rendered: Rendered) -> dict[str, str]:
    """The container's environment."""
    container = rendered.container()
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= _data(rendered, "Secret", source["secretRef"]["name"])
    for variable in container.get("env", []):
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        else:
            reference = variable["valueFrom"]["secretKeyRef"]
            found[variable["name"]] = _data(rendered, "Secret", reference["name"])[reference["key"]]
    return found


def _content(rendered: Rendered, volume: Json) -> Mapping[str, str]:
    if "configMap" in volume:
        return _data(rendered, "ConfigMap", volume["configMap"]["name"])
    return _data(rendered, "Secret", volume["secret"]["secretName"])


def _data(rendered: Rendered, kind: str, name: str) -> dict[str, str]:
    """What a ConfigMap or Secret of the release holds; nothing where it is not one of the release's."""
    return dict(pair for made in rendered.of(kind) if made["metadata"]["name"] == name for pair in _pairs(made))


def _pairs(made: Json) -> Iterator[tuple[str, str]]:
    for key, text in made.get("data", {}).items():
        yield key, base64.b64decode(text).decode() if made["kind"] == "Secret" else text
    yield from made.get("stringData", {}).items()
