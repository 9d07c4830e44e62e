"""Single values as the cloud writes them: numbers as text, objects as JSON text, zeros that mean "not yet".

No function raises: an absent value is None, an invalid value is None and noted as unknown (API reference §2, "general
decoding rules").
"""

import math
from collections.abc import Mapping
from typing import Any

from exporter.cloud.decode.text_in_text import decoder, unwrap
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.http.json_text import UNDECODABLE, decode_json

_MIN_TIME_S = 1_420_070_400  # the year 2015: ModelArts is younger; seconds read as milliseconds are in 1970
_MAX_TIME_S = 4_102_444_800  # the year 2100; milliseconds read as seconds are later
_MAX_DURATION_S = 50 * 365 * 86_400  # fifty years: now minus a start of 0 is longer (trap 14)
_MAX_COUNT = 2**53  # larger integers are not exact as floats


def number(value: object, *, field: str, note: NoteUnknown) -> float | None:
    """Read a finite number from an int, a float or their text; None for null, "" and invalid values (noted)."""
    if value is None or value == "":
        return None
    try:
        if type(value) is int or type(value) is float:  # the usual case; a boolean is neither
            read = float(value)
        elif isinstance(value, str):
            read = math.nan if "_" in value else float(value)  # only Python reads "1_000" as a number
        else:
            read = math.nan
    except (ValueError, OverflowError):
        read = math.nan
    if math.isfinite(read):
        return read
    note(field, value)
    return None


def quantity(value: object, *, field: str, note: NoteUnknown) -> float | None:
    """Read a number from 0; a negative one is None and noted."""
    read = number(value, field=field, note=note)
    if read is not None and read < 0:
        note(field, value)
        return None
    return read


def count(value: object, *, field: str, note: NoteUnknown) -> int | None:
    """Read a whole number from 0; fractions are dropped (API reference §5.2)."""
    read = quantity(value, field=field, note=note)
    if read is None:
        return None
    if read > _MAX_COUNT:
        note(field, value)
        return None
    return int(read)


def moment(value: object, *, field: str, note: NoteUnknown) -> float | None:
    """Read milliseconds since the epoch as seconds; 0 and null mean "not yet" (trap 14).

    A time before 2015 or after 2100 is None and noted. `times.possible` refuses times years ahead of the clock.
    """
    return _moment(value, per_s=1000, field=field, note=note)


def moment_s(value: object, *, field: str, note: NoteUnknown) -> float | None:
    """Read seconds since the epoch, as the running records of v2 write them (trap 13); 0 and null mean "not yet"."""
    return _moment(value, per_s=1, field=field, note=note)


def _moment(value: object, *, per_s: int, field: str, note: NoteUnknown) -> float | None:
    read = quantity(value, field=field, note=note)
    if not read:
        return None
    if not _MIN_TIME_S <= read / per_s <= _MAX_TIME_S:
        note(field, value)
        return None
    return read / per_s


def duration(value: object, *, field: str, note: NoteUnknown) -> float | None:
    """Read milliseconds as seconds; a duration that is too long for any job is None and noted."""
    read = quantity(value, field=field, note=note)
    if read is None:
        return None
    if read / 1000 > _MAX_DURATION_S:
        note(field, value)
        return None
    return read / 1000


def text(value: object) -> str:
    """Read text, or a whole number as text (ids of v1 are either); empty for other values."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""


def json_object(value: object, *, field: str, note: NoteUnknown) -> Mapping[str, object] | None:
    """Read an object, JSON text of an object, or JSON text of that text (trap 17).

    None for null, empty text and an empty object, which all mean "nothing", and for invalid values (noted).
    """
    read = value
    if isinstance(value, str):
        try:
            inner = unwrap(value, layers=1)  # the text around it is decoded already
            read = decode_json(decoder(Any), inner) if inner else None
        except UNDECODABLE:
            note(field, "undecodable text")
            return None
    if read is None:
        return None
    if not isinstance(read, dict):
        note(field, type(read).__name__)
        return None
    return read or None
