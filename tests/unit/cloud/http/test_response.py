"""From response to value or error: statuses, codes, Retry-After, and which text of the cloud is shown."""

import json
from email.utils import formatdate

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

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
from exporter.cloud.http.response import (
    Response,
    error_for,
    parse_time,
    read_response,
    refused_credential,
    retry_after_s,
    sanitize,
)

NOW = 1_700_000_000.0


class Item(msgspec.Struct):
    id: int


class Page(msgspec.Struct):
    jobs: list[Item]
    note: str = ""


def response(status: int, body: object = None, **headers: str) -> Response:
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=CIMultiDict(named), body=content)


def coded(code: str) -> dict[str, str]:
    return {"error_code": code, "error_msg": "no"}


def error_of(received: Response, *, in_band: bool = False) -> CloudError | None:
    return error_for(received, operation="op", now=NOW, in_band_failure=in_band)


@pytest.mark.parametrize(
    "status,code,kind",
    [
        (200, "", None),
        (201, "", None),
        (202, "", None),
        (301, "", Refused),
        (302, "", Refused),
        (307, "", Refused),
        (400, "", Refused),
        (400, "ModelArts.2764", Refused),
        (400, "ModelArts.2775", Gone),
        (400, "ModelArts.2799", Throttled),
        (400, "APIG.0201", Refused),
        (400, "APIG.0307", Denied),
        (401, "", Denied),
        (401, "APIG.0301", Denied),
        (401, "ModelArts.2775", Denied),
        (403, "", Denied),
        (403, "ModelArts.0203", Denied),
        (404, "", Unsupported),
        (404, "APIG.0101", Unsupported),
        (404, "APIGW.0101", Unsupported),
        (404, "ModelArts.2786", Refused),
        (404, "ModelArts.2775", Gone),
        (404, "ModelArts.50015001", Gone),
        (405, "", Refused),
        (408, "ModelArts.6100", ServerError),
        (410, "", Unsupported),
        (413, "APIG.0201", Refused),
        (429, "", Throttled),
        (429, "ModelArts.6101", Throttled),
        (500, "", ServerError),
        (500, "ModelArts.5039", ServerError),
        (500, "APIGW.0308", Throttled),
        (401, "APIGW.0308", Throttled),
        (403, "APIG.0308", Throttled),
        (403, "ModelArts.6101", Throttled),
        (502, "APIG.0202", ServerError),
        (503, "ModelArts.4700", ServerError),
        (504, "APIG.0201", ServerError),
        (599, "", ServerError),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_status_first_then_code(status: int, code: str, kind: type[CloudError] | None) -> None:
    """The HTTP status decides, and the cloud's code refines it (API reference §8.2)."""
    error = error_of(response(status, coded(code) if code else {}))

    assert (type(error) if error else None) is kind
    assert error is None or (error.status == status and error.code == code)


@pytest.mark.parametrize(
    "status,body,kind",
    [
        pytest.param(200, {"is_success": True, "jobs": []}, None, id="success"),
        pytest.param(200, {"jobs": []}, None, id="no-flag"),
        pytest.param(200, {"is_success": False, "error_code": "ModelArts.0105"}, Refused, id="at-200"),
        pytest.param(200, {"is_success": "false"}, Refused, id="as-text"),
        pytest.param(200, {"error_code": "ModelArts.0105"}, Refused, id="only-a-code"),
        pytest.param(200, {"is_success": True, "error_code": "odd"}, None, id="success-overrides-code"),
        pytest.param(200, {"is_success": False, "error_code": "ModelArts.2775"}, Gone, id="gone"),
        pytest.param(200, {"is_success": False, "error_code": "ModelArts.6101"}, Throttled, id="throttled"),
        pytest.param(200, {"is_success": False, "error_code": "ModelArts.5039"}, ServerError, id="busy"),
        pytest.param(200, {"is_success": False, "error_code": "ModelArts.0201"}, Denied, id="not-authenticated"),
        pytest.param(200, {"is_success": False, "error_code": "ModelArts.0108"}, Denied, id="not-permitted"),
        pytest.param(400, {"is_success": False, "error_code": "ModelArts.0105"}, Refused, id="at-400"),
        pytest.param(400, {"is_success": False, "error_code": "ModelArts.50005000"}, ServerError, id="broken-at-400"),
        pytest.param(404, {"is_success": False, "error_code": "ModelArts.0105"}, Refused, id="the-endpoint-exists"),
        pytest.param(404, {"error_msg": "no such API"}, Unsupported, id="the-endpoint-does-not-exist"),
        pytest.param(500, {"is_success": False}, ServerError, id="at-500"),
        pytest.param(200, b"<html>", None, id="left-to-the-decoder"),
        pytest.param(200, b"[" * 5000, None, id="deep-nesting-left-to-the-decoder"),
    ],
)
def test_trap_8_v1_fails_in_band(status: int, body: object, kind: type[CloudError] | None) -> None:
    """Trap 8: `is_success: false` fails a v1 call at any HTTP status; the code decides which error it is."""
    error = error_of(response(status, body), in_band=True)

    assert (type(error) if error else None) is kind


@pytest.mark.parametrize("text_key", ["error_message", "error_msg"])
def test_trap_8_the_message_has_two_keys(text_key: str) -> None:
    """Trap 8: the message of v1 is in error_message or error_msg."""
    error = error_of(
        response(200, {"is_success": False, "error_code": "M.1", text_key: "quota is used up"}), in_band=True
    )

    assert str(error) == "op: HTTP 200 M.1: quota is used up"


@pytest.mark.parametrize(
    "body,text",
    [
        pytest.param(coded("ModelArts.1"), "op: HTTP 400 ModelArts.1: no", id="v2"),
        pytest.param({"errorCode": "A.1", "errorMsg": "no"}, "op: HTTP 400 A.1: no", id="camel-case"),
        pytest.param({"code": "A.1", "message": "no"}, "op: HTTP 400 A.1: no", id="short"),
        pytest.param({"error": {"code": 400, "message": "no"}}, "op: HTTP 400 400: no", id="keystone"),
        pytest.param({"error_msg": ["a"], "error_code": "has spaces"}, "op: HTTP 400: no message", id="invalid"),
        pytest.param({"note": 1}, "op: HTTP 400: no message", id="other-keys"),
        pytest.param([1], "op: HTTP 400: no message", id="not-an-object"),
        pytest.param(None, "op: HTTP 400: no message", id="empty"),
        pytest.param(b"\xff{", "op: HTTP 400: no message", id="not-json"),
    ],
)
def test_code_and_message_are_found_in_every_shape(body: object, text: str) -> None:
    """All shapes of reference §8.1 are read; any other body gives no message."""
    assert str(error_of(response(400, body))) == text


def test_html_of_a_load_balancer_is_not_quoted() -> None:
    """A 502 with HTML is a ServerError whose text names the content type and does not quote the page."""
    error = error_of(response(502, b"<html><b>Bad Gateway</b></html>", Content_Type="text/html; charset=utf-8"))

    assert isinstance(error, ServerError)
    assert str(error) == "op: HTTP 502: text/html, no message"


@pytest.mark.parametrize(
    "body,detail",
    [
        pytest.param(b'{"jobs": [{"id": 1}, {"id": "x"}]}', "`$.jobs[1].id`", id="wrong-type"),
        pytest.param(b"{}", "missing required field `jobs`", id="missing"),
        pytest.param(b"[]", "Expected `object`, got `array`", id="other-shape"),
        pytest.param(b'{"jobs": [', "not JSON: Input data was truncated", id="truncated"),
        pytest.param(b"<html>", "text/html, not JSON", id="html"),
        pytest.param(b"", "an empty body", id="empty"),
        pytest.param(b" \n", "an empty body", id="blank"),
    ],
)
def test_a_success_that_does_not_decode_is_an_invalid_response(body: bytes, detail: str) -> None:
    """The error names the JSON path, or what was received instead."""
    received = response(200, body, Content_Type="text/html" if body == b"<html>" else "application/json")

    with pytest.raises(InvalidResponse) as caught:
        read_response(received, Page, operation="op", now=NOW)

    assert detail in str(caught.value)


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(response(204), id="204"),
        pytest.param(response(200), id="empty-200"),
        pytest.param(response(204, coded("ModelArts.2777")), id="204-with-a-body"),
        pytest.param(response(400, coded("ModelArts.2776")), id="2776"),
        pytest.param(response(404, coded("ModelArts.2777")), id="2777"),
    ],
)
def test_trap_9_not_ready_is_none_where_the_endpoint_may_be_empty(received: Response) -> None:
    """Trap 9: 204, an empty body, 2776 and 2777 mean "not ready yet" there, and are errors elsewhere."""
    assert read_response(received, Page, operation="op", now=NOW, may_be_empty=True) is None
    with pytest.raises(CloudError):
        read_response(received, Page, operation="op", now=NOW)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_not_ready_does_not_hide_a_denial_or_a_server_error(status: int) -> None:
    """The status decides first: a 401, 403 or 500 with code 2777 fails, also where the endpoint may be empty."""
    with pytest.raises((Denied, ServerError)):
        read_response(response(status, coded("ModelArts.2777")), Page, operation="op", now=NOW, may_be_empty=True)


@pytest.mark.parametrize(
    "value,wait_s",
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param(" 1.5 ", 1.5, id="fraction"),
        pytest.param("0", 0.0, id="zero"),
        pytest.param("-3", 0.0, id="negative"),
        pytest.param("86400", 60.0, id="a-day"),
        pytest.param("9" * 400, 60.0, id="absurd"),
        pytest.param(formatdate(NOW + 20, usegmt=True), 20.0, id="date"),
        pytest.param(formatdate(NOW - 500, usegmt=True), 0.0, id="past-date"),
        pytest.param(formatdate(NOW + 90_000, usegmt=True), 60.0, id="far-date"),
        pytest.param("Wed, 15 Nov 2023 99:99:99 GMT", None, id="no-date"),
        pytest.param("", None, id="empty"),
        pytest.param("soon", None, id="word"),
        pytest.param("nan", None, id="nan"),
        pytest.param("inf", None, id="inf"),
        pytest.param("1e3", None, id="exponent"),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, wait_s: float | None) -> None:
    """Retry-After is read in both forms and clamped to 0 to 60 s; an invalid one counts as absent."""
    assert retry_after_s({"Retry-After": value}, now=NOW) == wait_s
    error = error_of(response(429, Retry_After=value))
    assert isinstance(error, Throttled)
    assert error.retry_after_s == wait_s


def test_no_retry_after_is_none() -> None:
    """A 429 without the header has no pause of the cloud."""
    assert retry_after_s({}, now=NOW) is None


def test_a_retry_date_is_relative_to_the_date_header() -> None:
    """With the cloud's clock an hour ahead, a date 10 s after the Date header is 10 s."""
    headers = {
        "Retry-After": formatdate(NOW + 3610, usegmt=True),
        "Date": formatdate(NOW + 3600, usegmt=True),
    }

    assert retry_after_s(headers, now=NOW) == 10.0


@settings(max_examples=100)
@given(st.text(max_size=30))
def test_any_retry_after_is_none_or_bounded(value: str) -> None:
    """For any header the pause is None or from 0 to 60 s."""
    wait_s = retry_after_s({"Retry-After": value, "Date": value}, now=NOW)

    assert wait_s is None or 0 <= wait_s <= 60


@pytest.mark.parametrize(
    "status,code,in_band,is_credential",
    [
        pytest.param(401, "", False, True, id="401"),
        pytest.param(401, "ModelArts.0203", False, True, id="401-decides"),
        pytest.param(403, "", False, False, id="403"),
        pytest.param(403, "APIG.0302", False, False, id="403-permission"),
        pytest.param(403, "APIGW.0307", False, True, id="403-token-expired"),
        pytest.param(200, "ModelArts.0201", True, True, id="in-band"),
        pytest.param(200, "ModelArts.0108", True, False, id="in-band-permission"),
        pytest.param(500, "", False, False, id="not-a-denial"),
        *(
            pytest.param(status, code, in_band, True, id=f"{status}-{code}")
            for code in (
                *("APIG.0301", "APIG.0303", "APIG.0305", "APIG.0307", "APIGW.0301", "APIGW.0307"),
                *(
                    f"ModelArts.{number}"
                    for number in ("0201", "0202", "0203", "0204", "0205", "0206", "0207", "0212")
                ),
                *(f"ModelArts.{number}" for number in ("4127", "4201", "4504")),
            )
            for status, in_band in ((401, False), (403, False), (200, True))
            if not (in_band and code.startswith("APIG"))
        ),
        *(
            pytest.param(status, f"ModelArts.{number}", in_band, False, id=f"{status}-{number}")
            for number in ("0108", "0112", "0210", "0428", "2784", "2785", "4203", "4630", "6201", "6203", "9999")
            for status, in_band in ((401, False), (403, False), (200, True), (401, True))
        ),
        *(
            pytest.param(status, f"APIG{w}.{number}", False, False, id=f"{status}-{w}{number}")
            for number in ("0302", "0306", "0310", "0401", "0402", "0308")
            for status in (401, 403)
            for w in ("", "W")
        ),
        pytest.param(401, "IAM.0011", False, True, id="401-of-another-service"),
        pytest.param(403, "IAM.0011", False, False, id="403-of-another-service"),
    ],
)
def test_which_errors_refuse_the_credential(status: int, code: str, in_band: bool, is_credential: bool) -> None:
    """[44] The code decides: 401 is also the status of missing permissions and suspended accounts."""
    error = error_of(response(status, {"is_success": False, **coded(code)}), in_band=in_band)

    assert error
    assert refused_credential(error) is is_credential


def test_an_unreadable_secret_is_not_a_refused_credential() -> None:
    """A secret that cannot be read was not refused by the cloud."""
    assert not refused_credential(Denied("op", "unreadable"))


def test_a_denial_reports_a_wrong_clock() -> None:
    """A 401 with a Date 20 minutes ahead says how far the local clock is off."""
    error = error_of(response(401, coded("APIG.0301"), Date=formatdate(NOW + 1200, usegmt=True)))

    assert str(error) == "op: HTTP 401 APIG.0301: no (the local clock is -1200 s off the cloud's)"


def test_a_denial_does_not_mention_a_correct_clock() -> None:
    """A difference of a few seconds is not mentioned."""
    assert "clock" not in str(error_of(response(401, coded("APIG.0301"), Date=formatdate(NOW + 5, usegmt=True))))


@pytest.mark.parametrize(
    "message,shown",
    [
        pytest.param("plain words", "plain words", id="plain"),
        pytest.param("two\nlines\r\tand \x1b[31mcolour", "two\\nlines\\r\\tand \\x1b[31mcolour", id="control"),
        pytest.param("a\u2028b\u202ec\u200bd", "a\\u2028b\\u202ec\\u200bd", id="separators-and-direction"),
        pytest.param("ü 作业", "ü 作业", id="other-scripts"),
        pytest.param("x y " * 100, ("x y " * 100)[:199] + "…", id="long"),
        pytest.param("token " + "Ab1_" * 30 + " refused", "token **** refused", id="looks-like-a-token"),
        pytest.param("key hunter2 is wrong", "key **** is wrong", id="our-own-secret"),
    ],
)
def test_messages_of_the_cloud_are_sanitized(message: str, shown: str) -> None:
    """One line of at most 200 characters, without control characters, secrets, or text that looks like a token."""
    assert sanitize(message, redact=("hunter2", "")) == shown


@settings(max_examples=100)
@given(st.text(max_size=400))
def test_any_message_fits_one_line(message: str) -> None:
    """For any message at most 200 printable characters are shown."""
    shown = sanitize(message)

    assert len(shown) <= 200
    assert shown.isprintable()


@pytest.mark.parametrize(
    "text,at",
    [
        pytest.param("2019-02-13T06:52:13.855000Z", 1_550_040_733.855, id="microseconds"),
        pytest.param("2019-02-13T06:52:13.855Z", 1_550_040_733.855, id="milliseconds"),
        pytest.param("2019-02-13T06:52:13Z", 1_550_040_733.0, id="seconds"),
        pytest.param("2019-02-13T06:52:13", 1_550_040_733.0, id="no-zone"),
        pytest.param("2019-02-13T08:52:13+02:00", 1_550_040_733.0, id="other-zone"),
        pytest.param("tomorrow", None, id="word"),
        pytest.param("", None, id="empty"),
    ],
)
def test_times_are_utc_with_any_number_of_digits(text: str, at: float | None) -> None:
    """Times of IAM are read with and without fractions; an invalid one is None."""
    assert parse_time(text) == at


@pytest.mark.parametrize(
    "message,budget",
    [
        (
            "The throttling threshold has been reached: policy user over ratelimit,limit:200,time:5 minute",
            (200, 300.0),
        ),
        ("throttling threshold, limit:200, time:5 minute", (200, 300.0)),
        ("policy ip over ratelimit,limit:5,time:1 second", (5, 1.0)),
        ("Limit: 10, Time: 2 Hour", (10, 7200.0)),
        ("too many requests", None),
        ("limit:,time:5 minute", None),
    ],
)
@pytest.mark.parametrize("status", [401, 403, 429])
def test_the_budget_of_a_gateway_is_read(status: int, message: str, budget: tuple[int, float] | None) -> None:
    """[53] Gateways state the limit in the text, and send no Retry-After."""
    error = error_of(response(status, {"error_code": "APIGW.0308", "error_msg": message}))

    assert isinstance(error, Throttled)
    assert error.retry_after_s is None
    assert error.budget == budget
