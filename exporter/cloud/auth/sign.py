"""SDK-HMAC-SHA256, in the simple `Access=` dialect (API reference §9.2; trap 30 has the other one)."""

import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import unquote

from exporter.cloud.auth.credentials import AccessKey
from exporter.cloud.http.request import Request, encode_segment

_ALGORITHM = "SDK-HMAC-SHA256"


def sign(request: Request, key: AccessKey, *, at: float) -> dict[str, str]:
    """Return all headers of the signed request: Host, its own, X-Sdk-Date, X-Security-Token, Authorization.

    `at` is in seconds since the epoch; the cloud refuses a date more than 15 minutes off its own clock. Body, path
    and query must be sent exactly as they are in the request.
    """
    date = datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"Host": request.host, **request.headers, "X-Sdk-Date": date}
    if key.security_token:
        headers["X-Security-Token"] = key.security_token
    names = ";".join(sorted(name.lower() for name in headers))
    to_sign = f"{_ALGORITHM}\n{date}\n{hashlib.sha256(canonical(request, headers).encode()).hexdigest()}"
    signature = hmac.new(key.secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()
    headers["Authorization"] = f"{_ALGORITHM} Access={key.access}, SignedHeaders={names}, Signature={signature}"
    return headers


def canonical(request: Request, headers: dict[str, str]) -> str:
    """Return the canonical request, which both sides hash; `headers` are the headers to sign."""
    lines = sorted((name.lower(), value.strip()) for name, value in headers.items())
    return "\n".join(
        (
            request.method.upper(),
            _canonical_path(request.url.raw_path),
            request.query,  # already sorted and encoded
            "".join(f"{name}:{value}\n" for name, value in lines),
            ";".join(name for name, _ in lines),
            hashlib.sha256(request.body).hexdigest(),
        )
    )


def _canonical_path(path: str) -> str:
    encoded = "/".join(encode_segment(part) for part in unquote(path).split("/"))
    return encoded if encoded.endswith("/") else encoded + "/"  # only here: the URL that is sent has no such slash
