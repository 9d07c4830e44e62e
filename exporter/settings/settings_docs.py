"""Generates the settings reference from the model and its docstrings."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import inspect as mi

from exporter.settings.docstrings import as_yaml, class_doc, field_docs
from exporter.settings.duration import Duration
from exporter.settings.model import Settings
from exporter.settings.regex import Regex
from exporter.settings.secret import Secret

BEGIN = "<!-- settings: begin. Generated from exporter/settings/model.py by `make generate`; do not edit. -->"
END = "<!-- settings: end -->"

_BETWEEN = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the reference."""

    key: str
    """Path of the key; `[]` means each entry of a list."""
    type: str
    default: str
    """As written in the file; "required" without a default."""
    description: str


def configuration_markdown(existing: str) -> str:
    """Return the page with the text between the markers regenerated. Raises ValueError without the markers."""
    if not _BETWEEN.search(existing):
        raise ValueError(f"the page does not contain the lines {BEGIN} and {END}")
    return _BETWEEN.sub(lambda _: f"{BEGIN}\n\n{_tables()}{END}", existing)


def rows() -> tuple[Row, ...]:
    """Return every key of the file, in the order of the model."""
    return tuple(_rows(_struct(mi.type_info(Settings)), ""))


def _tables() -> str:
    return "".join(
        f"### `{name}`\n\n{field_docs()[Settings.__name__, name]}\n\n"
        "| key | type | default | meaning, and reason for the default |\n|---|---|---|---|\n"
        + "".join(
            f"| `{row.key}` | {_cell(row.type)} | {_cell(row.default)} | {_cell(row.description)} |\n"
            for row in rows()
            if re.match(rf"{name}[.\[]", row.key)
        )
        + "\n"
        for name in Settings.__struct_fields__
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _rows(kind: mi.StructType, path: str, *, prefix: str = "") -> Iterator[Row]:
    for field in kind.fields:
        inner = _unwrap(field.type)
        key = f"{path}{field.encode_name}"
        description = prefix + field_docs()[kind.cls.__name__, field.name]
        match inner:
            case mi.StructType():
                yield from _rows(inner, f"{key}.")
            case mi.VarTupleType(item_type=mi.StructType() as item):
                yield from _rows(item, f"{key}[].")
            case mi.UnionType(types=(mi.StructType(), *_) as kinds):
                yield Row(
                    key=f"{key}.type",
                    type=" or ".join(f"`{one.tag}`" for one in map(_struct, kinds)),
                    default="required",
                    description=" ".join(f"`{one.tag}`: {class_doc(one.cls)}" for one in map(_struct, kinds)),
                )
                for one in map(_struct, kinds):
                    yield from _rows(one, f"{key}.", prefix=f"For `{one.tag}`. ")
            case _:
                names = _extra(field.type).get("environment", ())
                fallback = f" Not given: {' or '.join(f'`{name}`' for name in names)} from the environment."
                yield Row(
                    key=key,
                    type=_type(inner),
                    default=_default(field),
                    description=description + (fallback if names else ""),
                )


def _struct(kind: mi.Type) -> mi.StructType:
    assert isinstance(kind, mi.StructType)  # noqa: S101 - for mypy
    return kind


def _unwrap(kind: mi.Type) -> mi.Type:
    return kind.type if isinstance(kind, mi.Metadata) else kind


def _extra(kind: mi.Type) -> Mapping[str, Any]:
    return (kind.extra or {}) if isinstance(kind, mi.Metadata) else {}


def _type(kind: mi.Type) -> str:
    match kind:
        case mi.UnionType(types=types):
            return " or ".join(_type(one) for one in types if not isinstance(one, mi.NoneType))
        case mi.VarTupleType(item_type=item):
            return f"list of {_type(item)}"
        case mi.LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in values if value)
        case mi.CustomType(cls=cls):
            return {Secret: "secret", Regex: "regular expression", Duration: "duration"}[cls]
        case _:
            words: dict[type[mi.Type], str] = {
                mi.StrType: "text",
                mi.BoolType: "true or false",
                mi.IntType: "whole number",
                mi.FloatType: "number",
            }
            return words[type(kind)] + _bounds(kind)


def _bounds(kind: mi.Type) -> str:
    words = {"ge": "from {}", "gt": "above {}", "le": "to {}"}
    limits = [word.format(limit) for name, word in words.items() if (limit := getattr(kind, name, None)) is not None]
    return f", {' '.join(limits)}" if limits else ""


def _default(field: mi.Field) -> str:
    if field.required:
        return "required"
    return f"`{json.dumps(as_yaml(field.default))}`"
