"""The vendor's own response models, read as a contract: which JSON path holds which type.

`huaweicloudsdkmodelarts` is generated from the vendor's API definition. Each of its models maps attribute names
to types (`openapi_types`) and to JSON keys (`attribute_map`). It has no v1 training call; `documented_v1` has those.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import huaweicloudsdkmodelarts.v1.model as vendor
from hypothesis import strategies as st

SCALARS = {"int", "float", "str", "bool", "date", "datetime"}
DOT = "\u2024"
"""Stands for a dot inside a key ("os.modelarts/name") where keys are joined by dots."""

_LIST = re.compile(r"list\[(.+)\]")
_DEPTH = 10


@dataclass(frozen=True)
class Model:
    """A JSON object with the fields that its documentation names."""

    fields: Mapping[str, "Type"]


@dataclass(frozen=True)
class ListOf:
    """A JSON array."""

    item: "Type"


@dataclass(frozen=True)
class Scalar:
    """A JSON number, string or boolean: "int", "float", "str" or "bool"."""

    name: str


@dataclass(frozen=True)
class Open:
    """An object of which the model names no fields: a map, or `object`."""


Type = Model | ListOf | Scalar | Open


def model(name: str) -> Model:
    """Return a model of the SDK by its class name, with every model below it."""
    read = _read(name, _DEPTH)
    assert isinstance(read, Model), f"{name} is no model of the SDK"
    return read


def _read(name: str, depth: int) -> Type:
    if nested := _LIST.fullmatch(name):
        return ListOf(_read(nested.group(1), depth))
    if name in SCALARS:
        return Scalar(name)
    found = getattr(vendor, name, None)
    if found is None or not depth:
        return Open()
    return Model(
        {
            found.attribute_map[key].replace(".", DOT): _read(kind, depth - 1)
            for key, kind in found.openapi_types.items()
        }
    )


def at(shape: Type, path: str) -> Type | None:
    """Return what stands at a path such as "status.tasks[]"; None where the contract has no such field."""
    for key, item in re.findall(r"([^.\[\]]+)|(\[\])", path):
        if isinstance(shape, Open):
            return shape
        if item:
            if not isinstance(shape, ListOf):
                return None
            shape = shape.item
        elif isinstance(shape, Model) and key in shape.fields:
            shape = shape.fields[key]
        else:
            return None
    return shape


def values(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Walk a decoded JSON document: each path with its value, containers included. See `DOT`."""
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from values(inner, f"{path}.{key.replace('.', DOT)}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from values(inner, f"{path}[]")


def documents(shape: Type, *, depth: int = 6) -> st.SearchStrategy[Any]:
    """Draw JSON that follows the contract as loosely as the API does.

    Any field is present, absent or null; a scalar has the documented type, or is its text (API reference §2).
    """
    if isinstance(shape, Scalar):
        return _scalar(shape.name)
    if isinstance(shape, Open) or not depth:
        return st.none() | st.dictionaries(st.text(max_size=3), st.integers(0, 9) | st.text(max_size=3), max_size=2)
    if isinstance(shape, ListOf):
        return st.none() | st.lists(documents(shape.item, depth=depth - 1), max_size=2)
    fields = {key.replace(DOT, "."): documents(inner, depth=depth - 1) for key, inner in shape.fields.items()}
    return st.none() | st.fixed_dictionaries({}, optional=fields)


def present(shape: Model, **required: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw an object that is there, with these fields as given and any of the others."""
    fields = {key.replace(DOT, "."): documents(inner) for key, inner in shape.fields.items() if key not in required}
    return st.fixed_dictionaries(required, optional=fields)


def _scalar(name: str) -> st.SearchStrategy[Any]:
    whole = st.integers(-2, 10) | st.integers(1_500_000_000_000, 1_900_000_000_000)
    if name == "int":
        return st.none() | whole | whole.map(str)
    if name == "float":
        real = st.floats(-2, 100, allow_nan=False)
        return st.none() | real | whole | real.map(str)
    if name == "bool":
        return st.none() | st.booleans() | st.sampled_from(["true", "false", "True", "False"])
    return st.none() | st.text(max_size=6) | whole
