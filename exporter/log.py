"""Logging: one line an event, by structlog; what libraries log through the standard library joins it.

Nothing an attacker names (a job, a user) can start a line or move a cursor, and nothing that looks like a secret is
printed: secrets have a type that prints stars, and keys and headers known to hold them are starred here once more.
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

_STARS = "****"
_LONGEST = 4096  # a line that no reader finishes helps nobody; tracebacks are exempt
_DEEPEST = 6
_NUMBERS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_SPELLINGS = {"warning": "warn", "critical": "error", "exception": "error"}
_FIRST = ("ts", "level", "event", "logger")

_SECRET_KEY = re.compile(
    r"authorization|passw(or)?d|token|secret|credential|cookie|signature|api_?key|access_?key|private_?key",
    re.IGNORECASE,
)
_SECRET_HEADER = re.compile(
    r"((?:x-(?:auth|subject|security)-token|(?:proxy-)?authorization|(?:set-)?cookie)['\"]?\s*[:=,]\s*['\"]?)[^'\"\r\n]+",
    re.IGNORECASE,
)
_USER_IN_URL = re.compile(r"(?<=://)[^/\s]*@")
_BARE = re.compile(r"[^\s\"=\\]+")
_NOT_IN_KEY = re.compile(r"[^A-Za-z0-9_.-]")


def configure(
    level: Level = "info",
    *,
    format: Format = "logfmt",  # noqa: A002 - spelt as the flag is
    stream: TextIO | None = None,
) -> None:
    """Set logging up for this process; may be called again. `stream` None: whatever `sys.stderr` is when a line goes.

    Below `warn` libraries are heard from `warn` on, since one line a poll is enough; at `debug` from `info` on.
    Loggers are not cached, so that `structlog.testing.capture_logs` works.
    """
    sink = _Sink(stream)
    finish = (*_finishing(), _renderer(format, colours=sink.is_terminal()))
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[level]),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Library)]:
        root.removeHandler(handler)
    root.addHandler(_Library(sink, finish))
    root.setLevel(logging.INFO if level == "debug" else max(_NUMBERS[level], logging.WARNING))


class _Sink:
    """Where lines go. It answers to structlog's method names, and a stream that is gone never fails its writer."""

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


class _Library(logging.Handler):
    """Records of the standard library's loggers, finished as our own events are."""

    def __init__(self, sink: _Sink, finish: tuple[Processor, ...]) -> None:
        super().__init__()
        self._sink = sink
        self._finish = finish

    def emit(self, record: logging.LogRecord) -> None:
        event: EventDict = {"logger": record.name, "event": _message(record)}
        if record.exc_info and record.exc_info[0]:
            event["exc_info"] = record.exc_info
        rendered: object = event
        for processor in self._finish:
            rendered = processor(None, record.levelname.lower(), rendered)  # type: ignore[arg-type]  # text is last
        self._sink.write(str(rendered))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)  # a library's wrong format is not worth losing the message for


def _finishing() -> tuple[Processor, ...]:
    return (
        _level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        _harmless,
        _ordered,
    )


def _level(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["level"] = _SPELLINGS.get(method, method)
    return event


def _harmless(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {
        key: _plain(value, key=key, longest=None if key == "exception" else _LONGEST) for key, value in event.items()
    }


def _ordered(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: event[key] for key in (*(key for key in _FIRST if key in event), *event)}


def _plain(value: object, *, key: str = "", depth: int = 0, longest: int | None = _LONGEST) -> object:
    """What JSON can hold, with secrets starred and floats rounded; bodies (bytes) are never shown."""
    match value:
        case None | bool() | int():
            plain: object = value
        case float():
            plain = _rounded(value)
        case _ if _SECRET_KEY.search(key):
            plain = _STARS
        case bytes() | bytearray() | memoryview():
            plain = f"<{len(value)} bytes>"
        case Mapping() if depth < _DEEPEST:
            plain = {str(name): _plain(item, key=str(name), depth=depth + 1) for name, item in value.items()}
        case list() | tuple() | set() | frozenset() if depth < _DEEPEST:
            plain = [_plain(item, depth=depth + 1) for item in value]
        case _:
            plain = _starred(_text(value, longest=longest))
    return plain


def _text(value: object, *, longest: int | None) -> str:
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - an object that cannot print itself must not fail whoever logs it
        return f"<{type(value).__name__}>"
    return text if longest is None or len(text) <= longest else text[: longest - 3] + "..."


def _rounded(value: float) -> float | str:
    """Milliseconds of a second, or three digits of something smaller; JSON has no infinity."""
    if not math.isfinite(value):
        return str(value)
    return round(float(value), 3) if abs(value) >= 1 else float(f"{value:.3g}")


def _starred(text: str) -> str:
    return _SECRET_HEADER.sub(rf"\1{_STARS}", _USER_IN_URL.sub(f"{_STARS}@", text))


def _renderer(form: Format, *, colours: bool) -> Processor:
    renderers: dict[Format, Callable[[], Processor]] = {
        "logfmt": lambda: _logfmt,
        "json": lambda: _json,
        "console": lambda: _console(colours=colours),
    }
    return renderers[form]()


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return json.dumps(event, separators=(",", ":"))


def _logfmt(_: WrappedLogger, __: str, event: EventDict) -> str:
    return " ".join(f"{_NOT_IN_KEY.sub('_', key) or '_'}={_word(value)}" for key, value in event.items())


def _word(value: object) -> str:
    """One logfmt value: bare where it can be, otherwise quoted as JSON quotes."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if _BARE.fullmatch(text) and text.isprintable():
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _console(*, colours: bool) -> Processor:
    """For people at a terminal: aligned, tracebacks over several lines."""
    render = structlog.dev.ConsoleRenderer(
        colors=colours,
        timestamp_key="ts",
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,  # the default one prints local variables
    )

    def rendered(logger: WrappedLogger, method: str, event: EventDict) -> str:
        shown = {
            key: "\n".join(_visible(line) for line in str(value).split("\n"))
            if key == "exception"
            else _visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            for key, value in event.items()
        }
        return str(render(logger, method, shown))

    return rendered


def _visible(text: str) -> str:
    """Text with every character that does not print (controls, bidirectional marks, lone surrogates) escaped."""
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
