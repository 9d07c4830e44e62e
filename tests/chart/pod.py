"""Files and variables of a pod on this machine, so that tests can run the command of its container."""

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.chart.chart import Json, Rendered

INVENTED = "invented"
"""Content of a Secret or ConfigMap that does not belong to the release."""
_FILE = re.compile(r"\$\{file:([^}]+)\}")


Secrets = Mapping[str, Mapping[str, str]]
"""Secrets that do not belong to the release: their keys and texts, by name."""


def files(rendered: Rendered, *, folder: Path, secrets: Secrets | None = None) -> Path:
    """Write the volumes of the pod below a folder; return the settings file, with its paths changed to match."""
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
    """Path of the web configuration below the folder, if there is one."""
    return folder / "etc/modelarts-exporter-web/config/web-config.yaml"


def moved(place: str, *, folder: Path) -> str:
    """Return where a path of the pod is below the folder."""
    return str(folder / place.lstrip("/"))


def lay_out(rendered: Rendered, spec: Json, *, folder: Path, secrets: Secrets) -> list[str]:
    """Write the volumes of the first container of a pod below a folder; return their mount paths."""
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
    """Content of a ConfigMap or Secret; empty if it does not belong to the release."""
    return dict(pair for one in rendered.of(kind) if one["metadata"]["name"] == name for pair in _pairs(one))


def _pairs(manifest: Json) -> Iterator[tuple[str, str]]:
    for key, text in manifest.get("data", {}).items():
        yield key, base64.b64decode(text).decode() if manifest["kind"] == "Secret" else text
    yield from manifest.get("stringData", {}).items()
