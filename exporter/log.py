"""Logging: one line per event, by structlog. Records of the standard library's loggers use the same format.

Values that users control (job names, user names) cannot start a line or move a cursor. Secrets are masked twice: by
their type, and here by the names of keys and headers that usually contain them.
"""

import json
import logging
import math
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal, TextIO, get_args

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warn", "error"]
Format = Literal["logfmt", "json", "console"]
LEVELS: tuple[Level, ...] = get_args(Level)
FORMATS: tuple[Format, ...] = get_args(Format)

_MASK = "****"
_MAX_LENGTH = 4096  # longer values are truncated, except for tracebacks
_MAX_DEPTH = 6
_LEVEL_NUMBERS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_LEVEL_ALIASES = {"warning": "warn", "critical": "error", "exception": "error"}
_LEADING_KEYS = ("ts", "level", "event", "logger")

_SECRET_KEY = re.compile(
    r"authorization|passw(or)?d|token|secret|credential|cookie|signature|api_?key|access_?key|private_?key",
    re.IGNORECASE,
)
_SECRET_HEADER = re.compile(
    r"((?:x-(?:auth|subject|security)-token|(?:proxy-)?authorization|(?:set-)?cookie)['\"]?\s*[:=,]\s*['\"]?)[^'\"\r\n]+",
    re.IGNORECASE,
)
_USER_IN_URL = re.compile(r"(?<=://)[^/\s]*@")
_UNQUOTED_VALUE = re.compile(r"[^\s\"=\\]+")
_INVALID_KEY_CHARACTER = re.compile(r"[^A-Za-z0-9_.-]")


def configure(
    level: Level = "info",
    *,
    format: Format = "logfmt",  # noqa: A002 - named like the flag
    stream: TextIO | None = None,
) -> None:
    """Configure logging for this process; can be called again. `stream` None: the current `sys.stderr` of each line.

    Libraries log from `warn` on, because one line per poll is enough; at level `debug` from `info` on.
    Loggers are not cached, so that `structlog.testing.capture_logs` works.
    """
    writer = _LineWriter(stream)
    processors = (*_final_processors(), _renderer(format, colors=writer.is_terminal()))
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *processors],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVEL_NUMBERS[level]),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _StdlibHandler)]:
        root.removeHandler(handler)
    root.addHandler(_StdlibHandler(writer, processors))
    root.setLevel(logging.INFO if level == "debug" else max(_LEVEL_NUMBERS[level], logging.WARNING))


class _LineWriter:
    """Writes lines to a stream. Has structlog's method names. Errors of the stream are ignored."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def is_terminal(self) -> bool:
        stream = self._stream or sys.stderr
        return stream is not None and stream.isatty()

    def write(self, line: str) -> None:
        stream = self._stream or sys.stderr
        if stream is None:  # a process without a standard error
            return
        with suppress(OSError, ValueError):  # a closed pipe, a full disk, a closed file
            try:
                stream.write(line + "\n")
            except UnicodeEncodeError:
                stream.write(line.encode("ascii", "backslashreplace").decode("ascii") + "\n")
            stream.flush()

    msg = log = debug = info = warning = warn = error = critical = fatal = exception = write


class _StdlibHandler(logging.Handler):
    """Formats records of the standard library's loggers like our own events."""

    def __init__(self, writer: _LineWriter, processors: tuple[Processor, ...]) -> None:
        super().__init__()
        self._writer = writer
        self._processors = processors

    def emit(self, record: logging.LogRecord) -> None:
        event: EventDict = {"logger": record.name, "event": _message(record)}
        if record.exc_info and record.exc_info[0]:
            event["exc_info"] = record.exc_info
        rendered: object = event
        for processor in self._processors:
            rendered = processor(None, record.levelname.lower(), rendered)  # type: ignore[arg-type]  # the last processor returns text
        self._writer.write(str(rendered))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)  # keep the message if a library's format is wrong


def _final_processors() -> tuple[Processor, ...]:
    return (
        _add_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        _sanitize_event,
        _order_keys,
    )


def _add_level(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["level"] = _LEVEL_ALIASES.get(method, method)
    return event


def _sanitize_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {
        key: _sanitize(value, key=key, max_length=None if key == "exception" else _MAX_LENGTH)
        for key, value in event.items()
    }


def _order_keys(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: event[key] for key in (*(key for key in _LEADING_KEYS if key in event), *event)}


def _sanitize(value: object, *, key: str = "", depth: int = 0, max_length: int | None = _MAX_LENGTH) -> object:
    """Convert to JSON types, with secrets masked and floats rounded. Bytes are never shown."""
    match value:
        case None | bool() | int():
            sanitized: object = value
        case float():
            sanitized = _round(value)
        case _ if _SECRET_KEY.search(key):
            sanitized = _MASK
        case bytes() | bytearray() | memoryview():
            sanitized = f"<{len(value)} bytes>"
        case Mapping() if depth < _MAX_DEPTH:
            sanitized = {str(name): _sanitize(item, key=str(name), depth=depth + 1) for name, item in value.items()}
        case list() | tuple() | set() | frozenset() if depth < _MAX_DEPTH:
            sanitized = [_sanitize(item, depth=depth + 1) for item in value]
        case _:
            sanitized = _mask_secrets(_text(value, max_length=max_length))
    return sanitized


def _text(value: object, *, max_length: int | None) -> str:
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - an object whose `__str__` fails must not fail the caller
        return f"<{type(value).__name__}>"
    return text if max_length is None or len(text) <= max_length else text[: max_length - 3] + "..."


def _round(value: float) -> float | str:
    """Round to three decimals, or to three digits below 1. Infinity and NaN become text, because JSON has neither."""
    if not math.isfinite(value):
        return str(value)
    return round(float(value), 3) if abs(value) >= 1 else float(f"{value:.3g}")


def _mask_secrets(text: str) -> str:
    return _SECRET_HEADER.sub(rf"\1{_MASK}", _USER_IN_URL.sub(f"{_MASK}@", text))


def _renderer(format_: Format, *, colors: bool) -> Processor:
    renderers: dict[Format, Callable[[], Processor]] = {
        "logfmt": lambda: _logfmt,
        "json": lambda: _json,
        "console": lambda: _console(colors=colors),
    }
    return renderers[format_]()


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return json.dumps(event, separators=(",", ":"))


def _logfmt(_: WrappedLogger, __: str, event: EventDict) -> str:
    return " ".join(
        f"{_INVALID_KEY_CHARACTER.sub('_', key) or '_'}={_logfmt_value(value)}" for key, value in event.items()
    )


def _logfmt_value(value: object) -> str:
    """Format one logfmt value: unquoted if possible, otherwise as a JSON string."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if _UNQUOTED_VALUE.fullmatch(text) and text.isprintable():
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _console(*, colors: bool) -> Processor:
    """Format for a terminal: aligned columns, multi-line tracebacks."""
    render = structlog.dev.ConsoleRenderer(
        colors=colors,
        timestamp_key="ts",
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,  # the default formatter prints local variables
    )

    def rendered(logger: WrappedLogger, method: str, event: EventDict) -> str:
        escaped = {
            key: "\n".join(_escape_unprintable(line) for line in str(value).split("\n"))
            if key == "exception"
            else _escape_unprintable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            for key, value in event.items()
        }
        return str(render(logger, method, escaped))

    return rendered


def _escape_unprintable(text: str) -> str:
    """Escape unprintable characters: controls, bidirectional marks, lone surrogates."""
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
