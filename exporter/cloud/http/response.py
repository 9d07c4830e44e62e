"""What came back, and what it means: HTTP status first, the cloud's code second (API reference §8.2). Pure."""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec

from exporter.cloud.http.endpoint import Answer
from exporter.cloud.http.errors import (
    CloudError,
    Denied,
    Gone,
    InvalidResponse,
    Refused,
    ServerError,
    Throttled,
    Unsupported,
)

_LONGEST_MESSAGE = 200
_LONGEST_WAIT_S = 60.0
_CLOCK_SKEW_S = 600.0  # the gateway refuses signatures 15 minutes off; tell earlier
_OPAQUE = re.compile(r"[A-Za-z0-9+=_-]{40,}")  # longer than any id: a token, or a piece of one
_SECONDS = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
_CODE = re.compile(r"[\w.-]{1,64}", re.ASCII)

_NO_DATA = frozenset({"ModelArts.2776", "ModelArts.2777"})
_GONE = frozenset({"ModelArts.2775", "ModelArts.50015001"})
_THROTTLED = frozenset({"ModelArts.2799", "ModelArts.6101", "APIG.0308"})
_BROKEN = frozenset(
    {f"ModelArts.{code}" for code in ("4302", "4503", "4700", "5039", "6100", "50005000")}
    | {f"APIG.{code}" for code in ("0202", "0203", "0601", "0605")}
)
_UNAUTHENTICATED = frozenset(
    {f"ModelArts.{code}" for code in ("0201", "0202", "0204", "0207", "0212", "4127", "4201", "4504")}
    | {f"APIG.{code}" for code in ("0301", "0303", "0305", "0307")}
)
_FORBIDDEN = frozenset(
    {f"ModelArts.{code}" for code in ("0108", "0112", "0203", "0206", "0210", "2784", "2785")}
    | {f"APIG.{code}" for code in ("0302", "0306", "0310", "0401", "0402")}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole answer: headers looked up without regard to case, and the body as it came, decompressed."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


class _InBand(msgspec.Struct):
    """How v1 says that a call failed, at whatever HTTP status (trap 8)."""

    is_success: object = None
    error_code: object = None

    @property
    def failed(self) -> bool:
        if self.is_success is None:
            return bool(self.error_code)
        return self.is_success is False or str(self.is_success).lower() == "false"


def read(
    reply: Response,
    answer: type[Answer],
    *,
    operation: str,
    now: float,
    in_band_failure: bool = False,
    may_be_empty: bool = False,
    unsaid: Sequence[str] = (),
) -> Answer | None:
    """Decode a success; None for "nothing yet" where that is an answer. Raises CloudError.

    `now` is in seconds since the epoch; `unsaid` are secrets of the request, blanked out if the cloud repeats them.
    """
    error = fault(reply, operation=operation, now=now, in_band_failure=in_band_failure, unsaid=unsaid)
    if may_be_empty and error is not None and error.code in _NO_DATA and not isinstance(error, ServerError | Denied):
        return None
    if error is not None:
        try:
            raise error
        finally:
            del error  # or it and this call would hold each other until the garbage collector comes by
    if reply.status == HTTPStatus.NO_CONTENT or not reply.body.strip():
        if may_be_empty:
            return None
        raise InvalidResponse(operation, "an empty body", status=reply.status)
    kind: Any = answer  # to mypy a generic's type is not hashable
    try:
        decoded: Answer = _decoder(kind).decode(reply.body)
    except msgspec.ValidationError as invalid:
        raise InvalidResponse(operation, sanitize(str(invalid), unsaid=unsaid), status=reply.status) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as invalid:
        detail = f"{_kind(reply)}not JSON: {sanitize(str(invalid), unsaid=unsaid)}"
        raise InvalidResponse(operation, detail, status=reply.status) from None
    return decoded


def fault(
    reply: Response, *, operation: str, now: float, in_band_failure: bool = False, unsaid: Sequence[str] = ()
) -> CloudError | None:
    """Say what went wrong according to the answer; None for a success."""
    succeeded = HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES
    failed_in_band = in_band_failure and _failed_in_band(reply.body)
    if succeeded and not failed_in_band:
        return None
    code, message = _told(reply.body)
    kind = _meaning(reply.status, code, in_band=in_band_failure, served=failed_in_band)
    detail = sanitize(message, unsaid=unsaid) or f"{_kind(reply)}no message"
    if kind is Throttled:
        wait_s = retry_after_s(reply.headers, now=now)
        return Throttled(operation, detail, status=reply.status, code=code, retry_after_s=wait_s)
    if kind is Denied:
        detail += _skew(reply.headers, now=now)
    if reply.status // 100 == 3:  # noqa: PLR2004 - the class of redirections
        detail = "the answer points elsewhere, and redirects are not followed"
    return kind(operation, detail, status=reply.status, code=code)


def refused_credential(error: CloudError) -> bool:
    """Whether the cloud did not accept who asks (rather than what they ask for): another credential may help."""
    if not isinstance(error, Denied) or error.status is None:
        return False
    code = _plain(error.code)
    if error.status == HTTPStatus.FORBIDDEN:
        return code == "APIG.0307"
    return error.status == HTTPStatus.UNAUTHORIZED or code in _UNAUTHENTICATED


def retry_after_s(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait, from 0 to 60, by Retry-After as a number or a date; None when absent or nonsense.

    A date counts from the answer's own Date, so that a difference between the clocks does not matter.
    """
    value = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(value):
        wait_s = float(value)
    else:
        until = _http_date(value)
        if until is None:
            return None
        wait_s = until - (_http_date(headers.get("Date", "")) or now)
    return min(max(wait_s, 0.0), _LONGEST_WAIT_S)


def sanitize(message: str, *, unsaid: Sequence[str] = ()) -> str:
    """Make the cloud's words fit for a log: one line, 200 characters, no secret of ours and nothing like a token."""
    for secret in unsaid:
        if secret:
            message = message.replace(secret, "****")
    message = _OPAQUE.sub("****", message[: 4 * _LONGEST_MESSAGE])
    shown = "".join(
        character if character == " " or unicodedata.category(character)[0] not in "CZ" else _escaped(character)
        for character in message.strip()
    )
    return shown if len(shown) <= _LONGEST_MESSAGE else shown[: _LONGEST_MESSAGE - 1] + "…"


def _meaning(  # noqa: PLR0911 - a table of meanings
    status: int, code: str, *, in_band: bool, served: bool
) -> type[CloudError]:
    """`in_band`: codes count at any status. `served`: the service itself said no, so the endpoint exists."""
    code = _plain(code)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Denied
    if status == HTTPStatus.TOO_MANY_REQUESTS or code in _THROTTLED:
        return Throttled
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        return ServerError
    if code in _GONE:
        return Gone
    missing = status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE) and not served and code != "ModelArts.2786"
    if missing or code == "APIG.0101":
        return Unsupported
    if in_band and code in _BROKEN:
        return ServerError
    if code == "APIG.0307" or (in_band and code in _UNAUTHENTICATED | _FORBIDDEN):
        return Denied
    return Refused


def _failed_in_band(body: bytes) -> bool:
    try:
        told: _InBand = _decoder(_InBand).decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False  # whoever decodes it next says what is wrong with it
    return told.failed


def _told(body: bytes) -> tuple[str, str]:
    """Code and message, in the order the vendor's SDK looks for them (API reference §8.1)."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", ""
    if not isinstance(told, dict):
        return "", ""
    for inner in (told, *(value for value in told.values() if isinstance(value, dict))):
        code = next((inner[name] for name in ("error_code", "errorCode", "code") if inner.get(name)), "")
        names = ("error_msg", "error_message", "errorMsg", "message")
        message = next((inner[name] for name in names if inner.get(name)), "")
        if code or message:
            code = str(code)
            return (code if _CODE.fullmatch(code) else ""), (message if isinstance(message, str) else "")
    return "", ""


def _plain(code: str) -> str:
    """Newer gateways of Huawei Cloud say APIGW where OTC says APIG."""
    return "APIG." + code.removeprefix("APIGW.") if code.startswith("APIGW.") else code


def _kind(reply: Response) -> str:
    content_type = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type in ("", "application/json"):
        return ""
    return f"{sanitize(content_type)}, "


def _skew(headers: Mapping[str, str], *, now: float) -> str:
    theirs = _http_date(headers.get("Date", ""))
    if theirs is None or abs(theirs - now) < _CLOCK_SKEW_S:
        return ""
    return f" (our clock is {now - theirs:+.0f} s off the cloud's)"


def _http_date(value: str) -> float | None:
    try:
        date = parsedate_to_datetime(value)
        at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return at if math.isfinite(at) else None


def expiry(text: str) -> float | None:
    """Seconds since the epoch from the cloud's "2019-02-13T06:52:13.855000Z" (UTC unless it says otherwise)."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


@cache
def _decoder(answer: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(answer)
