"""Reading single values the way the cloud writes them: numbers as text, text as JSON, zeros that mean "not yet".

All are total: what cannot be read is None, and is noted as unknown when it was there and made no sense
(API reference §2, "general decoding rules").
"""

import math
from collections.abc import Mapping

import msgspec

from exporter.cloud.decode.text_in_text import UNDECODABLE, unwrap
from exporter.cloud.http.endpoint import NoteUnknown

_LATEST_S = 4_102_444_800  # the year 2100: beyond it a "time" is something else
_LONGEST_S = 50 * 365 * 86_400  # fifty years: what "now - 0" gives where a start of 0 was subtracted (trap 14)
_LARGEST_COUNT = 2**53  # beyond it a float cannot tell one whole number from the next


def number(value: object, *, field: str, note: NoteUnknown) -> float | None:
    """Read a finite number from an int, a float or their text; None for null, "" and nonsense (noted)."""
    if value is None or value == "":
        return None
    try:
        if type(value) is int or type(value) is float:  # nearly always; a boolean is neither
            read = float(value)
        elif isinstance(value, str):
            read = math.nan if "_" in value else float(value)  # "1_000" is a number to Python only
        else:
            read = math.nan
    except (ValueError, OverflowError):
        read = math.nan
    if math.isfinite(read):
        return read
    note(field, value)
    return None


def quantity(value: object, *, field: str, note: NoteUnknown) -> float | None:
    """Read a number that cannot be negative; a negative one is noted and None."""
    read = number(value, field=field, note=note)
    if read is not None and read < 0:
        note(field, value)
        return None
    return read


def count(value: object, *, field: str, note: NoteUnknown) -> int | None:
    """Read a whole number that cannot be negative; fractions are cut off (API reference §5.2)."""
    read = quantity(value, field=field, note=note)
    if read is None:
        return None
    if read > _LARGEST_COUNT:
        note(field, value)
        return None
    return int(read)


def moment(value: object, *, field: str, note: NoteUnknown) -> float | None:
    """Milliseconds since the epoch to seconds; 0 and null mean "not yet" (trap 14)."""
    return _moment(value, per_s=1000, field=field, note=note)


def moment_s(value: object, *, field: str, note: NoteUnknown) -> float | None:
    """Read seconds since the epoch, as the running records of v2 write them (trap 13); 0 and null mean "not yet"."""
    return _moment(value, per_s=1, field=field, note=note)


def _moment(value: object, *, per_s: int, field: str, note: NoteUnknown) -> float | None:
    read = quantity(value, field=field, note=note)
    if not read:
        return None
    if read / per_s > _LATEST_S:
        note(field, value)
        return None
    return read / per_s


def duration(value: object, *, field: str, note: NoteUnknown) -> float | None:
    """Milliseconds to seconds; what no job can have lasted is noted and None."""
    read = quantity(value, field=field, note=note)
    if read is None:
        return None
    if read / 1000 > _LONGEST_S:
        note(field, value)
        return None
    return read / 1000


def text(value: object) -> str:
    """Text, or a number as text (v1 ids come as both); anything else is empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""


def json_object(value: object, *, field: str, note: NoteUnknown) -> Mapping[str, object] | None:
    """Read an object that may come as itself, as JSON text, or as JSON text of JSON text (trap 17).

    None for null, empty text and an empty object, which all mean "nothing"; for nonsense too, which is noted.
    """
    read = value
    if isinstance(value, str):
        try:
            inner = unwrap(value, layers=1)  # the text around it is decoded already
            read = msgspec.json.decode(inner) if inner else None
        except UNDECODABLE:
            note(field, "undecodable text")
            return None
    if read is None:
        return None
    if not isinstance(read, dict):
        note(field, type(read).__name__)
        return None
    return read or None
