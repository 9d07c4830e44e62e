"""From response to value or error: HTTP status first, the cloud's code second (API reference §8.2). Pure."""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec

from exporter.cloud.http.endpoint import Answer
from exporter.cloud.http.errors import (
    CREDENTIAL_CODES,
    PERMISSION_CODES,
    CloudError,
    Denied,
    Gone,
    InvalidResponse,
    Refused,
    ServerError,
    Throttled,
    Unsupported,
    normalized,
)
from exporter.cloud.http.json_text import UNDECODABLE, decode_json, ignore_repair
from exporter.domain.outcome import Repair

_MAX_MESSAGE = 200
_MAX_RETRY_AFTER_S = 60.0
_MAX_CLOCK_SKEW_S = 600.0  # the gateway refuses signatures whose date is 15 minutes off; this warns earlier
_TOKEN_LIKE = re.compile(r"[A-Za-z0-9+=_-]{40,}")  # longer than any id: a token or part of one
_SECONDS = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
_CODE = re.compile(r"[\w.-]{1,64}", re.ASCII)

_NO_DATA = frozenset({"ModelArts.2776", "ModelArts.2777"})
_GONE = frozenset({"ModelArts.2775", "ModelArts.50015001"})
_THROTTLED = frozenset({"ModelArts.2799", "ModelArts.6101", "APIG.0308"})
_SERVER_ERROR = frozenset(
    {f"ModelArts.{code}" for code in ("4302", "4503", "4700", "5039", "6100", "50005000")}
    | {f"APIG.{code}" for code in ("0202", "0203", "0601", "0605")}
)
_BUDGET = re.compile(r"limit:\s*(\d{1,9})\s*,\s*time:\s*(\d{1,6})\s*(second|minute|hour|day)", re.IGNORECASE)
_UNITS_S = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A complete response: headers with case-insensitive lookup, and the decompressed body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


class _InBand(msgspec.Struct):
    """How v1 reports a failed call, at any HTTP status (trap 8)."""

    is_success: object = None
    error_code: object = None

    @property
    def failed(self) -> bool:
        if self.is_success is None:
            return bool(self.error_code)
        return self.is_success is False or str(self.is_success).lower() == "false"


def read_response(
    response: Response,
    answer: type[Answer],
    *,
    operation: str,
    now: float,
    in_band_failure: bool = False,
    may_be_empty: bool = False,
    redact: Sequence[str] = (),
    on_repair: Callable[[Repair], None] = ignore_repair,
) -> Answer | None:
    """Decode a success. None means "not ready yet", only where `may_be_empty`. Raises CloudError.

    `now` is in seconds since the epoch. `redact` holds secrets of the request, masked if the cloud repeats them.
    `on_repair` is called for each kind of flaw in the text of a success that was decoded all the same.
    """
    error = error_for(response, operation=operation, now=now, in_band_failure=in_band_failure, redact=redact)
    if may_be_empty and error is not None and error.code in _NO_DATA and not isinstance(error, ServerError | Denied):
        return None
    if error is not None:
        try:
            raise error
        finally:
            del error  # else error and frame form a reference cycle
    if response.status == HTTPStatus.NO_CONTENT or not response.body.strip():
        if may_be_empty:
            return None
        raise InvalidResponse(operation, "an empty body", status=response.status)
    kind: Any = answer  # mypy does not see that the type is hashable
    try:
        decoded: Answer = decode_json(_decoder(kind), response.body, on_repair=on_repair)
    except msgspec.ValidationError as invalid:
        raise InvalidResponse(operation, sanitize(str(invalid), redact=redact), status=response.status) from None
    except UNDECODABLE as invalid:
        detail = f"{_content_type(response)}not JSON: {sanitize(str(invalid), redact=redact)}"
        raise InvalidResponse(operation, detail, status=response.status) from None
    return decoded


def error_for(
    response: Response, *, operation: str, now: float, in_band_failure: bool = False, redact: Sequence[str] = ()
) -> CloudError | None:
    """Return the error that a response means; None for a success."""
    succeeded = HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES
    failed_in_band = in_band_failure and _failed_in_band(response.body)
    if succeeded and not failed_in_band:
        return None
    code, message = _code_and_message(response.body)
    error = _error_class(response.status, code, in_band=in_band_failure, served=failed_in_band)
    detail = sanitize(message, redact=redact) or f"{_content_type(response)}no message"
    if error is Throttled:
        wait_s = retry_after_s(response.headers, now=now)
        return Throttled(
            operation, detail, status=response.status, code=code, retry_after_s=wait_s, budget=_budget(message)
        )
    if error is Denied:
        detail += _clock_skew(response.headers, now=now)
    if response.status // 100 == 3:  # noqa: PLR2004 - the class of redirections
        detail = "a redirect; redirects are not followed"
    return error(operation, detail, status=response.status, code=code)


def refused_credential(error: CloudError) -> bool:
    """Whether the cloud refused the credential, and not the request: another credential may help."""
    return isinstance(error, Denied) and error.rejects_credential


def retry_after_s(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait, from 0 to 60, from a Retry-After with a number or a date; None when absent or invalid.

    A date is compared with the Date header of the same response, so that a wrong local clock does not matter.
    """
    value = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(value):
        wait_s = float(value)
    else:
        until = _http_date(value)
        if until is None:
            return None
        wait_s = until - (_http_date(headers.get("Date", "")) or now)
    return min(max(wait_s, 0.0), _MAX_RETRY_AFTER_S)


def sanitize(message: str, *, redact: Sequence[str] = ()) -> str:
    """Make a message of the cloud safe for logs: one line, 200 characters, no secret, nothing token-like."""
    for secret in redact:
        if secret:
            message = message.replace(secret, "****")
    message = _TOKEN_LIKE.sub("****", message[: 4 * _MAX_MESSAGE])
    shown = "".join(
        character if character == " " or unicodedata.category(character)[0] not in "CZ" else _escape(character)
        for character in message.strip()
    )
    return shown if len(shown) <= _MAX_MESSAGE else shown[: _MAX_MESSAGE - 1] + "…"


def _error_class(  # noqa: PLR0911 - a table
    status: int, code: str, *, in_band: bool, served: bool
) -> type[CloudError]:
    """`in_band`: codes count at any status. `served`: the service itself refused, so the endpoint exists."""
    code = normalized(code)
    if status == HTTPStatus.TOO_MANY_REQUESTS or code in _THROTTLED:  # at 401 and 403 too (fact 53)
        return Throttled
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Denied
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        return ServerError
    if code in _GONE:
        return Gone
    missing = status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE) and not served and code != "ModelArts.2786"
    if missing or code == "APIG.0101":
        return Unsupported
    if in_band and code in _SERVER_ERROR:
        return ServerError
    if code == "APIG.0307" or (in_band and code in CREDENTIAL_CODES | PERMISSION_CODES):
        return Denied
    return Refused


def _failed_in_band(body: bytes) -> bool:
    try:
        result: _InBand = decode_json(_decoder(_InBand), body)
    except UNDECODABLE:
        return False  # decoding the response reports what is wrong with it
    return result.failed


def _code_and_message(body: bytes) -> tuple[str, str]:
    """Find code and message, in the order of the vendor's SDK (API reference §8.1)."""
    try:
        document = decode_json(_decoder(Any), body)
    except UNDECODABLE:
        return "", ""
    if not isinstance(document, dict):
        return "", ""
    for inner in (document, *(value for value in document.values() if isinstance(value, dict))):
        code = next((inner[name] for name in ("error_code", "errorCode", "code") if inner.get(name)), "")
        names = ("error_msg", "error_message", "errorMsg", "message")
        message = next((inner[name] for name in names if inner.get(name)), "")
        if code or message:
            code = str(code)
            return (code if _CODE.fullmatch(code) else ""), (message if isinstance(message, str) else "")
    return "", ""


def _budget(message: str) -> tuple[int, float] | None:
    """The limit in a message of the gateway: "throttling threshold, limit:200, time:5 minute"."""
    found = _BUDGET.search(message)
    return (int(found[1]), int(found[2]) * _UNITS_S[found[3].lower()]) if found else None


def _content_type(response: Response) -> str:
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type in ("", "application/json"):
        return ""
    return f"{sanitize(content_type)}, "


def _clock_skew(headers: Mapping[str, str], *, now: float) -> str:
    cloud_s = _http_date(headers.get("Date", ""))
    if cloud_s is None or abs(cloud_s - now) < _MAX_CLOCK_SKEW_S:
        return ""
    return f" (the local clock is {now - cloud_s:+.0f} s off the cloud's)"


def _http_date(value: str) -> float | None:
    try:
        date = parsedate_to_datetime(value)
        at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return at if math.isfinite(at) else None


def parse_time(text: str) -> float | None:
    """Read "2019-02-13T06:52:13.855000Z" (UTC if it has no offset) as seconds since the epoch; None if invalid."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


@cache
def _decoder(answer: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(answer)
