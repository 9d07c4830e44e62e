"""The settings reference, generated from the model and its docstrings."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import inspect as shape

from exporter.settings.docstrings import meanings, summary, written
from exporter.settings.duration import Duration
from exporter.settings.model import Settings
from exporter.settings.regex import Regex
from exporter.settings.secret import Secret

BEGIN = "<!-- settings: begin. Generated from exporter/settings/model.py by `make generate`; do not edit. -->"
END = "<!-- settings: end -->"

_BETWEEN = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the reference."""

    key: str
    """Path of the key; `[]` stands for each entry of a list."""
    type: str
    default: str
    """As it would be written in the file; "required" where there is none."""
    meaning: str


def configuration_markdown(existing: str) -> str:
    """Give the page with what stands between the markers written anew. Raises ValueError without the markers."""
    if not _BETWEEN.search(existing):
        raise ValueError(f"the page lacks the lines {BEGIN} and {END}")
    return _BETWEEN.sub(lambda _: f"{BEGIN}\n\n{_tables()}{END}", existing)


def rows() -> tuple[Row, ...]:
    """Give every key of the file, in the order of the model."""
    return tuple(_rows(_struct(shape.type_info(Settings)), ""))


def _tables() -> str:
    return "".join(
        f"### `{name}`\n\n{meanings()[Settings.__name__, name]}\n\n"
        "| key | type | default | meaning, and why this default |\n|---|---|---|---|\n"
        + "".join(
            f"| `{row.key}` | {_cell(row.type)} | {_cell(row.default)} | {_cell(row.meaning)} |\n"
            for row in rows()
            if re.match(rf"{name}[.\[]", row.key)
        )
        + "\n"
        for name in Settings.__struct_fields__
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _rows(kind: shape.StructType, path: str, *, where: str = "") -> Iterator[Row]:
    for field in kind.fields:
        inner = _bare(field.type)
        key = f"{path}{field.encode_name}"
        meaning = where + meanings()[kind.cls.__name__, field.name]
        match inner:
            case shape.StructType():
                yield from _rows(inner, f"{key}.")
            case shape.VarTupleType(item_type=shape.StructType() as item):
                yield from _rows(item, f"{key}[].")
            case shape.UnionType(types=(shape.StructType(), *_) as kinds):
                yield Row(
                    key=f"{key}.type",
                    type=" or ".join(f"`{one.tag}`" for one in map(_struct, kinds)),
                    default="required",
                    meaning=" ".join(f"`{one.tag}`: {summary(one.cls)}" for one in map(_struct, kinds)),
                )
                for one in map(_struct, kinds):
                    yield from _rows(one, f"{key}.", where=f"For `{one.tag}`. ")
            case _:
                names = _extra(field.type).get("environment", ())
                either = f" Not given: {' or '.join(f'`{name}`' for name in names)} of the environment."
                yield Row(
                    key=key,
                    type=_type(inner),
                    default=_default(field),
                    meaning=meaning + (either if names else ""),
                )


def _struct(kind: shape.Type) -> shape.StructType:
    assert isinstance(kind, shape.StructType)  # noqa: S101 - says to mypy what the model is made of
    return kind


def _bare(kind: shape.Type) -> shape.Type:
    return kind.type if isinstance(kind, shape.Metadata) else kind


def _extra(kind: shape.Type) -> Mapping[str, Any]:
    return (kind.extra or {}) if isinstance(kind, shape.Metadata) else {}


def _type(kind: shape.Type) -> str:
    match kind:
        case shape.UnionType(types=types):
            return " or ".join(_type(one) for one in types if not isinstance(one, shape.NoneType))
        case shape.VarTupleType(item_type=item):
            return f"list of {_type(item)}"
        case shape.LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in values if value)
        case shape.CustomType(cls=cls):
            return {Secret: "secret", Regex: "regular expression", Duration: "duration"}[cls]
        case _:
            words: dict[type[shape.Type], str] = {
                shape.StrType: "text",
                shape.BoolType: "true or false",
                shape.IntType: "whole number",
                shape.FloatType: "number",
            }
            return words[type(kind)] + _bounds(kind)


def _bounds(kind: shape.Type) -> str:
    words = {"ge": "from {}", "gt": "above {}", "le": "to {}"}
    limits = [word.format(limit) for name, word in words.items() if (limit := getattr(kind, name, None)) is not None]
    return f", {' '.join(limits)}" if limits else ""


def _default(field: shape.Field) -> str:
    if field.required:
        return "required"
    return f"`{json.dumps(written(field.default))}`"
