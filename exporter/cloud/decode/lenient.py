"""Decodes an object of which any part may be invalid: an invalid part is noted and left out, the rest is kept.

A valid object is decoded in one step at full speed; only an invalid one is decoded part by part.
"""

from contextlib import suppress
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin

import msgspec

from exporter.cloud.decode.text_in_text import decoder, unwrap
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.http.json_text import UNDECODABLE, decode_json

Shape = TypeVar("Shape", bound=msgspec.Struct)


def decode(raw: bytes | msgspec.Raw, shape: type[Shape], *, field: str, note: NoteUnknown) -> Shape | None:
    """Decode an object, noting each invalid part under its wire path; None (noted) when it is not an object.

    JSON text of an object is unwrapped; a list keeps its valid elements.
    """
    read = _decode_part(raw, shape, field=field, note=note)
    return read if isinstance(read, shape) else None


def _decode_part(raw: bytes | msgspec.Raw, shape: Any, *, field: str, note: NoteUnknown) -> object:
    """Decode one value of the given shape; None (noted) when it is invalid."""
    try:
        return cast("object", decoder(shape).decode(raw))
    except msgspec.ValidationError:
        pass  # one part is wrong, which is found below
    except UNDECODABLE:
        with suppress(*UNDECODABLE):
            return cast("object", decode_json(decoder(shape), raw, on_repair=lambda kind: note(field, kind)))
    plain = _plain(shape)
    if get_origin(plain) is list:
        return _list(raw, get_args(plain)[0], field=field, note=note)
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        return _struct(raw, plain, field=field, note=note)
    note(field, "undecodable")
    return None


def _plain(shape: Any) -> Any:
    """Strip `| None` from a shape."""
    if isinstance(shape, UnionType):
        return next(option for option in get_args(shape) if option is not type(None))
    return shape


def _struct(raw: bytes | msgspec.Raw, shape: type[Shape], *, field: str, note: NoteUnknown) -> Shape | None:
    parts = _container(raw, dict[str, msgspec.Raw])
    if not isinstance(parts, dict):
        note(field, "not an object")
        return None
    values = {
        known.name: _decode_part(
            parts[known.encode_name], known.type, field=f"{field}.{known.encode_name}", note=note
        )
        for known in msgspec.structs.fields(shape)
        if known.encode_name in parts
    }
    return shape(**values)


def _list(raw: bytes | msgspec.Raw, shape: Any, *, field: str, note: NoteUnknown) -> list[object] | None:
    elements = _container(raw, list[msgspec.Raw])
    if not isinstance(elements, list):
        note(field, "not a list")
        return None
    read = [_decode_part(element, shape, field=field, note=note) for element in elements]
    if shape is Any:
        return read  # scalars keep their positions: in a series a position is a minute
    return [element for element in read if element is not None]


def _container(raw: bytes | msgspec.Raw, shape: Any) -> object:
    """Split a container, which may be wrapped as JSON text, into its raw parts; None when it is something else."""
    try:
        return cast("object", decode_json(decoder(shape), unwrap(raw)))
    except UNDECODABLE:
        return None
