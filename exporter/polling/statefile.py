"""The file in which memory survives a restart: one versioned JSON document, replaced whole and atomically."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from exporter.polling.memory import EntryMemory, LedgerMemory, ProjectMemory

VERSION = 2
"""Of the format; a file with a higher one was written by a newer exporter. 1 had no accounts, and is read all the
same; it is not written, because an exporter of that age would drop them without a word."""

_PIECE = 250
"""Tracked jobs encoded in one go. The encoder never gives way to other threads, and the event loop is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDocument:
    """The whole document."""

    version: int = VERSION
    projects: Mapping[str, ProjectMemory] = field(default_factory=dict)
    """By the value of the label `project`."""


class _Head(msgspec.Struct):
    version: int


class StateFile:
    """One state file. All methods block, and belong into a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[Mapping[str, ProjectMemory], str]:
        """Read the projects' memories, and a sentence that warns, empty when all is well.

        A missing file is a first start. One that cannot be understood (unreadable, truncated, newer) is set aside
        under another name and never overwritten; then there is no memory. Raises OSError when it can be neither read
        nor set aside: to go on would be to overwrite it.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}, ""
        try:
            version = msgspec.json.decode(content, type=_Head).version
            if version > VERSION:
                wrong = f"it has format {version}, this exporter knows up to {VERSION}"
            else:
                return msgspec.json.decode(content, type=StateDocument).projects, ""
        except (msgspec.DecodeError, RecursionError) as error:
            wrong = str(error)
        aside = self._path.with_name(f"{self._path.name}.set-aside-{time.time_ns()}")
        self._path.rename(aside)
        return (
            {},
            f"{self._path} cannot be used ({wrong}); it was set aside as {aside.name}, and totals start at zero",
        )

    def save(self, projects: Mapping[str, ProjectMemory]) -> None:
        """Replace the file: a reader finds the old document or the new one, at any moment. Raises OSError."""
        draft = self._path.with_name(f".{self._path.name}.draft")
        with open(draft, "wb", opener=_private) as file:
            file.writelines(_pieces(projects))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too, must survive a power cut
        finally:
            os.close(folder)


def _pieces(projects: Mapping[str, ProjectMemory]) -> Iterator[bytes]:
    """Write a `State`, a little at a time."""
    told = _object((name, _project(memory)) for name, memory in projects.items())
    return _object([("version", [b"%d" % VERSION]), ("projects", told)])


def _project(memory: ProjectMemory) -> Iterator[bytes]:
    ledgers = _object((api, _ledger(ledger)) for api, ledger in memory.ledgers.items())
    return _object([("origin", _whole(memory.origin)), ("counts", _whole(memory.counts)), ("ledgers", ledgers)])


def _ledger(memory: LedgerMemory) -> Iterator[bytes]:
    return _object(
        [
            ("seeded", _whole(memory.seeded)),
            ("swept", _whole(memory.swept)),
            ("watermark", _whole(memory.watermark)),
            ("seen", _whole(memory.seen)),
            ("lost", _whole(memory.lost)),
            ("looks", _whole(memory.looks)),
            ("incomplete", _whole(memory.incomplete)),
            ("entries", _array(memory.entries)),
        ]
    )


def _object(fields: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[bytes]:
    before = b"{"
    for name, pieces in fields:
        yield before + msgspec.json.encode(name) + b":"
        yield from pieces
        before = b","
    yield b"{}" if before == b"{" else b"}"


def _array(entries: Sequence[EntryMemory]) -> Iterator[bytes]:
    before = b"["
    for start in range(0, len(entries), _PIECE):
        yield before + msgspec.json.encode(entries[start : start + _PIECE])[1:-1]
        before = b","
    yield b"[]" if before == b"[" else b"]"


def _whole(value: object) -> Iterator[bytes]:
    yield msgspec.json.encode(value)


def _private(path: str, flags: int) -> int:
    """Open for the owner alone: names of jobs and users are nobody else's business."""
    return os.open(path, flags, 0o600)
