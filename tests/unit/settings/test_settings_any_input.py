"""For any file, loading gives settings or sentences."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.settings import SettingsError, load
from exporter.settings.schema import json_schema

FULL = yaml.safe_load((Path(__file__).parents[2] / "fixtures" / "settings" / "full.yaml").read_text())
SCHEMA = json_schema()
ENVIRON = {"AK": "EXAMPLEAK", "TOKEN": "invented-token"}
TEXTS = st.text(max_size=12) | st.sampled_from(
    [
        "",
        "all",
        "auto",
        "otc",
        "1h",
        "5s",
        "${env:AK}",
        "${env:X",
        "${file:/nowhere}",
        "https://h",
        "(",
        "no",
        "\u202e",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("type"), inner, max_size=3),
    max_leaves=5,
)
KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def outcome(source: str) -> tuple[str, ...]:
    """The problems; none if it loads. Any other exception fails the test."""
    sentences: tuple[str, ...] = ()
    try:
        load(source, environ=ENVIRON)
    except SettingsError as error:
        sentences = error.problems or ("no problem was given",)
    assert all(re.match(r"\S.*\S\Z", sentence) for sentence in sentences)
    assert "no problem was given" not in sentences
    return sentences


def places(node: object, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of every value below a value."""
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [at, *(place for key, value in below for place in places(value, (*at, key)))]


@st.composite
def changed_files(draw: st.DrawFn) -> Any:
    """A valid file in which one value was replaced or removed, or a key added."""
    file = copy.deepcopy(FULL)
    *path, last = draw(st.sampled_from(places(file)[1:]))
    holder = file
    for key in path:
        holder = holder[key]
    match draw(st.sampled_from(["replace", "remove", "beside"])):
        case "replace":
            holder[last] = draw(VALUES)
        case "remove":
            del holder[last]
        case _:
            unknown_value = draw(VALUES)
            holder.append(unknown_value) if isinstance(holder, list) else holder.update({draw(TEXTS): unknown_value})
    return file


def of_kind(value: object, kind: str) -> bool:
    """Whether a value has a JSON type; booleans are not numbers."""
    return isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


WORDS: dict[str, Callable[[Any, Any], bool]] = {
    "type": of_kind,
    "const": lambda value, demand: value == demand,
    "enum": lambda value, demand: value in demand,
    "pattern": lambda value, demand: isinstance(value, str) and re.search(demand, value) is not None,
    "minimum": lambda value, demand: not of_kind(value, "number") or value >= demand,
    "maximum": lambda value, demand: not of_kind(value, "number") or value <= demand,
    "exclusiveMinimum": lambda value, demand: not of_kind(value, "number") or value > demand,
    "minItems": lambda value, demand: not isinstance(value, list) or len(value) >= demand,
    "items": lambda value, demand: not isinstance(value, list) or all(fits(item, demand) for item in value),
    "anyOf": lambda value, demand: any(fits(value, option) for option in demand),
    "required": lambda value, demand: not isinstance(value, dict) or set(demand) <= set(value),
    "properties": lambda value, demand: (  # and additionalProperties: false, which all our objects have
        not isinstance(value, dict) or all(key in demand and fits(item, demand[key]) for key, item in value.items())
    ),
}
NOTES = {"$schema", "description", "default", "additionalProperties"}


def fits(value: object, schema: dict[str, Any]) -> bool:
    """Whether a value is valid by a JSON Schema. Supports the keywords of our schema; another one is a KeyError."""
    return all(WORDS[word](value, demand) for word, demand in schema.items() if word not in NOTES)


@given(st.text())
def test_any_text_gives_settings_or_sentences(text: str) -> None:
    """No text, however malformed, raises anything else."""
    outcome(text)


@given(st.text(alphabet="[]{}:,-?*&!|>'\"%@`#<~ \n\tabc01.\\"))
def test_any_text_of_yaml_signs_gives_settings_or_sentences(text: str) -> None:
    """The same for text dense with YAML's special characters."""
    outcome(text)


@given(st.binary())
def test_any_bytes_give_settings_or_sentences(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """The same for a file of any bytes."""
    file = tmp_path_factory.mktemp("any") / "config.yaml"
    file.write_bytes(content)

    with pytest.raises(SettingsError):
        load(file, environ={})


@given(VALUES)
def test_any_document_gives_settings_or_sentences(document: object) -> None:
    """The same for valid YAML of any structure."""
    outcome(yaml.safe_dump(document))


@given(changed_files())
def test_a_good_file_with_one_change_gives_settings_or_sentences(file: object) -> None:
    """One change deep inside a good file is read, or gives sentences; the schema refuses nothing that is read.

    Sections written and left empty (null) are the documented exception.
    """
    sentences = outcome(yaml.safe_dump(file))

    if not sentences and "null" not in yaml.safe_dump(file):
        assert fits(file, SCHEMA)


def test_the_schema_accepts_the_full_file() -> None:
    """The fixture with every key is valid."""
    assert fits(FULL, SCHEMA)


@pytest.mark.parametrize(
    "path, value",
    [
        pytest.param(("extra",), 1, id="unknown-key"),
        pytest.param(("targets",), [], id="no-targets"),
        pytest.param(("targets", 0, "regoin"), "eu-de", id="unknown-key-below"),
        pytest.param(("targets", 0, "api"), "v3", id="choice"),
        pytest.param(("targets", 0, "project_id"), "abc", id="pattern"),
        pytest.param(("targets", 0, "project_id"), 12345678901234567890123456789012, id="number"),
        pytest.param(("targets", 0, "workspaces"), "some", id="neither-all-nor-list"),
        pytest.param(("targets", 0, "credentials", "type"), "token", id="credentials"),
        pytest.param(("targets", 0, "credentials", "username"), "u", id="key-of-another-type"),
        pytest.param(("targets", 0, "rate_limit", "burst"), 0, id="minimum"),
        pytest.param(("targets", 0, "rate_limit", "requests_per_second"), 0, id="exclusive-minimum"),
        pytest.param(("collection", "jobs_interval"), 30, id="duration-without-unit"),
        pytest.param(("collection", "jobs_interval"), "30 s", id="duration-with-space"),
        pytest.param(("metrics", "idle_threshold"), 1.5, id="maximum"),
        pytest.param(("metrics", "per_task"), "yes", id="truth"),
        pytest.param(("metrics", "job_labels"), ["usr"], id="label"),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(path: tuple[Any, ...], value: object) -> None:
    """Typical problems are found by the schema, before anything is installed."""
    file = copy.deepcopy(FULL)
    holder = file
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value

    assert not fits(file, SCHEMA)
    assert outcome(yaml.safe_dump(file)) != ()
