"""Loads `Settings` from a file or from text."""

from collections.abc import Mapping
from pathlib import Path

from exporter.settings import rules, yaml_nodes
from exporter.settings.decode import Decoder
from exporter.settings.model import Settings
from exporter.settings.problems import Problems, SettingsError


def load(source: str | Path, *, environ: Mapping[str, str]) -> Settings:
    """Load the settings from a file (a Path) or from YAML text (a str). `environ` is what `${env:NAME}` may see.

    Every secret and file that is named is read once, so that unusable settings are rejected before the start.
    Raises SettingsError with all problems found, in the order of the model; rules over several keys come last.
    """
    problems = Problems()
    node = yaml_nodes.parse(_text(source), problems)
    problems.raise_if_any()
    assert node is not None  # noqa: S101 - for mypy; `parse` adds a problem for None
    decoder = Decoder(environ=environ, problems=problems)
    settings = decoder.section(node, Settings)
    if settings is not None:
        settings = rules.apply(settings, environ=environ, problems=problems)
    problems.raise_if_any()
    assert settings is not None  # noqa: S101 - for mypy; a root that is no mapping is a problem
    return settings


def _text(source: str | Path) -> str | bytes:
    if isinstance(source, str):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise SettingsError((f"{source}: cannot be read: {error.strerror}",)) from None
