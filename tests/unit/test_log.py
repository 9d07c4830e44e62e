"""Log lines in each format: one line per event, sanitized, without secrets."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from exporter import log
from exporter.settings import Duration, Secret

HIDDEN = "invented-secret-0123"
NASTY = "name\r\nlevel=error event=fake\x1b[2J\u202e\u2028\x85\x7f\ud800"


class Colour(StrEnum):
    """A subclass of str."""

    RED = "red"


class Unprintable:
    """An object whose `__str__` fails."""

    def __str__(self) -> str:
        raise RuntimeError("never printed")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Each test configures logging; the configuration is restored afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:], root.level = handlers, level


def fail(error: Exception) -> None:
    """Raise the given exception, one frame down."""
    raise error


def logged(form: log.Format, **values: Any) -> str:
    """The line of one event with these values."""
    stream = io.StringIO()
    log.configure("info", format=form, stream=stream)
    structlog.get_logger().info("poll.finished", **values)
    return stream.getvalue()


def as_json(**values: Any) -> dict[str, Any]:
    """The same event as it reads back from JSON."""
    read: dict[str, Any] = json.loads(logged("json", **values))
    return read


def test_logfmt_is_one_line_with_time_level_and_event_first() -> None:
    """One line with UTC time, level and event first."""
    line = logged("logfmt", project="vision", jobs=3, duration_s=0.25, ok=True, bad=False, error=None)

    assert re.fullmatch(
        r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z level=info event=poll\.finished "
        r"project=vision jobs=3 duration_s=0\.25 ok=true bad=false error=null\n",
        line,
    )


@pytest.mark.parametrize(
    "value, word",
    [
        pytest.param("plain/text:1,2", "plain/text:1,2", id="bare"),
        pytest.param("two words", '"two words"', id="space"),
        pytest.param("", '""', id="empty"),
        pytest.param("a=b", '"a=b"', id="equals"),
        pytest.param('say "hi"', '"say \\"hi\\""', id="quotes"),
        pytest.param("a\\b", '"a\\\\b"', id="backslash"),
        pytest.param("a\nb", '"a\\nb"', id="newline"),
        pytest.param("a\x1b[2Jb", '"a\\u001b[2Jb"', id="escape-sequence"),
        pytest.param("a\u202eb", '"a\\u202eb"', id="right-to-left"),
        pytest.param("a\u2028b", '"a\\u2028b"', id="line-separator"),
        pytest.param("Grüße", "Grüße", id="letters"),
        pytest.param([1, "a"], '"[1,\\"a\\"]"', id="list"),
        pytest.param(Colour.RED, "red", id="enum"),
        pytest.param(Path("/etc/x"), "/etc/x", id="path"),
        pytest.param(Duration(90), "90.0", id="duration"),
        pytest.param(ValueError("no such thing"), '"no such thing"', id="exception"),
        pytest.param(Unprintable(), "<Unprintable>", id="unprintable"),
    ],
)
def test_logfmt_values_are_bare_or_quoted(value: object, word: str) -> None:
    """What could end a value, a field or a line is quoted and escaped as in JSON."""
    assert logged("logfmt", value=value).endswith(f" value={word}\n")


def test_logfmt_keys_hold_nothing_that_ends_a_key() -> None:
    """Invalid characters in a key are replaced."""
    assert logged("logfmt", **{"a b=\n": 1, "": 2}).endswith(" a_b__=1 _=2\n")


@pytest.mark.parametrize("form", log.FORMATS)
def test_no_value_starts_a_line_or_moves_a_cursor(form: log.Format) -> None:
    """A job name is untrusted text: the event stays one line of printable characters."""
    text = logged(form, job_name=NASTY, nested={NASTY: [NASTY]})

    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()


@pytest.mark.parametrize("form", log.FORMATS)
@given(st.text(), st.text())
def test_any_text_stays_on_its_line(form: log.Format, value: str, inner: str) -> None:
    """For any text the event stays one printable line."""
    text = logged(form, value=value, nested=[{inner: inner}])

    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()


@given(
    st.text(alphabet=st.characters(exclude_characters=":=,"))
)  # without these nothing looks like a header or a URL
def test_json_gives_back_what_was_logged(value: str) -> None:
    """Escaping loses nothing."""
    assert as_json(value=value)["value"] == value


@pytest.mark.parametrize(
    "value, shown",
    [
        pytest.param(0.123456, 0.123, id="three-digits"),
        pytest.param(0.000123456, 0.000123, id="small"),
        pytest.param(12.34567, 12.346, id="milliseconds"),
        pytest.param(1735689600.12345, 1735689600.123, id="time"),
        pytest.param(-2.00049, -2.0, id="negative"),
        pytest.param(float("inf"), "inf", id="infinite"),
        pytest.param(float("nan"), "nan", id="nan"),
        pytest.param(10**30, 10**30, id="whole"),
        pytest.param({"a": [0.123456]}, {"a": [0.123]}, id="nested"),
    ],
)
def test_floats_are_rounded_to_what_a_reader_needs(value: object, shown: object) -> None:
    """Three decimals, or three digits below 1; values that JSON does not have become text."""
    assert as_json(value=value)["value"] == shown


@pytest.mark.parametrize("form", log.FORMATS)
@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"value": Secret(HIDDEN)}, id="secret-type"),
        pytest.param({"value": [Secret(HIDDEN)]}, id="secret-type-in-list"),
        pytest.param({"password": HIDDEN}, id="password"),
        pytest.param({"OS_PASSWORD": HIDDEN}, id="environment-name"),
        pytest.param({"secret_key": HIDDEN}, id="secret-key"),
        pytest.param({"access_key": HIDDEN}, id="access-key"),
        pytest.param({"x_auth_token": HIDDEN}, id="token"),
        pytest.param({"tokens": [HIDDEN]}, id="list-of-tokens"),
        pytest.param({"credentials": {"sk": HIDDEN}}, id="whole-credentials"),
        pytest.param({"headers": {"X-Auth-Token": HIDDEN}}, id="header"),
        pytest.param({"headers": {"Authorization": f"SDK-HMAC-SHA256 Access={HIDDEN}"}}, id="authorization"),
        pytest.param({"headers": [{"Set-Cookie": HIDDEN}]}, id="cookie"),
        pytest.param({"error": f"<CIMultiDictProxy('X-Subject-Token': '{HIDDEN}')>"}, id="headers-as-text"),
        pytest.param({"error": f"sent\nAuthorization: Basic {HIDDEN}\nHost: x"}, id="request-as-text"),
        pytest.param({"url": f"http://user:{HIDDEN}@proxy.example:3128/"}, id="url"),
        pytest.param({"error": f"cannot connect to http://user:{HIDDEN}@proxy:1 or http://a:b@c"}, id="url-in-text"),
        pytest.param({"body": HIDDEN.encode()}, id="bytes"),
    ],
)
def test_no_format_prints_a_secret(form: log.Format, values: dict[str, object]) -> None:
    """By its type, by its key, by its place in a header or a URL: the mask is printed instead."""
    text = logged(form, **values)

    assert HIDDEN not in text
    assert "****" in text or "bytes>" in text


def test_numbers_about_secrets_are_shown() -> None:
    """Numbers and booleans under such a key are not secrets, for example when a token expires."""
    assert as_json(token_expires_s=3600, token_fresh=True, project="vision") | {"ts": "", "level": ""} == {
        "ts": "",
        "level": "",
        "event": "poll.finished",
        "token_expires_s": 3600,
        "token_fresh": True,
        "project": "vision",
    }


def test_long_values_are_truncated() -> None:
    """Long text, deep nesting and recursive structures are truncated."""
    loop: list[object] = []
    loop.append(loop)

    assert as_json(value="x" * 5000)["value"] == "x" * 4093 + "..."
    assert len(json.dumps(as_json(value=loop))) < 500


@pytest.mark.parametrize("form", log.FORMATS)
def test_exceptions_are_logged_without_local_variables(form: log.Format) -> None:
    """A traceback has the place and the error; values of variables, which may be secrets, are not in it."""
    stream = io.StringIO()
    log.configure("info", format=form, stream=stream)
    local = Secret(HIDDEN).reveal()

    try:
        fail(ValueError(f"bad {NASTY} http://u:{local}@h"))
    except ValueError:
        structlog.get_logger().exception("poll.failed")

    text = stream.getvalue()
    assert "Traceback (most recent call last)" in text
    assert "ValueError: bad name" in text
    assert HIDDEN not in text
    assert "\x1b" not in text
    assert "\r" not in text
    assert form == "console" or text.count("\n") == 1


@pytest.mark.parametrize("form", log.FORMATS)
def test_records_of_libraries_have_the_same_format(form: log.Format) -> None:
    """Records of aiohttp, APScheduler and asyncio have the same format, with the logger's name, once."""
    stream = io.StringIO()
    log.configure("info", format=form, stream=stream)
    log.configure("info", format=form, stream=stream)

    logging.getLogger("aiohttp.client").warning("lost %s", "connection\r\nX-Auth-Token: " + HIDDEN)

    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "aiohttp.client" in text
    assert "lost connection" in text
    assert "warn" in text
    assert HIDDEN not in text


def test_a_librarys_exception_is_kept() -> None:
    """Exceptions of asyncio come as exc_info; an empty one is ignored."""
    stream = io.StringIO()
    log.configure("info", format="json", stream=stream)

    try:
        fail(OSError("gone"))
    except OSError:
        logging.getLogger("asyncio").exception("task failed")
    logging.getLogger("asyncio").error("nothing raised", exc_info=True)  # noqa: LOG014 - the very case

    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["exception"].endswith("OSError: gone")
    assert (first["level"], first["logger"], first["event"]) == ("error", "asyncio", "task failed")
    assert "exception" not in second


def test_a_wrongly_formatted_record_is_logged() -> None:
    """A message whose arguments do not match is logged unformatted instead of being lost."""
    stream = io.StringIO()
    log.configure("info", format="json", stream=stream)

    record = logging.LogRecord("library", logging.CRITICAL, __file__, 1, "%d of %d", ("one",), None)
    logging.getLogger().handlers[-1].handle(record)  # not by a logger: the test runner's own handler raises here

    logged = json.loads(stream.getvalue())
    assert (logged["event"], logged["level"]) == ("%d of %d", "error")


@pytest.mark.parametrize(
    "level, ours, theirs",
    [
        pytest.param("debug", ["debug", "info", "warn", "error"], ["info", "warn", "error"], id="debug"),
        pytest.param("info", ["info", "warn", "error"], ["warn", "error"], id="info"),
        pytest.param("warn", ["warn", "error"], ["warn", "error"], id="warn"),
        pytest.param("error", ["error"], ["error"], id="error"),
    ],
)
def test_levels_have_prometheus_names(level: log.Level, ours: list[str], theirs: list[str]) -> None:
    """Our events follow the level; libraries log from `warn` on, at `debug` from `info` on."""
    stream = io.StringIO()
    log.configure(level, format="json", stream=stream)

    for logger in (structlog.get_logger(), logging.getLogger("library")):
        logger.debug("message")
        logger.info("message")
        logger.warning("message")
        logger.error("message")

    logged = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in logged if "logger" not in line] == ours
    assert [line["level"] for line in logged if "logger" in line] == theirs


def test_the_flags_choices_are_the_types() -> None:
    """The command line offers exactly what `configure` accepts."""
    assert get_args(log.Level) == log.LEVELS == ("debug", "info", "warn", "error")
    assert get_args(log.Format) == log.FORMATS == ("logfmt", "json", "console")


def test_context_reaches_the_line() -> None:
    """Context bound for a poll is on each of its lines."""
    with structlog.contextvars.bound_contextvars(project="vision", poll="7"):
        logged = as_json(jobs=1)

    assert (logged["project"], logged["poll"], logged["jobs"]) == ("vision", "7", 1)
    assert list(logged)[:3] == ["ts", "level", "event"]


def test_tests_can_capture_events_of_loggers_made_before() -> None:
    """Loggers are not cached, so events of a logger that was used before are captured."""
    stream = io.StringIO()
    log.configure("info", stream=stream)
    logger = structlog.get_logger()
    logger.info("poll.started")

    with capture_logs() as events:
        logger.info("poll.finished", jobs=1)

    assert events == [{"event": "poll.finished", "jobs": 1, "log_level": "info"}]
    assert "poll.finished" not in stream.getvalue()


def test_without_a_stream_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is for the exposition that `scrape` prints."""
    log.configure()

    structlog.get_logger().info("poll.finished")

    captured = capsys.readouterr()
    assert captured.out == ""
    assert "event=poll.finished" in captured.err


def test_a_closed_stream_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed pipe, a closed file or a missing standard error does not fail the caller."""

    class Gone(io.StringIO):
        def write(self, _: str, /) -> int:
            raise BrokenPipeError

    closed = io.StringIO()
    log.configure(stream=closed)
    closed.close()
    structlog.get_logger().info("poll.finished")
    logging.getLogger("library").error("message")

    log.configure(stream=Gone())
    structlog.get_logger().info("poll.finished")
    logging.getLogger("library").error("message")

    monkeypatch.setattr(sys, "stderr", None)
    log.configure()
    structlog.get_logger().info("poll.finished")


def test_a_stream_that_cannot_write_a_letter_gets_its_escape() -> None:
    """On a terminal without Unicode the line is escaped, not lost."""
    raw = io.BytesIO()
    log.configure(stream=io.TextIOWrapper(raw, encoding="ascii"))

    structlog.get_logger().info("poll.finished", user="Jürgen")

    assert raw.getvalue().endswith(b" user=J\\xfcrgen\n")


def test_colours_are_for_terminals_only() -> None:
    """Escape sequences appear on a terminal only, never in a file."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        log.configure(format="console", stream=stream)
        structlog.get_logger().info("poll.finished", project="vision")

    assert "\x1b[" in terminal.getvalue()
    assert "\x1b[" not in file.getvalue()
    assert "project=vision" in file.getvalue()
