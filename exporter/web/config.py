"""The file of `--web.config.file`, in the format of Prometheus' exporter-toolkit.

Format and defaults: docs/web-configuration.md of that project. Stricter than it where it would drop protection in
silence; docs/security.md lists the differences.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exporter.settings import SettingsError, yaml_nodes
from exporter.settings.problems import Faults
from exporter.web import section as sections
from exporter.web.section import Section
from exporter.web.tls import KEYS, Files, Tls, tls

_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}", re.ASCII)
_COSTS: Final = range(4, 17)
"""bcrypt's least; the most is some five seconds of a core, and twice that for each step more."""

_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
"""Headers that may be set, and to what; nothing: to anything."""

_UNITS_S: Mapping[str, float] = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many requests are answered: one each `interval_s`, and up to `burst` at once after a pause."""

    interval_s: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """What the file says, with every file it names read and understood."""

    path: Path
    tls: Tls | None = None
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    """bcrypt hash by user; without users nobody is asked who they are."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with each answer that has not its own header of that name."""
    rate: Rate | None = None
    files: tuple[Path, ...] = ()
    """What was read: the file itself, and those it names."""


def load_web_config(path: Path) -> WebConfig:
    """Read the file, and the certificates and keys it names; blocks.

    Raises SettingsError with one sentence for each mistake, none of which holds a secret.
    """
    faults = Faults()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise SettingsError((f"cannot be read: {error.strerror}",)) from None
    root = yaml_nodes.parse(source, faults, when_empty="")
    faults.settle()
    known = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
    whole = sections.section(root, "", faults, known=known)
    files = Files(path.parent, [path])
    config = WebConfig(
        path=path,
        tls=tls(whole.section("tls_server_config", known=KEYS), files),
        headers=_headers(whole.section("http_server_config", known=("http2", "headers"))),
        users=_users(whole.section("basic_auth_users")),
        rate=_rate(whole.section("rate_limit", known=("interval", "burst"))),
        files=tuple(files.seen),
    )
    faults.settle()
    return config


def _headers(section: Section) -> Mapping[str, str]:
    section.truth("http2", default=True)  # what it permits is never used: we speak HTTP/1.1, with and without TLS
    below = section.section("headers", known=_HEADERS)
    headers = {}
    for name in below.entries:
        value = below.text(name)
        allowed = _HEADERS.get(name, ())
        if allowed and value not in allowed:
            below.wrong(name, f"must be {' or '.join(allowed)}, not {value!r}")
        elif not (value.isascii() and value.isprintable()):
            below.wrong(name, "must be printable ASCII on one line")
        elif value:
            headers[name] = value
    return headers


def _users(section: Section) -> Mapping[bytes, bytes]:
    users = {}
    for user in section.entries:
        hashed = _HASH.fullmatch(section.text(user, hide=True))
        if not user or ":" in user:
            section.wrong(user, "a user's name must hold something, and no colon")
        elif hashed is None:
            section.wrong(user, "must be a bcrypt hash, as of `htpasswd -nBC 10 USER`")
        elif int(hashed[1]) not in _COSTS:
            section.wrong(user, f"must have a bcrypt cost from {_COSTS[0]} to {_COSTS[-1]}, not {int(hashed[1])}")
        else:
            users[user.encode(errors="replace")] = hashed[0].encode()
    return users


def _rate(section: Section) -> Rate | None:
    interval_s = _interval(section)
    burst = section.whole("burst")
    if not interval_s:
        return None
    if burst < 1:
        section.wrong("burst", "must be at least 1, or no request would ever be answered")
    return Rate(interval_s=interval_s, burst=burst)


def _interval(section: Section) -> float:
    """Seconds, as Go writes a duration; 0 where there is none."""
    node = section.entries.get("interval")
    written = "" if node is None else str(node.value)
    if not written.strip("0"):
        return 0.0
    parts = _DURATION.findall(written)
    if not parts or "".join(parts) != written:
        section.wrong("interval", "must be a duration as Go writes it, such as 500ms or 1m30s")
        return 0.0
    return sum(float(part.rstrip("nuµmsh")) * _UNITS_S[part.lstrip("0123456789.")] for part in parts)
