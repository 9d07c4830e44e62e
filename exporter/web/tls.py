"""`tls_server_config`: from its keys to an `ssl.SSLContext`, and what of it Python's `ssl` cannot do."""

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

_LARGEST_BYTES = 1024 * 1024
_TLS12, _TLS13 = "TLS12", "TLS13"
_VERSIONS: Mapping[str, ssl.TLSVersion] = {_TLS12: ssl.TLSVersion.TLSv1_2, _TLS13: ssl.TLSVersion.TLSv1_3}
_RETIRED = ("TLS10", "TLS11")
_ASKING: Mapping[str, ssl.VerifyMode] = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_BELIEVING = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_CURVES: Mapping[str, str] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
_ALWAYS_ON = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""Of TLS 1.3, for which neither Go nor Python lets anybody choose."""
_SUITES: Mapping[str, str] = {
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
"""Names as Go writes them (crypto/tls, CipherSuites), and as OpenSSL does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How connections are secured."""

    context: ssl.SSLContext = field(compare=False)
    allowed_sans: frozenset[str]
    """A client's certificate must bear one of these names; empty: any verified certificate will do."""
    fingerprint: bytes
    """Of everything that went into it, so that equal ones mean the same."""

    def admits(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a verified certificate, as `getpeercert` tells it, bears an allowed name; None: none was given."""
        if not self.allowed_sans or not certificate:
            return True
        return any(_plain(name) in self.allowed_sans for _, name in certificate.get("subjectAltName", ()))


def _plain(name: str) -> str:
    """Write an IP address in its shortest form, as Go does; other names stay."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


@dataclass(frozen=True, slots=True)
class Files:
    """Reads the files the section names, relative to `folder`, and remembers which."""

    folder: Path
    seen: list[Path]

    def read(self, section: Section, key: str) -> tuple[Path, bytes] | None:
        """Path and content of the file a key names; None when there is none or it cannot be read, which is noted."""
        named = section.text(key)
        if not named:
            return None
        if not named.isprintable():
            section.wrong(key, "must not hold control characters")
            return None
        path = self.folder / named
        self.seen.append(path)
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block
                section.wrong(key, f"{path}: is not a regular file")
                return None
            with path.open("rb") as file:
                content = file.read(_LARGEST_BYTES + 1)
        except OSError as error:
            section.wrong(key, f"{path}: cannot be read: {error.strerror}")
            return None
        if len(content) > _LARGEST_BYTES:
            section.wrong(key, f"{path}: is larger than 1 MiB")
            return None
        return path, content


def tls(section: Section, files: Files) -> Tls | None:
    """Read the section; None when nothing stands in it, and also after a mistake, which is then noted."""
    if not section.entries:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION  # nobody has reason to, and each costs us more than the client
    context.set_alpn_protocols(["http/1.1"])
    seen = hashlib.sha256(repr([(key, str(node.value)) for key, node in section.entries.items()]).encode())
    _certificate(section, files, context, seen)
    _clients(section, files, context, seen)
    _versions(section, context)
    _suites(section, context)
    _curves(section, context)
    sans = section.texts("client_allowed_sans")
    if "client_allowed_sans" in section:
        if not sans:
            section.wrong("client_allowed_sans", "must not be empty: nobody could connect")
        if context.verify_mode is ssl.CERT_NONE:
            section.wrong(
                "client_allowed_sans", "needs client_auth_type RequireAndVerifyClientCert or VerifyClientCertIfGiven"
            )
    return Tls(context=context, allowed_sans=frozenset(map(_plain, sans)), fingerprint=seen.digest())


def _certificate(section: Section, files: Files, context: ssl.SSLContext, seen: "hashlib._Hash") -> None:
    found: list[tuple[Path, bytes] | None] = []
    for inline, key in (("cert", "cert_file"), ("key", "key_file")):
        if inline in section:
            section.wrong(inline, f"Python's ssl cannot take it from here; write it to a file and name that in {key}")
            found.append(None)
            continue
        if not section.text(key):
            section.wrong(key, "missing")
        found.append(files.read(section, key))
    certificate, secret = found
    if certificate is None or secret is None:
        return
    for _, content in (certificate, secret):
        seen.update(hashlib.sha256(content).digest())
    try:
        context.load_cert_chain(
            certificate[0], secret[0], password=lambda: b""
        )  # without it OpenSSL asks the terminal
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        section.wrong("cert_file", _refusal(error))


def _refusal(error: Exception) -> str:
    """Say why OpenSSL takes no such pair; its own words tell the place in its sources and little else."""
    if "KEY_VALUES_MISMATCH" in str(error):
        return "is not the certificate of the key in key_file"
    return "is not, with key_file, a PEM certificate and its unencrypted PEM key"


def _clients(section: Section, files: Files, context: ssl.SSLContext, seen: "hashlib._Hash") -> None:
    asking = section.text("client_auth_type")
    if asking in _BELIEVING:
        section.wrong(
            "client_auth_type",
            f"{asking} believes any certificate, which Python's ssl cannot do; use RequireAndVerifyClientCert",
        )
    else:
        context.verify_mode = _ASKING[section.choice("client_auth_type", tuple(_ASKING), default="NoClientCert")]
    authorities = _authorities(section, files)
    if authorities:
        seen.update(hashlib.sha256(authorities.encode()).digest())
        # As in Go, each certificate given is trusted for itself.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=authorities)
        except ssl.SSLError:
            section.wrong(
                "client_ca_file" if "client_ca_file" in section else "client_ca", "holds no usable PEM certificates"
            )
        if section.text("client_auth_type") in ("", "NoClientCert"):
            section.wrong("client_auth_type", "must be given with a client CA, or the CA would verify nothing")
    elif context.verify_mode is not ssl.CERT_NONE and not section.text("client_ca_file"):
        section.wrong("client_ca_file", f"missing; {section.text('client_auth_type')} needs to know whom to believe")


def _authorities(section: Section, files: Files) -> str:
    if "client_ca" in section and "client_ca_file" in section:
        section.wrong("client_ca", "must not be given beside client_ca_file")
    found = files.read(section, "client_ca_file")
    if found is None:
        return _ascii(section.text("client_ca", hide=True).encode(errors="replace"))
    return _ascii(found[1]) or " "


def _ascii(pem: bytes) -> str:
    """PEM without the letters its comments may hold beside ASCII, which `ssl` does not take."""
    return pem.decode("ascii", "ignore")


def _versions(section: Section, context: ssl.SSLContext) -> None:
    limits = {}
    for key, default in (("min_version", _TLS12), ("max_version", _TLS13)):
        if section.text(key) in _RETIRED:
            section.wrong(key, "TLS 1.0 and 1.1 are retired (RFC 8996) and not offered; use TLS12 or TLS13")
            return
        limits[key] = _VERSIONS[section.choice(key, tuple(_VERSIONS), default=default)]
    if limits["min_version"] > limits["max_version"]:
        section.wrong("max_version", "must not be lower than min_version")
        return
    context.minimum_version = limits["min_version"]
    context.maximum_version = limits["max_version"]


def _suites(section: Section, context: ssl.SSLContext) -> None:
    if not section.truth("prefer_server_cipher_suites", default=True):
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    names = section.texts("cipher_suites")
    for name in names:
        if name not in _SUITES and name not in _ALWAYS_ON:
            section.wrong("cipher_suites", f"{name!r} is none of the suites that Go calls secure")
            return
    chosen = [_SUITES[name] for name in names if name in _SUITES]
    if chosen:
        context.set_ciphers(":".join(chosen))
    elif names and context.maximum_version is ssl.TLSVersion.TLSv1_3:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    elif names:
        section.wrong("cipher_suites", "names none of TLS 1.2, and max_version allows no other")


def _curves(section: Section, context: ssl.SSLContext) -> None:
    names = section.texts("curve_preferences")
    for name in names:
        if name not in _CURVES:
            section.wrong("curve_preferences", f"{name!r} is not one of {', '.join(_CURVES)}")
            return
    if len(names) > 1:
        section.wrong("curve_preferences", "must name one curve: Python's ssl cannot be given several")
    elif names:
        context.set_ecdh_curve(_CURVES[names[0]])
