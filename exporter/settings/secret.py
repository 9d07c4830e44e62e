"""A secret: text that prints as stars, and that is read anew from its file whenever it is used."""

import stat
from dataclasses import dataclass
from pathlib import Path

_STARS = "****"
_LARGEST_BYTES = 65_536  # a token is a few kB; more is some other file, perhaps an endless one


class SecretUnreadable(Exception):
    """A secret's file gives no secret now. The text names the key and the path, never the content.

    Not an OSError: whoever sends requests takes those for a network that fails, and this is a credential that fails.
    """


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A part of a secret that stands in a file."""

    path: Path

    def read(self) -> str:
        """Text of the file without the newline at its end, at most 64 KiB, on one line.

        Nothing is cached, so no change can be missed, whatever the file system says of times and inodes.
        Raises ValueError whose text tells what is wrong and holds no content.
        """
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):  # reading a pipe would block
                raise ValueError("is not a regular file")
            with self.path.open("rb") as file:
                content = file.read(_LARGEST_BYTES + 1)
        except OSError as error:
            raise ValueError(error.strerror or type(error).__name__) from None
        if len(content) > _LARGEST_BYTES:
            raise ValueError("is larger than 64 KiB")
        try:
            text = content.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8 text") from None
        if not text:
            raise ValueError("is empty")
        if not text.isprintable():
            raise ValueError("holds control characters or more than one line")
        return text


class Secret:
    """Text that no log, traceback, repr or f-string shows. Equal when written alike, whatever the files hold now."""

    __slots__ = ("_key", "_parts")

    def __init__(self, *parts: str | SecretFile, key: str = "") -> None:
        self._parts = parts
        self._key = key

    def reveal(self) -> str:
        """Give the secret as it is now. Raises SecretUnreadable; without files it never does."""
        return "".join(part if isinstance(part, str) else self._read(part) for part in self._parts)

    def _read(self, part: SecretFile) -> str:
        try:
            return part.read()
        except ValueError as error:
            raise SecretUnreadable(f"{self._key}: {part.path}: {error}") from None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files it is read from; empty when it cannot change."""
        return tuple(part.path for part in self._parts if isinstance(part, SecretFile))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._parts == self._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __repr__(self) -> str:
        return f"Secret({_STARS})"

    def __str__(self) -> str:
        return _STARS

    def __format__(self, spec: str) -> str:
        return format(_STARS, spec)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not to be pickled or copied")
