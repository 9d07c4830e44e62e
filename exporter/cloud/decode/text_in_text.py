"""Reading JSON that is wrapped as JSON text, which both generations do (API reference §2, trap 17)."""

from typing import TypeVar

import msgspec

from exporter.cloud.http.endpoint import NoteUnknown

Shape = TypeVar("Shape", bound=msgspec.Struct)

UNDECODABLE = (ValueError, RecursionError)
"""What decoding raises: msgspec's errors and undecodable UTF-8 are ValueErrors, endless nesting a RecursionError."""

_LAYERS = 2  # text in text: the documents disagree about how often


def unwrap(data: bytes | str | msgspec.Raw, *, layers: int = _LAYERS) -> bytes:
    """Remove up to so many layers of JSON text around a JSON value; empty for empty text.

    Raises one of `UNDECODABLE` when a layer is cut off or no valid text.
    """
    data = data.encode() if isinstance(data, str) else bytes(data)
    for _ in range(layers):
        if not data.lstrip().startswith(b'"'):
            break
        data = msgspec.json.decode(data, type=str).encode()
    return data.strip()


def wrapped_object(raw: msgspec.Raw, shape: type[Shape], *, field: str, note: NoteUnknown) -> Shape | None:
    """Decode an object that may be wrapped as JSON text, or be the first item of a list (v1's metric lists).

    None for null, empty text and an empty list, which all mean "nothing"; also for anything else, which is noted.
    """
    try:
        data = unwrap(raw)
        if data.startswith(b"["):
            items = msgspec.json.decode(data, type=list[msgspec.Raw])
            data = unwrap(items[0]) if items else b""
        if data.startswith(b"{"):
            return msgspec.json.decode(data, type=shape)
        if data and msgspec.json.decode(data) is not None:
            note(field, "not an object")
    except UNDECODABLE:
        note(field, "undecodable")
    return None
