"""Rules over more than one key, and values derived from several keys."""

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
from exporter.settings.problems import Problems
from exporter.settings.secret import SecretFile, SecretUnreadable

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", re.ASCII)
_ID = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)
_PROJECT_ID_VARIABLES = ("HUAWEICLOUD_SDK_PROJECT_ID", "OS_PROJECT_ID")
_PROJECT_NAME_VARIABLE = "OS_PROJECT_NAME"
POD_URL = "HC_CONTAINER_CREDENTIALS_FULL_URI"
"""Environment variable set by CCE: URL of the pod's credentials (API reference §9.3)."""
POD_TOKEN_FILE = "HC_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105 - the name of a variable
"""Environment variable set by CCE: path of the pod's token."""


def apply(settings: Settings, *, environ: Mapping[str, str], problems: Problems) -> Settings:
    """Check rules over several keys. Returns the settings with URLs and project filled in.

    A rule skips keys that already have a problem: for them the decoder left a default, or None.
    """
    if not problems.affects("collection"):
        _check_collection(settings, problems)
    _check_metrics(settings, problems)
    _check_prices(settings, problems)
    targets: tuple[Target | None, ...] | None = settings.targets
    if targets is None:
        return settings
    _check_unique_projects(targets, problems)
    target_environ = environ if len(targets) == 1 else {}
    resolved = (
        target and _resolve_target(target, f"targets[{index}]", environ=target_environ, problems=problems)
        for index, target in enumerate(targets)
    )
    settings = replace(settings, targets=tuple(resolved))
    for index, target in enumerate(targets):
        if target is not None and not problems.affects(f"targets[{index}].credentials"):
            _check_pod_identity(target, f"targets[{index}].credentials", environ=environ, problems=problems)
    return settings


def _check_collection(settings: Settings, problems: Problems) -> None:
    collection = settings.collection
    minimum = type(collection.stale_after_s)(collection.jobs_interval_s + collection.timeout_s)
    if collection.stale_after_s < minimum:
        problems.add(
            "collection.stale_after",
            f"must be at least jobs_interval and timeout together ({minimum}), not {collection.stale_after_s}: "
            "otherwise one slow poll would withdraw current series",
        )
    if collection.retention_s < collection.jobs_interval_s:
        problems.add(
            "collection.retention",
            f"must be at least jobs_interval ({collection.jobs_interval_s}), not {collection.retention_s}: "
            "otherwise a job could end unseen by any scrape",
        )


def _check_metrics(settings: Settings, problems: Problems) -> None:
    path = "metrics.job_labels"
    if problems.affects(path):
        return
    labels = settings.metrics.job_labels
    for label, count in Counter(labels).items():
        if count > 1:
            problems.add(path, f"{label} is given {count} times")
    if "user" in labels and settings.metrics.user_label == "drop" and not problems.affects("metrics.user_label"):
        problems.add(path, "cannot copy the label user, which metrics.user_label drops")


def _check_prices(settings: Settings, problems: Problems) -> None:
    """Each price names one flavor or model, each of these has one price, and there is a currency."""
    if problems.affects("prices"):
        return
    prices = settings.prices
    if prices.accelerator_hour and not prices.currency:
        problems.add("prices.currency", "missing; accelerator_hour needs a currency")
    first: dict[tuple[str, str], int] = {}
    for index, price in enumerate(prices.accelerator_hour):
        path = f"prices.accelerator_hour[{index}]"
        priced = (price.flavor, price.accelerator_model)
        if bool(price.flavor) == bool(price.accelerator_model):
            problems.add(path, "must have one of flavor and accelerator_model")
        elif priced in first:
            problems.add(path, f"has the same flavor or model as prices.accelerator_hour[{first[priced]}]")
        first.setdefault(priced, index)


def _check_unique_projects(targets: Iterable[Target | None], problems: Problems) -> None:
    first: dict[str, int] = {}
    for index, target in enumerate(targets):
        path = f"targets[{index}].project"
        if target is None or problems.affects(path):
            continue
        if target.project in first:
            problems.add(path, f'"{target.project}" is already the project of targets[{first[target.project]}]')
        first.setdefault(target.project, index)


def _resolve_target(target: Target, path: str, *, environ: Mapping[str, str], problems: Problems) -> Target:
    _check_ca_file(target, path, problems=problems)
    _check_proxy(target, path, problems=problems)
    return _with_urls(_with_project(target, path, environ=environ, problems=problems), path, problems=problems)


def _with_project(target: Target, path: str, *, environ: Mapping[str, str], problems: Problems) -> Target:
    """Determine the project: its id, or with password credentials its name."""
    if problems.affects(f"{path}.project_id", f"{path}.project_name", f"{path}.credentials"):
        return target
    by_name = isinstance(target.credentials, Password)
    if target.project_id and target.project_name:
        problems.add(f"{path}.project_name", "must not be given together with project_id")
    elif target.project_name and not by_name:
        problems.add(f"{path}.project_name", "works with password credentials only; give project_id")
    elif not target.project_id and not target.project_name:
        name = next((name for name in _PROJECT_ID_VARIABLES if environ.get(name)), "")
        if name and not _ID.fullmatch(environ[name]):
            problems.add(f"{path}.project_id", f"must be 32 hexadecimal digits, but {name} in the environment is not")
        elif name:
            return replace(target, project_id=environ[name])
        elif by_name and environ.get(_PROJECT_NAME_VARIABLE):
            return replace(target, project_name=environ[_PROJECT_NAME_VARIABLE])
        else:
            problems.add(f"{path}.project_id", "missing" + ("; give it or project_name" if by_name else ""))
    return target


def _with_urls(target: Target, path: str, *, problems: Problems) -> Target:
    """Determine the two URLs."""
    known = not problems.affects(f"{path}.cloud", f"{path}.region")
    preset_urls = preset(target.cloud, target.region) if known else None
    needed = {"endpoint": known, "iam_endpoint": known and isinstance(target.credentials, Password)}
    defaults = {"endpoint": preset_urls.modelarts, "iam_endpoint": preset_urls.iam} if preset_urls else {}
    resolved = {}
    for key, is_needed in needed.items():
        url, key_path = getattr(target, key), f"{path}.{key}"
        if not url:
            resolved[key] = defaults.get(key, "")
            if not resolved[key] and is_needed and not problems.affects(key_path):
                problems.add(key_path, "missing; give it, or cloud and region")
        else:
            resolved[key] = url.rstrip("/")
            problem = _url_problem(url)
            if problem:
                problems.add(key_path, problem)
    return replace(target, **resolved)


def _url_problem(url: str) -> str:
    """Return the rule an API URL violates; empty if none. Does not quote the URL, which may contain a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "must be a URL such as https://host"
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host) or port == 0:
        return "must be a URL such as https://host"
    if "@" in parts.netloc:
        return "must not contain a user or password; they belong in credentials"
    if parts.path not in {"", "/"} or "?" in url or "#" in url:
        return "must be scheme and host only, without path or query"
    if parts.scheme == "http" and not _is_loopback(host):
        return (
            "must be https, or tokens are sent unencrypted; http is allowed for the local host (127.0.0.1, localhost)"
        )
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _check_proxy(target: Target, path: str, *, problems: Problems) -> None:
    if target.proxy is None or problems.affects(f"{path}.proxy"):
        return
    try:
        parts = urlsplit(target.proxy.reveal())
        valid = parts.scheme in {"http", "https"} and _HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except (ValueError, SecretUnreadable):
        valid = False
    if not valid:
        problems.add(f"{path}.proxy", "must be a URL such as http://host:3128")


def _check_pod_identity(target: Target, path: str, *, environ: Mapping[str, str], problems: Problems) -> None:
    """Check that the pod identity can be read at the start, like every secret."""
    if not isinstance(target.credentials, PodIdentity):
        return
    missing = [name for name in (POD_URL, POD_TOKEN_FILE) if not environ.get(name)]
    if missing:
        problems.add(path, f"pod_identity needs {' and '.join(missing)} in the environment, which CCE sets")
        return
    try:
        parts = urlsplit(environ[POD_URL])
        valid = parts.scheme in {"http", "https"} and _HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        problems.add(path, f"{POD_URL} in the environment is not a URL")
    try:
        SecretFile(Path(environ[POD_TOKEN_FILE])).read()
    except ValueError as error:
        problems.add(path, f"{POD_TOKEN_FILE}: {environ[POD_TOKEN_FILE]}: {error}")


def _check_ca_file(target: Target, path: str, *, problems: Problems) -> None:
    if problems.affects(f"{path}.tls.ca_file") or not target.tls.ca_file:
        return
    key, file = f"{path}.tls.ca_file", target.tls.ca_file
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except ssl.SSLError:
        problems.add(key, f"{file} contains no PEM certificate")
    except OSError as error:
        problems.add(key, f"{file} cannot be read: {error.strerror}")
