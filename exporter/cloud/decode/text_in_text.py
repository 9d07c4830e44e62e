"""Opening the metric lists, which v1 sends as an object, as text that holds one, or wrapped further (trap 17)."""

from typing import TypeVar

import msgspec

from exporter.cloud.http.endpoint import NoteUnknown

Content = TypeVar("Content", bound=msgspec.Struct)

_WRAPPINGS = 3  # text in text, and a list around it: the documents disagree about which it is


def opened(raw: msgspec.Raw, kind: type[Content], *, field: str, note: NoteUnknown) -> Content | None:
    """Decode an object that may be wrapped as JSON text, up to twice, or stand alone in a list.

    None for null, empty text and an empty list, which all mean "nothing"; for nonsense too, which is noted.
    """
    data: bytes | str = bytes(raw)
    try:
        for _ in range(_WRAPPINGS + 1):
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
    except (ValueError, RecursionError):  # msgspec's own errors are ValueErrors, and so is undecodable UTF-8
        note(field, "undecodable")
        return None
    note(field, "wrapped too deeply")
    return None
