"""The file in which state survives a restart: one versioned JSON document, replaced whole and atomically."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from exporter.polling.poller import ProjectState

VERSION = 3
"""Of the format; a file with another one is not read."""

_CHUNK = 250
"""Items of a list encoded in one go: the encoder holds the interpreter lock, and the event loop would wait for it."""


class StateDocument(msgspec.Struct, kw_only=True):
    """The whole document."""

    version: int = VERSION
    projects: Mapping[str, ProjectState] = msgspec.field(default_factory=dict)
    """By the value of the label `project`."""


class _Head(msgspec.Struct):
    version: int


class StateFile:
    """One state file. All methods block: call them in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[Mapping[str, ProjectState], str]:
        """Read the projects' states, and a sentence that warns, empty when all is well.

        A missing file is a first start. A file that is truncated, invalid or of another format is renamed, never
        overwritten, and there is no state. Raises OSError when the file can neither be read nor renamed: to continue
        would overwrite it.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}, ""
        try:
            version = msgspec.json.decode(content, type=_Head).version
            if version == VERSION:
                return msgspec.json.decode(content, type=StateDocument).projects, ""
            reason = f"it has format {version}, this exporter reads format {VERSION}"
        except (msgspec.DecodeError, RecursionError) as error:
            reason = str(error)
        aside = self._path.with_name(f"{self._path.name}.set-aside-{time.time_ns()}")
        self._path.rename(aside)
        return (
            {},
            f"{self._path} cannot be used ({reason}); it was set aside as {aside.name}, and totals start at zero",
        )

    def save(self, projects: Mapping[str, ProjectState]) -> None:
        """Replace the file: at any moment a reader finds the old document or the new one. Raises OSError."""
        draft = self._path.with_name(f".{self._path.name}.draft")
        with open(draft, "wb", opener=_private) as file:
            file.writelines(_encoded(StateDocument(projects=projects)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name has to survive a power cut too
        finally:
            os.close(folder)


def _encoded(value: object) -> Iterator[bytes]:
    """Encode in pieces: structs and mappings by field, lists by chunk, anything else whole."""
    if isinstance(value, msgspec.Struct):
        yield from _object((name, getattr(value, name)) for name in value.__struct_fields__)
    elif isinstance(value, Mapping):
        yield from _object(value.items())
    elif isinstance(value, list):
        yield from _array(value)
    else:
        yield msgspec.json.encode(value)


def _object(fields: Iterable[tuple[str, object]]) -> Iterator[bytes]:
    before = b"{"
    for name, value in fields:
        yield before + msgspec.json.encode(name) + b":"
        yield from _encoded(value)
        before = b","
    yield b"{}" if before == b"{" else b"}"


def _array(items: list[object]) -> Iterator[bytes]:
    before = b"["
    for start in range(0, len(items), _CHUNK):
        yield before + msgspec.json.encode(items[start : start + _CHUNK])[1:-1]
        before = b","
    yield b"[]" if before == b"[" else b"]"


def _private(path: str, flags: int) -> int:
    """Open for the owner alone: the names of jobs and users are not for other users of the machine."""
    return os.open(path, flags, 0o600)
