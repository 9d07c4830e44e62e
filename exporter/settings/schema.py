"""The file's shape as JSON Schema, generated from the model and its docstrings."""

from typing import Any

from msgspec import NODEFAULT
from msgspec import inspect as shape

from exporter.settings.docstrings import meanings, summary, written
from exporter.settings.duration import Duration
from exporter.settings.model import Settings

_REFERENCE = {"type": "string", "pattern": r"\$\{(env|file):"}
"""May stand for any text, whatever else is demanded of it."""
_DURATION = r"^([0-9]+(y|w|d|h|ms|m|s))+$"
_NAMES: dict[type[shape.Type], str] = {
    shape.BoolType: "boolean",
    shape.IntType: "integer",
    shape.FloatType: "number",
}
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum"}


def json_schema() -> dict[str, Any]:
    """Give JSON Schema (draft 7) without references, so that a chart can embed it at any place.

    It accepts whatever the loader accepts, save for sections that are written but left empty (null);
    stricter rules, of several keys together or of what files hold, are the loader's.
    """
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_schema(shape.type_info(Settings))}


def _schema(kind: shape.Type) -> dict[str, Any]:
    match kind:
        case shape.Metadata(type=inner):
            schema = _schema(inner)
        case shape.StructType():
            schema = _object(kind)
        case shape.UnionType(types=types):
            offered = [_schema(one) for one in types if not isinstance(one, shape.NoneType)]
            schema = offered[0] if len(offered) == 1 else {"anyOf": offered}
        case shape.VarTupleType(item_type=item, min_length=shortest):
            schema = {"type": "array", "items": _schema(item)} | ({"minItems": shortest} if shortest else {})
        case shape.LiteralType(values=values):
            schema = {"anyOf": [{"type": "string", "enum": list(values)}, _REFERENCE]}
        case shape.StrType(pattern=str() as pattern):
            schema = {"anyOf": [{"type": "string", "pattern": pattern}, _REFERENCE]}
        case shape.CustomType(cls=cls) if cls is Duration:
            schema = {"anyOf": [{"type": "string", "pattern": _DURATION}, _REFERENCE]}
        case shape.StrType() | shape.CustomType():
            schema = {"type": "string"}
        case _:
            limits = {word: getattr(kind, name) for name, word in _LIMITS.items() if hasattr(kind, name)}
            set_limits = {word: limit for word, limit in limits.items() if limit is not None}
            schema = {"type": _NAMES[type(kind)]} | set_limits
    return schema


def _object(kind: shape.StructType) -> dict[str, Any]:
    tag = {kind.tag_field: {"const": kind.tag, "description": summary(kind.cls)}} if kind.tag_field else {}
    properties = {field.encode_name: _property(kind, field) for field in kind.fields}
    needed = [*tag, *(field.encode_name for field in kind.fields if field.required and not _from_environment(field))]
    return {"type": "object", "additionalProperties": False, "properties": tag | properties} | (
        {"required": needed} if needed else {}
    )


def _property(owner: shape.StructType, field: shape.Field) -> dict[str, Any]:
    described = {"description": meanings()[owner.cls.__name__, field.name], **_schema(field.type)}
    return described | ({"default": written(field.default)} if field.default is not NODEFAULT else {})


def _from_environment(field: shape.Field) -> bool:
    return isinstance(field.type, shape.Metadata) and "environment" in (field.type.extra or {})
