"""The documentation of the settings is complete, current, and its examples work."""

import os
import re
from pathlib import Path

import msgspec
import pytest

from exporter.settings import Settings, load, model
from exporter.settings.docstrings import field_docs
from exporter.settings.schema import json_schema
from exporter.settings.settings_docs import BEGIN, END, configuration_markdown, rows

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
AUTHORITIES = next(
    (path for path in ("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem") if os.path.exists(path)),  # noqa: PTH110 - two names, no Path needed
    "",
)
SECTIONS = [
    found
    for found in vars(model).values()
    if isinstance(found, type) and issubclass(found, model.Section) and found is not model.Section
]
KEYS = [row.key for row in rows()]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_setting_has_a_docstring(section: type[msgspec.Struct]) -> None:
    """Each field has a docstring of whole sentences."""
    for field in section.__struct_fields__:
        description = field_docs()[section.__name__, field]
        assert re.fullmatch(r"[A-Z].{15,}\.", description), f"{section.__name__}.{field}: {description}"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_section_has_a_docstring(section: type[msgspec.Struct]) -> None:
    """Each section has a docstring, which the reference uses for the kinds of credentials."""
    assert section.__doc__ is not None
    assert section.__doc__.rstrip().endswith(".")


def test_the_page_is_current() -> None:
    """Generating the reference again changes nothing; if it does, run `make generate`."""
    page = PAGE.read_text()

    assert configuration_markdown(page) == page, "docs/configuration.md is out of date: run `make generate`"


def test_only_the_text_between_the_markers_is_generated() -> None:
    """The text around the markers stays, including backslashes."""
    written = configuration_markdown(f"before \\1\n{BEGIN}old{END}\nafter")

    assert written.startswith(f"before \\1\n{BEGIN}\n\n### `targets`")
    assert written.endswith(f"|\n\n{END}\nafter")
    assert "old" not in written.split("###", 1)[0]


def test_a_page_without_markers_is_refused() -> None:
    """Text is not appended to a page without markers."""
    with pytest.raises(ValueError, match="the page does not contain the lines"):
        configuration_markdown("# Configuration")


def test_the_reference_holds_every_key_once() -> None:
    """Each key of the model has one row."""
    assert len(KEYS) == len(set(KEYS))
    assert {"targets[].project", "targets[].credentials.type", "targets[].rate_limit.burst", "state.file"} <= set(
        KEYS
    )
    leaves = sum(len(section.__struct_fields__) for section in SECTIONS)
    sections_as_fields = (
        5 + 1 + 3
    )  # targets, collection, metrics, prices, state; accelerator_hour; filters, rate_limit, tls
    assert len(KEYS) == leaves - sections_as_fields


@pytest.mark.parametrize(
    "key, default, kind",
    [
        pytest.param("targets[].project", "required", "text", id="required"),
        pytest.param("targets[].api", '`"auto"`', "`auto` or `both` or `v1` or `v2`", id="choice"),
        pytest.param("targets[].workspaces", '`"all"`', "`all` or list of text", id="union"),
        pytest.param("targets[].credentials.security_token", '`""`', "secret", id="optional-secret"),
        pytest.param("targets[].filters.names", '`".*"`', "regular expression", id="regex"),
        pytest.param("targets[].filters.pools", "`[]`", "list of text", id="list"),
        pytest.param("targets[].rate_limit.requests_per_second", "`5.0`", "number, above 0", id="number"),
        pytest.param("targets[].rate_limit.burst", "`10`", "whole number, from 1", id="whole"),
        pytest.param("targets[].tls.insecure_skip_verify", "`false`", "true or false", id="truth"),
        pytest.param("collection.sweep_interval", '`"6h"`', "duration", id="duration"),
        pytest.param("metrics.idle_threshold", "`0.05`", "number, from 0 to 1", id="range"),
    ],
)
def test_types_and_defaults_are_written_as_in_the_file(key: str, default: str, kind: str) -> None:
    """A reader can copy the default from the table into the file."""
    (row,) = (row for row in rows() if row.key == key)

    assert (row.default, row.type) == (default, kind)


def test_environment_variables_are_documented() -> None:
    """Keys with environment variables name them."""
    by_key = {row.key: row.description for row in rows()}

    assert by_key["targets[].credentials.access_key"].endswith(
        "Not given: `HUAWEICLOUD_SDK_AK` from the environment."
    )
    assert "`OS_USER_DOMAIN_NAME` or `OS_DOMAIN_NAME`" in by_key["targets[].credentials.domain_name"]


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"example-{number}" for number in range(1, len(EXAMPLES) + 1)])
def test_every_example_of_the_page_loads(example: str, tmp_path: Path) -> None:
    """The examples are valid once their secrets exist; their folders are replaced in this test."""
    for name in re.findall(r"/var/run/secrets/modelarts/([\w-]+)", example):
        (tmp_path / name).write_text("invented\n")
    here = example.replace("/var/run/secrets/modelarts", str(tmp_path))
    if AUTHORITIES:
        here = here.replace("/etc/modelarts-exporter/ca.pem", AUTHORITIES)
    environ = dict.fromkeys(re.findall(r"\$\{env:(\w+)\}", example), "invented")
    environ |= {"HUAWEICLOUD_SDK_AK": "EXAMPLEAK", "HUAWEICLOUD_SDK_SK": "invented"}

    assert isinstance(load(here, environ=environ), Settings)


def test_the_page_has_examples_of_both_clouds() -> None:
    """The page has an example for each cloud."""
    assert len(EXAMPLES) >= 6
    assert any("cloud: otc" in example for example in EXAMPLES)
    assert any("cloud: huaweicloud" in example for example in EXAMPLES)


def test_the_sentences_on_the_page_are_the_ones_printed() -> None:
    """The page's example of check-config shows the sentences of the loader."""
    shown = re.findall(r"^targets\[\d\].*$", PAGE.read_text(), re.MULTILINE)

    assert shown == [
        "targets[0].regoin: unknown key; did you mean region?",
        "targets[1].rate_limit.burst: must be at least 1, not 0",
    ]


def test_the_schema_describes_every_key() -> None:
    """The schema has descriptions, defaults and closed objects; keys with environment variables are optional."""
    schema = json_schema()
    target = schema["properties"]["targets"]["items"]

    assert schema["additionalProperties"] is False
    assert schema["required"] == ["targets"]
    assert target["required"] == ["project", "credentials"]
    assert target["properties"]["region"]["description"].startswith("The region's name")
    assert schema["properties"]["collection"]["properties"]["sweep_interval"]["default"] == "6h"
    aksk, password, *_ = target["properties"]["credentials"]["anyOf"]
    assert aksk["required"] == ["type"]
    assert password["properties"]["type"]["const"] == "password"
