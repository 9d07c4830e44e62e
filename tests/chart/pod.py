"""A pod's files and variables on this machine, so that the real command can be run as the pod would run it."""

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.chart.chart import Json, Rendered

INVENTED = "invented"
"""What stands in for a Secret or ConfigMap that somebody else makes."""
_FILE = re.compile(r"\$\{file:([^}]+)\}")


Secrets = Mapping[str, Mapping[str, str]]
"""Secrets that somebody else makes, by name, with their keys."""


def files(rendered: Rendered, *, folder: Path, secrets: Secrets | None = None) -> Path:
    """Lay the pod's volumes out below a folder, and give the settings file, its paths changed to match."""
    places = lay_out(rendered, rendered.pod()["spec"], folder=folder, secrets=secrets or {})
    config = folder / "etc/modelarts-exporter/config.yaml"
    for reference in _FILE.findall(config.read_text(encoding="utf-8")):
        path = folder / reference.lstrip("/")
        assert str(Path(reference).parent) in places, f"{reference} is in no volume"
        if not path.exists():
            path.write_text(INVENTED, encoding="utf-8")
    paths = re.compile("|".join(re.escape(place) for place in sorted(places, key=len, reverse=True)))
    for path in (config, web_config(folder)):
        if path.exists():
            text = paths.sub(lambda place: moved(place[0], folder=folder), path.read_text(encoding="utf-8"))
            path.write_text(text, encoding="utf-8")
    return config


def web_config(folder: Path) -> Path:
    """Where the web configuration lies after the layout, if there is one."""
    return folder / "etc/modelarts-exporter-web/config/web-config.yaml"


def moved(place: str, *, folder: Path) -> str:
    """A path of the pod, below the folder."""
    return str(folder / place.lstrip("/"))


def lay_out(rendered: Rendered, spec: Json, *, folder: Path, secrets: Secrets) -> list[str]:
    """Lay the volumes of the first container of a pod out below a folder; gives the directories of the pod."""
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in spec["containers"][0].get("volumeMounts", [])}
    for place, volume in mounts.items():
        path = folder / place.lstrip("/")
        path.mkdir(parents=True)
        for name, text in _content(rendered, volume, secrets).items():
            (path / name).write_text(text, encoding="utf-8")
    return list(mounts)


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


def _content(rendered: Rendered, volume: Json, secrets: Secrets) -> Mapping[str, str]:
    if "configMap" in volume:
        return _data(rendered, "ConfigMap", volume["configMap"]["name"])
    if "secret" not in volume:
        return {}
    name = volume["secret"]["secretName"]
    found = secrets.get(name) or _data(rendered, "Secret", name)
    items = volume["secret"].get("items")
    return found if items is None else {item["path"]: found[item["key"]] for item in items}


def _data(rendered: Rendered, kind: str, name: str) -> dict[str, str]:
    """What a ConfigMap or Secret of the release holds; nothing where it is not one of the release's."""
    return dict(pair for made in rendered.of(kind) if made["metadata"]["name"] == name for pair in _pairs(made))


def _pairs(made: Json) -> Iterator[tuple[str, str]]:
    for key, text in made.get("data", {}).items():
        yield key, base64.b64decode(text).decode() if made["kind"] == "Secret" else text
    yield from made.get("stringData", {}).items()
