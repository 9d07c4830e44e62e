"""`${env:NAME}` and `${file:/path}`, which may appear in any text of the settings, also as a part of it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from exporter.settings.secret import SecretFile

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(env|file):([^}]*)\})?")


class InterpolationError(Exception):
    """A reference cannot be resolved. The text does not show the content of variables and files."""


def resolve(text: str, *, environ: Mapping[str, str]) -> tuple[str | SecretFile, ...]:
    """Split text into literal parts, with variables resolved, and files to read later; `$${` is a literal `${`.

    Raises BadReference. References inside the value of a variable are not resolved.
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
            raise InterpolationError(
                "contains ${ that is neither ${env:NAME} nor ${file:/path}; write $${ for a literal ${"
            )
        elif kind == "file":
            if not name.startswith("/") or not name.isprintable():
                raise InterpolationError("the path in ${file:...} must be absolute")
            yield SecretFile(Path(name))
        elif name in environ:
            yield environ[name]
        else:
            raise InterpolationError(
                f"the environment variable {name if name.isprintable() else repr(name)} is not set"
            )
    yield text[end:]
