"""Reads `--web.config.file`, which has the format of Prometheus' exporter-toolkit.

Format and defaults: docs/web-configuration.md of that project. Stricter where the toolkit would silently drop
protection; docs/security.md lists the differences.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exporter.settings import SettingsError, yaml_nodes
from exporter.settings.problems import Problems
from exporter.web.section import Section, section
from exporter.web.tls import KEYS, FileReader, Tls, read_tls

_BCRYPT_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}", re.ASCII)
_BCRYPT_COSTS: Final = range(4, 17)
"""4 is bcrypt's minimum. 16 takes about five seconds of a core; each step doubles the time."""

_ALLOWED_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
"""Headers that may be set, and their allowed values; empty: any value."""

_UNITS_S: Mapping[str, float] = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Rate limit of requests: one per `interval_s` seconds on average, up to `burst` at once."""

    interval_s: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """The content of the file, with every file it names read and checked."""

    path: Path
    tls: Tls | None = None
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    """bcrypt hash by user. Empty: no authentication."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to each response that does not set a header of that name itself."""
    rate: Rate | None = None
    files: tuple[Path, ...] = ()
    """The file itself and the files it names."""


def load_web_config(path: Path) -> WebConfig:
    """Read the file, and the certificates and keys it names. Blocks.

    Raises SettingsError with one sentence per problem; no sentence contains a secret.
    """
    problems = Problems()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise SettingsError((f"cannot be read: {error.strerror}",)) from None
    root = yaml_nodes.parse(source, problems, when_empty="")
    problems.raise_if_any()
    known = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
    root_section = section(root, "", problems, known=known)
    files = FileReader(path.parent, [path])
    config = WebConfig(
        path=path,
        tls=read_tls(root_section.section("tls_server_config", known=KEYS), files),
        headers=_read_headers(root_section.section("http_server_config", known=("http2", "headers"))),
        users=_read_users(root_section.section("basic_auth_users")),
        rate=_read_rate(root_section.section("rate_limit", known=("interval", "burst"))),
        files=tuple(files.paths),
    )
    problems.raise_if_any()
    return config


def _read_headers(section: Section) -> Mapping[str, str]:
    section.boolean("http2", default=True)  # checked but unused: we speak HTTP/1.1 only, with and without TLS
    headers_section = section.section("headers", known=_ALLOWED_HEADERS)
    headers = {}
    for name in headers_section.entries:
        value = headers_section.string(name)
        allowed = _ALLOWED_HEADERS.get(name, ())
        if allowed and value not in allowed:
            headers_section.add_problem(name, f"must be {' or '.join(allowed)}, not {value!r}")
        elif not (value.isascii() and value.isprintable()):
            headers_section.add_problem(name, "must be printable ASCII on one line")
        elif value:
            headers[name] = value
    return headers


def _read_users(section: Section) -> Mapping[bytes, bytes]:
    users = {}
    for user in section.entries:
        password_hash = _BCRYPT_HASH.fullmatch(section.string(user, hide=True))
        if not user or ":" in user:
            section.add_problem(user, "a user name must not be empty and must not contain a colon")
        elif password_hash is None:
            section.add_problem(user, "must be a bcrypt hash, as `htpasswd -nBC 10 USER` prints it")
        elif int(password_hash[1]) not in _BCRYPT_COSTS:
            costs = f"from {_BCRYPT_COSTS[0]} to {_BCRYPT_COSTS[-1]}"
            section.add_problem(user, f"must have a bcrypt cost {costs}, not {int(password_hash[1])}")
        else:
            users[user.encode(errors="replace")] = password_hash[0].encode()
    return users


def _read_rate(section: Section) -> Rate | None:
    interval_s = _read_interval(section)
    burst = section.integer("burst")
    if not interval_s:
        return None
    if burst < 1:
        section.add_problem("burst", "must be at least 1; with 0 no request would be answered")
    return Rate(interval_s=interval_s, burst=burst)


def _read_interval(section: Section) -> float:
    """Read a duration in Go's notation, in seconds; 0 if absent."""
    node = section.entries.get("interval")
    string = "" if node is None else str(node.value)
    if not string.strip("0"):
        return 0.0
    parts = _DURATION.findall(string)
    if not parts or "".join(parts) != string:
        section.add_problem("interval", "must be a duration in Go's notation, such as 500ms or 1m30s")
        return 0.0
    return sum(float(part.rstrip("nuµmsh")) * _UNITS_S[part.lstrip("0123456789.")] for part in parts)
