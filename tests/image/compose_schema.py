"""The parts of the Compose Specification and of Grafana's provisioning files that we use, as structs.

Written by hand from their documentation. Undeclared keys are refused, so that tests find a misspelt key that the
programs would ignore.
"""

import re
from pathlib import Path
from typing import Literal

import msgspec
import yaml

_DEFAULTED = re.compile(r"\$\{(\w+):-([^}]*)\}")


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """Refuses undeclared keys."""


class Build(_Strict, kw_only=True):
    """compose-spec, "build"."""

    context: str
    args: dict[str, str] = {}


class Healthcheck(_Strict, kw_only=True):
    """compose-spec, "healthcheck"; `test` in its exec form."""

    test: list[str]
    interval: str
    timeout: str
    retries: int
    start_period: str


class Dependency(_Strict, kw_only=True):
    """compose-spec, "depends_on", long syntax."""

    condition: Literal["service_healthy"]


class Mount(_Strict, kw_only=True):
    """compose-spec, "volumes" of a service, long syntax."""

    type: Literal["bind", "volume"]
    source: str
    target: str
    read_only: bool = False


class Service(_Strict, kw_only=True):
    """compose-spec, "services"."""

    image: str
    command: list[str] = []
    build: Build | None = None
    environment: dict[str, str] = {}
    ports: list[str]
    tmpfs: list[str] = []
    volumes: list[Mount] = []
    mem_limit: str = ""
    healthcheck: Healthcheck
    depends_on: dict[str, Dependency] = {}
    restart: Literal["unless-stopped"]
    read_only: Literal[True]
    cap_drop: list[Literal["ALL"]]
    security_opt: list[Literal["no-new-privileges:true"]]


class Composition(msgspec.Struct, kw_only=True):
    """compose-spec, top level; `x-` keys are shared by services."""

    name: str
    services: dict[str, Service]
    volumes: dict[str, None]


class Datasource(_Strict, kw_only=True):
    """Grafana, "Provision Grafana", data sources."""

    name: str
    uid: str
    type: Literal["prometheus", "alertmanager"]
    access: Literal["proxy"]
    url: str
    isDefault: bool = False  # noqa: N815 - Grafana's name
    editable: bool
    jsonData: dict[str, str]  # noqa: N815 - Grafana's name


class Datasources(_Strict, kw_only=True):
    """A file of data sources."""

    apiVersion: Literal[1]  # noqa: N815 - Grafana's name
    datasources: list[Datasource]


class ProviderOptions(_Strict, kw_only=True):
    """The folder of the dashboards of a provider."""

    path: str


class Provider(_Strict, kw_only=True):
    """Grafana, "Provision Grafana", dashboards."""

    name: str
    type: Literal["file"]
    folder: str
    disableDeletion: bool  # noqa: N815 - Grafana's name
    allowUiUpdates: bool  # noqa: N815 - Grafana's name
    options: ProviderOptions


class Providers(_Strict, kw_only=True):
    """A file of dashboard providers."""

    apiVersion: Literal[1]  # noqa: N815 - Grafana's name
    providers: list[Provider]


def composition(path: Path) -> Composition:
    """Read a compose file with nothing set in the environment. Raises msgspec.ValidationError with the key's path."""
    text = _DEFAULTED.sub(lambda match: match[2], path.read_text(encoding="utf-8"))
    document = yaml.safe_load(text)
    unknown = {key for key in document if key not in {"name", "services", "volumes"} and not key.startswith("x-")}
    assert not unknown, f"no such top-level key: {unknown}"
    return msgspec.convert(document, Composition)


def replaceable(path: Path) -> dict[str, str]:
    """Variables that a compose file reads, with their defaults."""
    return {match[1]: match[2] for match in _DEFAULTED.finditer(path.read_text(encoding="utf-8"))}
