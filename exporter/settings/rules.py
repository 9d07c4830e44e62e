"""Rules that look at more than one key, and what follows from several keys together."""

import re
import ssl
from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from msgspec.structs import replace

from exporter.settings.model import Password, PodIdentity, Settings, Target
from exporter.settings.presets import preset
from exporter.settings.problems import Faults
from exporter.settings.secret import SecretFile, SecretUnreadable

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", re.ASCII)
_ID = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)
_ID_NAMES = ("HUAWEICLOUD_SDK_PROJECT_ID", "OS_PROJECT_ID")
_NAME_NAME = "OS_PROJECT_NAME"
POD_URL = "HC_CONTAINER_CREDENTIALS_FULL_URI"
"""Variable by which CCE says where a pod gets its keys (API reference §9.3)."""
POD_TOKEN_FILE = "HC_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105 - the name of a variable
"""Variable by which CCE says where the pod's own token is mounted."""


def apply(settings: Settings, *, environ: Mapping[str, str], faults: Faults) -> Settings:
    """Note what contradicts itself, and give the settings with URLs and project filled in.

    A rule is silent about keys that are wrong by themselves: in their place the decoder left a default, or None.
    """
    if not faults.spoils("collection"):
        _collection(settings, faults)
    _metrics(settings, faults)
    _prices(settings, faults)
    targets: tuple[Target | None, ...] | None = settings.targets
    if targets is None:
        return settings
    _unique(targets, faults)
    shared = environ if len(targets) == 1 else {}
    settled = (
        target and _target(target, f"targets[{index}]", environ=shared, faults=faults)
        for index, target in enumerate(targets)
    )
    settings = replace(settings, targets=tuple(settled))
    for index, target in enumerate(targets):
        if target is not None and not faults.spoils(f"targets[{index}].credentials"):
            _check_pod(target, f"targets[{index}].credentials", environ=environ, faults=faults)
    return settings


def _collection(settings: Settings, faults: Faults) -> None:
    times = settings.collection
    soonest = type(times.stale_after_s)(times.jobs_interval_s + times.timeout_s)
    if times.stale_after_s < soonest:
        faults.add(
            "collection.stale_after",
            f"must be at least jobs_interval and timeout together ({soonest}), or one slow poll would withdraw "
            f"series that are still good, not {times.stale_after_s}",
        )
    if times.retention_s < times.jobs_interval_s:
        faults.add(
            "collection.retention",
            f"must be at least jobs_interval ({times.jobs_interval_s}), or no scrape might see a job's end, "
            f"not {times.retention_s}",
        )


def _metrics(settings: Settings, faults: Faults) -> None:
    path = "metrics.job_labels"
    if faults.spoils(path):
        return
    labels = settings.metrics.job_labels
    for label, count in Counter(labels).items():
        if count > 1:
            faults.add(path, f"{label} is given {count} times")
    if "user" in labels and settings.metrics.user_label == "drop" and not faults.spoils("metrics.user_label"):
        faults.add(path, "cannot copy the label user, which metrics.user_label drops")


def _prices(settings: Settings, faults: Faults) -> None:
    """A price is for one thing, each thing has one price, and all are in one currency."""
    if faults.spoils("prices"):
        return
    prices = settings.prices
    if prices.accelerator_hour and not prices.currency:
        faults.add("prices.currency", "is missing: a price without a currency is only a number")
    first: dict[tuple[str, str], int] = {}
    for index, price in enumerate(prices.accelerator_hour):
        path = f"prices.accelerator_hour[{index}]"
        thing = (price.flavor, price.accelerator_model)
        if bool(price.flavor) == bool(price.accelerator_model):
            faults.add(path, "must have one of flavor and accelerator_model")
        elif thing in first:
            faults.add(path, f"prices the same as prices.accelerator_hour[{first[thing]}]")
        first.setdefault(thing, index)


def _unique(targets: Iterable[Target | None], faults: Faults) -> None:
    first: dict[str, int] = {}
    for index, target in enumerate(targets):
        path = f"targets[{index}].project"
        if target is None or faults.spoils(path):
            continue
        if target.project in first:
            faults.add(path, f'"{target.project}" is already the project of targets[{first[target.project]}]')
        first.setdefault(target.project, index)


def _target(target: Target, path: str, *, environ: Mapping[str, str], faults: Faults) -> Target:
    _check_authorities(target, path, faults=faults)
    _check_proxy(target, path, faults=faults)
    return _addressed(_identified(target, path, environ=environ, faults=faults), path, faults=faults)


def _identified(target: Target, path: str, *, environ: Mapping[str, str], faults: Faults) -> Target:
    """Settle which project: an id, or a name where a password can buy a token for it."""
    if faults.spoils(f"{path}.project_id", f"{path}.project_name", f"{path}.credentials"):
        return target
    by_name = isinstance(target.credentials, Password)
    if target.project_id and target.project_name:
        faults.add(f"{path}.project_name", "must not be given together with project_id")
    elif target.project_name and not by_name:
        faults.add(f"{path}.project_name", "works with password credentials only; give project_id")
    elif not target.project_id and not target.project_name:
        name = next((name for name in _ID_NAMES if environ.get(name)), "")
        if name and not _ID.fullmatch(environ[name]):
            faults.add(f"{path}.project_id", f"must be 32 hexadecimal digits, which {name} of the environment is not")
        elif name:
            return replace(target, project_id=environ[name])
        elif by_name and environ.get(_NAME_NAME):
            return replace(target, project_name=environ[_NAME_NAME])
        else:
            faults.add(f"{path}.project_id", "missing" + ("; give it or project_name" if by_name else ""))
    return target


def _addressed(target: Target, path: str, *, faults: Faults) -> Target:
    """Settle the two URLs."""
    known = not faults.spoils(f"{path}.cloud", f"{path}.region")
    usual = preset(target.cloud, target.region) if known else None
    needed = {"endpoint": known, "iam_endpoint": known and isinstance(target.credentials, Password)}
    usually = {"endpoint": usual.modelarts, "iam_endpoint": usual.iam} if usual else {}
    settled = {}
    for key, is_needed in needed.items():
        given, below = getattr(target, key), f"{path}.{key}"
        if not given:
            settled[key] = usually.get(key, "")
            if not settled[key] and is_needed and not faults.spoils(below):
                faults.add(below, "missing; give it, or cloud and region")
        else:
            settled[key] = given.rstrip("/")
            wrong = _wrong_with(given)
            if wrong:
                faults.add(below, wrong)
    return replace(target, **settled)


def _wrong_with(url: str) -> str:
    """Say what an API's URL breaks; empty when nothing. Never repeats the URL, which may hold a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "must be a URL such as https://host"
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host) or port == 0:
        return "must be a URL such as https://host"
    if "@" in parts.netloc:
        return "must not hold a user or password; they belong in credentials"
    if parts.path not in {"", "/"} or "?" in url or "#" in url:
        return "must be scheme and host only, without path or query"
    if parts.scheme == "http" and not _is_this_machine(host):
        return (
            "must be https, or tokens would travel in clear; http is for this machine itself (127.0.0.1, localhost)"
        )
    return ""


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _check_proxy(target: Target, path: str, *, faults: Faults) -> None:
    if target.proxy is None or faults.spoils(f"{path}.proxy"):
        return
    try:
        parts = urlsplit(target.proxy.reveal())
        good = parts.scheme in {"http", "https"} and _HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except (ValueError, SecretUnreadable):
        good = False
    if not good:
        faults.add(f"{path}.proxy", "must be a URL such as http://host:3128")


def _check_pod(target: Target, path: str, *, environ: Mapping[str, str], faults: Faults) -> None:
    """A pod's identity is a secret like others: it must be there at the start."""
    if not isinstance(target.credentials, PodIdentity):
        return
    missing = [name for name in (POD_URL, POD_TOKEN_FILE) if not environ.get(name)]
    if missing:
        faults.add(path, f"pod_identity needs {' and '.join(missing)} in the environment, which CCE sets")
        return
    try:
        parts = urlsplit(environ[POD_URL])
        good = parts.scheme in {"http", "https"} and _HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:
        good = False
    if not good:
        faults.add(path, f"{POD_URL} of the environment is not a URL")
    try:
        SecretFile(Path(environ[POD_TOKEN_FILE])).read()
    except ValueError as error:
        faults.add(path, f"{POD_TOKEN_FILE}: {environ[POD_TOKEN_FILE]}: {error}")


def _check_authorities(target: Target, path: str, *, faults: Faults) -> None:
    if faults.spoils(f"{path}.tls.ca_file") or not target.tls.ca_file:
        return
    key, file = f"{path}.tls.ca_file", target.tls.ca_file
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except ssl.SSLError:
        faults.add(key, f"{file} holds no PEM certificate")
    except OSError as error:
        faults.add(key, f"{file} cannot be read: {error.strerror}")
