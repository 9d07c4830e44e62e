r"""Decodes JSON that other decoders accept and ours rejects: the one place that decides what a flaw of text costs.

RFC 8259 allows a lone surrogate in an escape, lets a receiver ignore a byte order mark, and sets no limit on nesting
or on numbers. Encoders in use also write NaN, raw control characters, and bytes that are not UTF-8. A decoder that
refuses one of these loses a whole listing because of one string, even in a field that is skipped. So:

| flaw | becomes | kind |
|---|---|---|
| byte order mark; UTF-16 or UTF-32 text | UTF-8 without the mark | `encoding` |
| bytes that are not UTF-8 | U+FFFD | `encoding` |
| escape of a lone surrogate, or one that is cut off | U+FFFD | `escape` |
| escape that JSON lacks (`\x`, `\'`) | its characters, backslash included | `escape` |
| raw control character in a string | a space | `control_character` |
| NaN, Infinity and their other spellings | null | `number` |
| number that no float holds (1e400) | null | `number` |
| value nested deeper than 200 levels | null | `nesting` |
| duplicate key | its last value, without a repair | |

Everything else that is not JSON stays an error: truncated text, missing commas, trailing data (trap 38). Valid text
is decoded in one step; it is examined only after the decoder has refused it.
"""

import json
import math
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from exporter.domain.outcome import Repair

Decoded = TypeVar("Decoded")

UNDECODABLE = (ValueError, RecursionError)
"""What decoding raises: msgspec's errors and undecodable UTF-8 are ValueErrors, endless nesting a RecursionError."""

MAX_DEPTH = 200
"""Deepest nesting that is kept; the responses in use have less than ten levels."""

_MARK_OR_SPACE = "\ufeff \t\r\n"
_CONTROL_CHARACTERS = frozenset(map(chr, range(0x20)))
_LINE_BREAKS = frozenset("\t\r\n")
_SPACES = dict.fromkeys(range(0x20), " ")
_TOKEN = re.compile(  # linear in the length of any text: no part of it can be matched in two ways
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+'
    r"|(?P<number>[+-]?\b(?:nan|inf(?:inity)?)\b"
    r"|(?<![\d.])-?(?:\d++(?:\.\d++)?+e\+?+\d{3,}+|\d{300,}+(?:\.\d++)?+(?:e[+-]?+\d++)?+))"
    r"|(?P<open>[\[{])"
    r"|(?P<close>[\]}])",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:"
    r"[\"\\/bfnrt]"
    r"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2}|u(?![0-9a-fA-F]{4})[0-9a-fA-F]{0,3})"
    r"|u[0-9a-fA-F]{4}"
    r"|(?P<unknown>.))",
    re.DOTALL,
)


def ignore_repair(_: Repair) -> None:
    """Count nothing."""


def decode_json(
    decoder: msgspec.json.Decoder[Decoded],
    data: bytes | msgspec.Raw,
    *,
    on_repair: Callable[[Repair], None] = ignore_repair,
) -> Decoded:
    """Decode JSON; text that the decoder refuses is repaired and decoded again. Raises one of `UNDECODABLE`.

    `on_repair` is called once for each kind of flaw, if the repaired text decodes.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        if "out of range" not in str(error):
            raise  # valid JSON of another shape
        failure: Exception = error
    except UNDECODABLE as error:
        failure = error
    repairs: set[Repair] = set()
    text = _escaped(_text(bytes(data), repairs), repairs)
    for repair in (_unchanged, _without_extremes):  # the second takes ten times as long, and is seldom needed
        text = repair(text, repairs)
        try:
            decoded = decoder.decode(text)
        except msgspec.ValidationError as error:
            failure = error  # JSON of another shape; names the path
        except UNDECODABLE:
            pass  # the first failure is raised: its position is that in the cloud's text
        else:
            del failure
            for kind in sorted(repairs or {Repair.CONTROL_CHARACTER}):
                on_repair(kind)
            return decoded
    try:
        raise failure
    finally:
        del failure  # else error and frame form a reference cycle


def _unchanged(text: str, _: set[Repair]) -> str:
    return text


def _text(data: bytes, repairs: set[Repair]) -> str:
    encoding = json.detect_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode(encoding, "replace")
        repairs.add(Repair.ENCODING)
    stripped = text.strip(_MARK_OR_SPACE)
    if encoding != "utf-8" or len(stripped) < len(text.strip(_MARK_OR_SPACE[1:])):
        repairs.add(Repair.ENCODING)
    return stripped


def _escaped(text: str, repairs: set[Repair]) -> str:
    """Make raw control characters spaces, which mean the same outside of strings, and every escape a valid one."""
    before = set(text)
    if not before.isdisjoint(_CONTROL_CHARACTERS):
        text = text.translate(_SPACES)
        if not before.isdisjoint(_CONTROL_CHARACTERS - _LINE_BREAKS):
            repairs.add(Repair.CONTROL_CHARACTER)
    if "\\" in before:
        valid = _ESCAPE.sub(_valid_escape, text)
        if valid != text:
            repairs.add(Repair.ESCAPE)
        text = valid
    return text


def _valid_escape(escape: re.Match[str]) -> str:
    if escape["lone"] is not None:
        return "\ufffd"
    return "\\\\" + escape["unknown"] if escape["unknown"] is not None else escape[0]


def _without_extremes(text: str, repairs: set[Repair]) -> str:
    """Replace numbers that no float holds, and values nested too deeply, by null."""
    kept: list[str] = []
    depth = start = 0
    for token in _TOKEN.finditer(text):
        if token["open"]:
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept += (text[start : token.start()], "null")
                repairs.add(Repair.NESTING)
        elif token["close"]:
            depth -= 1
            if depth == MAX_DEPTH:
                start = token.end()
        elif token["number"] and depth <= MAX_DEPTH and not math.isfinite(float(token["number"])):
            kept += (text[start : token.start()], "null")
            start = token.end()
            repairs.add(Repair.NUMBER)
    return "".join((*kept, text[start:] if depth <= MAX_DEPTH else ""))
