"""The file, or its text, to `Settings`."""

from collections.abc import Mapping
from pathlib import Path

from exporter.settings import rules, yaml_nodes
from exporter.settings.decode import Decoder
from exporter.settings.model import Settings
from exporter.settings.problems import Faults, SettingsError


def load(source: str | Path, *, environ: Mapping[str, str]) -> Settings:
    """Read the settings from a file (a Path) or from YAML text (a str); `environ` is what `${env:NAME}` may see.

    Every secret and file that is named is read once, so that what cannot work is refused before anything starts.
    Raises SettingsError with all the mistakes that could be found at once, in the order of the model, rules over
    several keys last.
    """
    faults = Faults()
    node = yaml_nodes.parse(_text(source), faults)
    faults.settle()
    assert node is not None  # noqa: S101 - says to mypy that `parse` noted a mistake otherwise
    decoder = Decoder(environ=environ, faults=faults)
    settings = decoder.section(node, Settings)
    if settings is not None:
        settings = rules.apply(settings, environ=environ, faults=faults)
    faults.settle()
    assert settings is not None  # noqa: S101 - says to mypy that a root without entries was noted
    return settings


def _text(source: str | Path) -> str | bytes:
    if isinstance(source, str):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise SettingsError((f"{source}: cannot be read: {error.strerror}",)) from None
