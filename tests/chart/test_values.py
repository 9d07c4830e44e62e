"""The generated files of the chart are current, and every value is documented."""

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


def test_generated_files_are_current() -> None:
    """Schema, README table, Chart.yaml and the copies of alerts and dashboards are up to date."""
    stale = [
        path.name
        for path, text in generate.generated()
        if text is None or not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], f"run `make generate`: {stale} are out of date"


def test_comments_are_descriptions() -> None:
    """The comment directly above a key describes it; the keys of an object that is one value need none."""
    (section,) = generate.values(DOCUMENTED, units={"section.unit": {}})
    assert (section.path, section.description) == ("section", "What it is about. On two lines.")
    assert [(value.path, value.default, value.description) for value in section.inner] == [
        ("section.switch", False, "A switch."),
        ("section.unit", {"inner": 1}, "A unit."),
    ]


def test_undocumented_value_is_refused() -> None:
    """The generator fails for a value without a comment, and names its path."""
    with pytest.raises(ValueError, match=r"values\.yaml: write a comment above section\.unit\.inner;"):
        generate.values(DOCUMENTED, units={})


def keys(schema: Json, path: str = "") -> set[str]:
    """Paths of all values in the schema, except those in `config`."""
    found = set()
    for name, inside in schema["properties"].items():
        here = f"{path}{name}"
        if here not in {"config", "global"}:
            inner = inside.get("properties", {}) if inside.get("additionalProperties") is False else {}
            apart = inner and "default" not in inside
            found |= keys(inside, f"{here}.") if apart else {here}
    return found


def test_every_value_is_in_schema_and_readme() -> None:
    """values.yaml, the schema and the README table have the same values."""
    documented = set(re.findall(r"^\| `([^`]+)` \|", (PATH / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert keys(generate.values_schema()) | {"config.targets"} == documented
    for path in documented:
        found: Any = chart.load(PATH / "values.yaml")
        for key in path.split("."):
            found = found[key]


def closed(schema: Any) -> list[str]:
    """Objects of a schema that neither list their keys nor allow any key."""
    if isinstance(schema, list):
        return [path for each in schema for path in closed(each)]
    if not isinstance(schema, dict):
        return []
    loose = "properties" in schema and schema.get("type") == "object" and "additionalProperties" not in schema
    here = [", ".join(schema["properties"])] if loose else []
    return here + [path for each in schema.values() for path in closed(each)]


def test_unknown_keys_are_refused() -> None:
    """Every object of the schema that lists its keys allows no others, except structures of Kubernetes."""
    schema = generate.values_schema()
    ours = {name: inside for name, inside in schema["properties"].items() if not name.startswith("extra")}
    del (
        ours["image"]["properties"]["pullSecrets"],
        ours["resources"],
        ours["prometheusRule"]["properties"]["extraGroups"],
    )
    assert closed(ours) == []


def test_config_has_the_schema_of_the_settings() -> None:
    """`config` has the generated schema of the settings, except that targets may be missing."""
    settings = generate.values_schema()["properties"]["config"]
    own = json_schema()
    assert settings["properties"].keys() == own["properties"].keys()
    assert settings["properties"]["targets"]["items"] == own["properties"]["targets"]["items"]
    assert settings["properties"]["metrics"] == own["properties"]["metrics"]
    assert "required" not in settings
    assert own["required"] == ["targets"]


def test_log_options_match_the_command_line() -> None:
    """Log levels and formats are those of the command line."""
    known = generate.values_schema()["properties"]["log"]["properties"]
    assert known["level"]["enum"] == list(log.LEVELS)
    assert known["format"]["enum"] == list(log.FORMATS)


def test_version_is_that_of_the_exporter() -> None:
    """The generator sets appVersion and image tag in Chart.yaml to the exporter's version, and keeps the rest."""
    before = (
        'version: 9.9.9\nappVersion: "9.9.8"\nannotations:\n  images: |\n    - image: registry.example/name:9.9.8\n'
    )
    after = before.replace("9.9.8", __version__)
    assert generate.chart_yaml(before) == after


def test_readme_needs_its_markers() -> None:
    """A README without the markers of the table is not overwritten."""
    with pytest.raises(ValueError, match="lacks the lines"):
        generate.readme("# Nothing")
