"""The chart's generated files, and that no value goes without a word."""

import re
from typing import Any

import pytest

from exporter import __version__, log
from exporter.settings.schema import json_schema
from helm import generate
from tests.chart import chart
from tests.chart.chart import PATH, Json

DOCUMENTED = """\
# Not the comment of anything.

# What it is about.
# On two lines.
section:
  # A switch.
  switch: false
  # A unit.
  unit:
    inner: 1
"""


def test_generated_files_are_what_their_sources_say() -> None:
    """The schema, the README's table, Chart.yaml and the copies of alerts and dashboards are up to date."""
    stale = [
        path.name
        for path, text in generate.generated()
        if text is None or not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], f"run `make generate`: {stale} are out of date"


def test_comments_are_descriptions() -> None:
    """The comment right above a key describes it; a value that is one unit is not taken apart."""
    (section,) = generate.values(DOCUMENTED, units={"section.unit": {}})
    assert (section.path, section.description) == ("section", "What it is about. On two lines.")
    assert [(value.path, value.default, value.description) for value in section.inner] == [
        ("section.switch", False, "A switch."),
        ("section.unit", {"inner": 1}, "A unit."),
    ]


def test_undocumented_value_is_refused() -> None:
    """A value without a comment fails the generator, by its path."""
    with pytest.raises(ValueError, match=r"values\.yaml: write a comment above section\.unit\.inner;"):
        generate.values(DOCUMENTED, units={})


def keys(schema: Json, path: str = "") -> set[str]:
    """Paths of all values a closed schema knows, `config` aside."""
    found = set()
    for name, inside in schema["properties"].items():
        here = f"{path}{name}"
        if here not in {"config", "global"}:
            inner = inside.get("properties", {}) if inside.get("additionalProperties") is False else {}
            apart = inner and "default" not in inside
            found |= keys(inside, f"{here}.") if apart else {here}
    return found


def test_every_value_is_in_schema_and_readme() -> None:
    """values.yaml, the schema and the README's table know the same values."""
    documented = set(re.findall(r"^\| `([^`]+)` \|", (PATH / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert keys(generate.values_schema()) | {"config.targets"} == documented
    for path in documented:
        found: Any = chart.load(PATH / "values.yaml")
        for key in path.split("."):
            found = found[key]


def closed(schema: Any) -> list[str]:
    """Objects of a schema that say neither what keys they have nor that any will do."""
    if isinstance(schema, list):
        return [path for each in schema for path in closed(each)]
    if not isinstance(schema, dict):
        return []
    loose = "properties" in schema and schema.get("type") == "object" and "additionalProperties" not in schema
    here = [", ".join(schema["properties"])] if loose else []
    return here + [path for each in schema.values() for path in closed(each)]


def test_unknown_keys_are_refused_everywhere_that_is_ours() -> None:
    """Every object of the schema that lists its keys allows no others, but for Kubernetes' own structures."""
    schema = generate.values_schema()
    ours = {name: inside for name, inside in schema["properties"].items() if not name.startswith("extra")}
    del (
        ours["image"]["properties"]["pullSecrets"],
        ours["resources"],
        ours["prometheusRule"]["properties"]["extraGroups"],
    )
    assert closed(ours) == []


def test_settings_are_the_exporters_own() -> None:
    """`config` has the schema that the exporter generates from its settings; only targets may be missing."""
    settings = generate.values_schema()["properties"]["config"]
    own = json_schema()
    assert settings["properties"].keys() == own["properties"].keys()
    assert settings["properties"]["targets"]["items"] == own["properties"]["targets"]["items"]
    assert settings["properties"]["metrics"] == own["properties"]["metrics"]
    assert "required" not in settings
    assert own["required"] == ["targets"]


def test_vocabularies_are_the_exporters_own() -> None:
    """The log's levels and formats are those that the command line knows."""
    known = generate.values_schema()["properties"]["log"]["properties"]
    assert known["level"]["enum"] == list(log.LEVELS)
    assert known["format"]["enum"] == list(log.FORMATS)


def test_version_is_the_exporters() -> None:
    """Chart.yaml gets the exporter's version as its appVersion and as the image's tag, and keeps the rest."""
    before = (
        'version: 9.9.9\nappVersion: "9.9.8"\nannotations:\n  images: |\n    - image: registry.example/name:9.9.8\n'
    )
    after = before.replace("9.9.8", __version__)
    assert generate.chart_yaml(before) == after


def test_readme_needs_its_markers() -> None:
    """A README that lost the place for the table is not overwritten."""
    with pytest.raises(ValueError, match="lacks the lines"):
        generate.readme("# Nothing")
