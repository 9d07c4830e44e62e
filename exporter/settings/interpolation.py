"""`${env:NAME}` and `${file:/path}`, which may stand for any text of the settings, whole or inside."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from exporter.settings.secret import SecretFile

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(env|file):([^}]*)\})?")


class BadReference(Exception):
    """A reference cannot be followed. The text is a sentence without any content."""


def resolve(text: str, *, environ: Mapping[str, str]) -> tuple[str | SecretFile, ...]:
    """Split text into what is known now (environment included) and the files to read later; `$${` is a plain `${`.

    Raises BadReference. What a variable holds is taken as it is: references in it are not followed.
    """
    return tuple(part for part in _parts(text, environ) if part != "")


def _parts(text: str, environ: Mapping[str, str]) -> Iterator[str | SecretFile]:
    end = 0
    for found in _REFERENCE.finditer(text):
        yield text[end : found.start()]
        end = found.end()
        kind, name = found.groups()
        if found[0] == "$${":
            yield "${"
        elif kind is None or not name:
            raise BadReference("holds ${ that begins neither ${env:NAME} nor ${file:/path}; write $${ for a plain ${")
        elif kind == "file":
            if not name.startswith("/") or not name.isprintable():
                raise BadReference("the path in ${file:...} must be absolute")
            yield SecretFile(Path(name))
        elif name in environ:
            yield environ[name]
        else:
            raise BadReference(f"the environment variable {name if name.isprintable() else repr(name)} is not set")
    yield text[end:]
