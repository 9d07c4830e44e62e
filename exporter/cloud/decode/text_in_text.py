"""Unwraps the metric lists of v1, which are an object, JSON text of an object, or wrapped further (trap 17)."""

from typing import TypeVar

import msgspec

from exporter.cloud.http.endpoint import NoteUnknown

Content = TypeVar("Content", bound=msgspec.Struct)

_MAX_WRAPPINGS = 3  # text in text, and a list around it: the documents differ


def opened(raw: msgspec.Raw, kind: type[Content], *, field: str, note: NoteUnknown) -> Content | None:
    """Decode an object that may be wrapped as JSON text, up to twice, or be the only element of a list.

    None for null, empty text and an empty list, which all mean "nothing", and for invalid values (noted).
    """
    data: bytes | str = bytes(raw)
    try:
        for _ in range(_MAX_WRAPPINGS + 1):
            start = data[:1] if isinstance(data, str) else data[:1].decode(errors="replace")
            match start:
                case "{":
                    return msgspec.json.decode(data, type=kind)
                case '"':
                    data = msgspec.json.decode(data, type=str).strip()
                case "[":
                    items = msgspec.json.decode(data, type=list[msgspec.Raw])
                    data = bytes(items[0]) if items else b""
                case "":
                    return None
                case _:
                    if msgspec.json.decode(data) is not None:
                        note(field, "not an object")
                    return None
    except (ValueError, RecursionError):  # errors of msgspec and of UTF-8 are ValueErrors
        note(field, "undecodable")
        return None
    note(field, "wrapped too deeply")
    return None
