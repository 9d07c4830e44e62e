"""Turns `tls_server_config` into an `ssl.SSLContext`, and rejects what Python's `ssl` cannot do."""

import hashlib
import ipaddress
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from exporter.web.section import Section

KEYS: Final = (
    "cert",
    "key",
    "client_ca",
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
)

_MAX_FILE_BYTES = 1024 * 1024
_TLS12, _TLS13 = "TLS12", "TLS13"
_VERSIONS: Mapping[str, ssl.TLSVersion] = {_TLS12: ssl.TLSVersion.TLSv1_2, _TLS13: ssl.TLSVersion.TLSv1_3}
_OBSOLETE_VERSIONS = ("TLS10", "TLS11")
_VERIFY_MODES: Mapping[str, ssl.VerifyMode] = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED_MODES = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_CURVES: Mapping[str, str] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
_TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""Suites of TLS 1.3. Neither Go nor Python can select among them."""
_TLS12_SUITES: Mapping[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""OpenSSL's name by Go's name (crypto/tls, CipherSuites)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS configuration of the server."""

    context: ssl.SSLContext = field(compare=False)
    allowed_sans: frozenset[str]
    """A client certificate must have one of these names; empty: every verified certificate is accepted."""
    fingerprint: bytes
    """Digest of all settings and files. Equal fingerprints mean equal configurations."""

    def accepts(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a verified certificate, as `getpeercert` returns it, has an allowed name; None: none was given."""
        if not self.allowed_sans or not certificate:
            return True
        return any(_normalized(name) in self.allowed_sans for _, name in certificate.get("subjectAltName", ()))


def _normalized(name: str) -> str:
    """Write an IP address in its shortest form, as Go does. Other names are unchanged."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads the files the section names, relative to `folder`, and records their paths."""

    folder: Path
    paths: list[Path]

    def read(self, section: Section, key: str) -> tuple[Path, bytes] | None:
        """Path and content of the file a key names. None if the key is absent, or after a problem was added."""
        name = section.string(key)
        if not name:
            return None
        if not name.isprintable():
            section.add_problem(key, "must not contain control characters")
            return None
        path = self.folder / name
        self.paths.append(path)
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block
                section.add_problem(key, f"{path}: is not a regular file")
                return None
            with path.open("rb") as file:
                content = file.read(_MAX_FILE_BYTES + 1)
        except OSError as error:
            section.add_problem(key, f"{path}: cannot be read: {error.strerror}")
            return None
        if len(content) > _MAX_FILE_BYTES:
            section.add_problem(key, f"{path}: is larger than 1 MiB")
            return None
        return path, content


def read_tls(section: Section, files: FileReader) -> Tls | None:
    """Read the section. None if it is empty. The result is unusable if a problem was added."""
    if not section.entries:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION  # no client needs it, and it costs the server more than the client
    context.set_alpn_protocols(["http/1.1"])
    paths = hashlib.sha256(repr([(key, str(node.value)) for key, node in section.entries.items()]).encode())
    _load_certificate(section, files, context, paths)
    _set_client_auth(section, files, context, paths)
    _set_versions(section, context)
    _set_cipher_suites(section, context)
    _set_curve(section, context)
    sans = section.strings("client_allowed_sans")
    if "client_allowed_sans" in section:
        if not sans:
            section.add_problem("client_allowed_sans", "must not be empty: no client could connect")
        if context.verify_mode is ssl.CERT_NONE:
            section.add_problem(
                "client_allowed_sans", "needs client_auth_type RequireAndVerifyClientCert or VerifyClientCertIfGiven"
            )
    return Tls(context=context, allowed_sans=frozenset(map(_normalized, sans)), fingerprint=paths.digest())


def _load_certificate(section: Section, files: FileReader, context: ssl.SSLContext, paths: "hashlib._Hash") -> None:
    found: list[tuple[Path, bytes] | None] = []
    for inline, key in (("cert", "cert_file"), ("key", "key_file")):
        if inline in section:
            section.add_problem(
                inline, f"is not supported by Python's ssl; write it to a file and name the file in {key}"
            )
            found.append(None)
            continue
        if not section.string(key):
            section.add_problem(key, "missing")
        found.append(files.read(section, key))
    certificate, key_file = found
    if certificate is None or key_file is None:
        return
    for _, content in (certificate, key_file):
        paths.update(hashlib.sha256(content).digest())
    try:
        context.load_cert_chain(
            certificate[0], key_file[0], password=lambda: b""
        )  # without it OpenSSL prompts on the terminal
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        section.add_problem("cert_file", _explain(error))


def _explain(error: Exception) -> str:
    """Explain why OpenSSL rejects the pair; its own message names a place in its source and little else."""
    if "KEY_VALUES_MISMATCH" in str(error):
        return "does not match the key in key_file"
    return "must be a PEM certificate, and key_file its unencrypted PEM key"


def _set_client_auth(section: Section, files: FileReader, context: ssl.SSLContext, paths: "hashlib._Hash") -> None:
    auth_type = section.string("client_auth_type")
    if auth_type in _UNVERIFIED_MODES:
        section.add_problem(
            "client_auth_type",
            f"{auth_type} does not verify, which Python's ssl does not support; use RequireAndVerifyClientCert",
        )
    else:
        context.verify_mode = _VERIFY_MODES[
            section.choice("client_auth_type", tuple(_VERIFY_MODES), default="NoClientCert")
        ]
    client_ca = _client_ca(section, files)
    if client_ca:
        paths.update(hashlib.sha256(client_ca.encode()).digest())
        # As in Go, each given certificate is trusted on its own, also without its root.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=client_ca)
        except ssl.SSLError:
            section.add_problem(
                "client_ca_file" if "client_ca_file" in section else "client_ca",
                "contains no usable PEM certificates",
            )
        if section.string("client_auth_type") in ("", "NoClientCert"):
            section.add_problem("client_auth_type", "must be given together with a client CA, or the CA is not used")
    elif context.verify_mode is not ssl.CERT_NONE and not section.string("client_ca_file"):
        section.add_problem("client_ca_file", f"missing; {section.string('client_auth_type')} needs a client CA")


def _client_ca(section: Section, files: FileReader) -> str:
    if "client_ca" in section and "client_ca_file" in section:
        section.add_problem("client_ca", "must not be given together with client_ca_file")
    found = files.read(section, "client_ca_file")
    if found is None:
        return _ascii_pem(section.string("client_ca", hide=True).encode(errors="replace"))
    return _ascii_pem(found[1]) or " "


def _ascii_pem(pem: bytes) -> str:
    """Remove non-ASCII characters, which PEM comments may contain and `ssl` rejects."""
    return pem.decode("ascii", "ignore")


def _set_versions(section: Section, context: ssl.SSLContext) -> None:
    limits = {}
    for key, default in (("min_version", _TLS12), ("max_version", _TLS13)):
        if section.string(key) in _OBSOLETE_VERSIONS:
            section.add_problem(key, "TLS 1.0 and 1.1 are deprecated (RFC 8996); use TLS12 or TLS13")
            return
        limits[key] = _VERSIONS[section.choice(key, tuple(_VERSIONS), default=default)]
    if limits["min_version"] > limits["max_version"]:
        section.add_problem("max_version", "must not be lower than min_version")
        return
    context.minimum_version = limits["min_version"]
    context.maximum_version = limits["max_version"]


def _set_cipher_suites(section: Section, context: ssl.SSLContext) -> None:
    if not section.boolean("prefer_server_cipher_suites", default=True):
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    names = section.strings("cipher_suites")
    for name in names:
        if name not in _TLS12_SUITES and name not in _TLS13_SUITES:
            section.add_problem("cipher_suites", f"{name!r} is not a suite that Go considers secure")
            return
    chosen = [_TLS12_SUITES[name] for name in names if name in _TLS12_SUITES]
    if chosen:
        context.set_ciphers(":".join(chosen))
    elif names and context.maximum_version is ssl.TLSVersion.TLSv1_3:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    elif names:
        section.add_problem("cipher_suites", "names no suite of TLS 1.2, but max_version is TLS12")


def _set_curve(section: Section, context: ssl.SSLContext) -> None:
    names = section.strings("curve_preferences")
    for name in names:
        if name not in _CURVES:
            section.add_problem("curve_preferences", f"{name!r} is not one of {', '.join(_CURVES)}")
            return
    if len(names) > 1:
        section.add_problem("curve_preferences", "must name one curve: Python's ssl supports only one")
    elif names:
        context.set_ecdh_curve(_CURVES[names[0]])
