"""Reading JSON that is wrapped as JSON text, which both generations do (API reference §2, trap 17)."""

from codecs import BOM_UTF8
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.http.json_text import UNDECODABLE, decode_json

Shape = TypeVar("Shape", bound=msgspec.Struct)


@lru_cache(maxsize=64)  # a decoder holds no data, only the compiled shape
def decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a shape."""
    return msgspec.json.Decoder(shape)


_LAYERS = 2  # text in text: the documents disagree about how often


def unwrap(data: bytes | str | msgspec.Raw, *, layers: int = _LAYERS) -> bytes:
    """Remove up to so many layers of JSON text around a JSON value; empty for empty text.

    Raises one of `UNDECODABLE` when a layer is cut off or no valid text.
    """
    text = data.encode("utf-8", "replace") if isinstance(data, str) else bytes(data)
    for _ in range(layers):
        if not text.lstrip().startswith(b'"'):
            break
        text = decode_json(decoder(str), text).encode("utf-8", "replace")
    return text.strip().removeprefix(BOM_UTF8)


def wrapped_object(raw: msgspec.Raw, shape: type[Shape], *, field: str, note: NoteUnknown) -> Shape | None:
    """Decode an object that may be wrapped as JSON text, or be the first item of a list (v1's metric lists).

    None for null, empty text and an empty list, which all mean "nothing"; also for anything else, which is noted.
    """
    try:
        data = unwrap(raw)
        if data.startswith(b"["):
            items = decode_json(decoder(list[msgspec.Raw]), data)
            data = unwrap(items[0]) if items else b""
        if data.startswith(b"{"):
            read: Shape = decode_json(decoder(shape), data, on_repair=lambda kind: note(field, kind))
            return read
        if data and decode_json(decoder(Any), data) is not None:
            note(field, "not an object")
    except UNDECODABLE:
        note(field, "undecodable")
    return None
