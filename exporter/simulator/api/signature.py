"""SDK-HMAC-SHA256 signatures, written from the API reference alone (§9.2)."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote_to_bytes

ALGORITHM = "SDK-HMAC-SHA256"
_CREDENTIAL = re.compile(
    r"SDK-HMAC-SHA256 Access=(?P<access>[^,\s]+), "
    r"SignedHeaders=(?P<signed>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """A parsed Authorization header."""

    access_key: str
    signed: tuple[str, ...]
    """Names of the signed headers, in lower case."""
    signature: str


def parse(header: str) -> Authorization | None:
    """Parse an Authorization header; None if it is malformed."""
    found = _CREDENTIAL.fullmatch(header)
    if found is None:
        return None
    return Authorization(
        access_key=found["access"], signed=tuple(found["signed"].split(";")), signature=found["signature"]
    )


def canonical_request(
    *, method: str, raw_path: str, headers: Mapping[str, str], signed: tuple[str, ...], body: bytes
) -> str:
    """Return the canonical request, which is hashed. `raw_path` is path and query as received.

    Raises KeyError for a signed header that is missing.
    """
    path, _, query = raw_path.partition("?")
    segments = [_encode(segment) for segment in _decode(path).split(b"/")]
    uri = "/".join(segments)
    pairs = sorted(
        (_decode(key), _decode(value)) for key, _, value in (item.partition("=") for item in query.split("&") if item)
    )
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(signed))
    return "\n".join(
        (
            method.upper(),
            uri if uri.endswith("/") else f"{uri}/",
            "&".join(f"{_encode(key)}={_encode(value)}" for key, value in pairs),
            lines,
            ";".join(sorted(signed)),
            hashlib.sha256(body).hexdigest(),
        )
    )


def sign(secret_key: str, *, date: str, canonical: str) -> str:
    """Return the signature of a canonical request; `date` is the value of X-Sdk-Date."""
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{date}\n{digest}"
    return hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).hexdigest()


def parse_date(date: str) -> float | None:
    """Parse an X-Sdk-Date to seconds since the epoch; None if it is malformed."""
    try:
        return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _decode(text: str) -> bytes:
    return unquote_to_bytes(text)


def _encode(text: bytes) -> str:
    return quote(text, safe="-_.~")
