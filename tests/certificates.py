"""Certificates made with the `openssl` command, for servers and clients on loopback."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority with its files in a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self.pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
        _openssl("req", "-x509", *_NEW_KEY, *_files(self.pair), "-days", "2", "-subj", f"/CN={name}")

    @property
    def certificate(self) -> Path:
        """Certificate for those that trust it."""
        return self.pair.certificate

    def issue(self, name: str, *names: str) -> Pair:
        """Issue a certificate with alternative names in the syntax of openssl: `DNS:a`, `IP:127.0.0.1`."""
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        extensions = ("-addext", f"subjectAltName={','.join(names)}") if names else ()
        _openssl(
            "req", "-x509", *_NEW_KEY, *_files(pair), "-days", "2", "-subj", f"/CN={name}", *extensions,
            "-CA", str(self.pair.certificate), "-CAkey", str(self.pair.key), "-addext", "basicConstraints=CA:FALSE",
        )  # fmt: skip
        return pair


def client_of(authority: Authority, pair: Pair | None = None) -> ssl.SSLContext:
    """TLS context of a client that trusts an authority, with an optional client certificate."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _files(pair: Pair) -> tuple[str, ...]:
    return ("-keyout", str(pair.key), "-out", str(pair.certificate))


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
