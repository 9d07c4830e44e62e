"""A secret: text that is masked when printed, and read from its file each time it is used."""

import stat
from dataclasses import dataclass
from pathlib import Path

_MASK = "****"
_MAX_BYTES = 65_536  # a token has a few kB; a larger file is a wrong path, possibly endless


class SecretUnreadable(Exception):
    """The file of a secret cannot be read or is invalid. The text names the key and the path, never the content.

    Not an OSError: callers that send requests treat an OSError as a network error, and this is a credential error.
    """


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A part of a secret that is read from a file."""

    path: Path

    def read(self) -> str:
        """Read the file without its trailing newline: at most 64 KiB, one line.

        Nothing is cached, so that no change is missed, independent of file times and inodes.
        Raises ValueError whose text names the problem without the content.
        """
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):  # reading a pipe would block
                raise ValueError("is not a regular file")
            with self.path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise ValueError(error.strerror or type(error).__name__) from None
        if len(content) > _MAX_BYTES:
            raise ValueError("is larger than 64 KiB")
        try:
            text = content.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8 text") from None
        if not text:
            raise ValueError("is empty")
        if not text.isprintable():
            raise ValueError("contains control characters or more than one line")
        return text


class Secret:
    """Text that no log, traceback, repr or f-string shows. Compared by definition, not by the content of files."""

    __slots__ = ("_key", "_parts")

    def __init__(self, *parts: str | SecretFile, key: str = "") -> None:
        self._parts = parts
        self._key = key

    def reveal(self) -> str:
        """Return the current value. Raises SecretUnreadable; never without files."""
        return "".join(part if isinstance(part, str) else self._read(part) for part in self._parts)

    def _read(self, part: SecretFile) -> str:
        try:
            return part.read()
        except ValueError as error:
            raise SecretUnreadable(f"{self._key}: {part.path}: {error}") from None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files it is read from; empty if it cannot change."""
        return tuple(part.path for part in self._parts if isinstance(part, SecretFile))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._parts == self._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return format(_MASK, spec)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret must not be pickled or copied")
