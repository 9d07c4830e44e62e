"""JSON Schema of the settings file, generated from the model and its docstrings."""

from typing import Any

from msgspec import NODEFAULT
from msgspec import inspect as mi

from exporter.settings.docstrings import as_yaml, class_doc, field_docs
from exporter.settings.duration import Duration
from exporter.settings.model import Settings

_REFERENCE = {"type": "string", "pattern": r"\$\{(env|file):"}
"""A reference is allowed in place of any text."""
_DURATION = r"^([0-9]+(y|w|d|h|ms|m|s))+$"
_NAMES: dict[type[mi.Type], str] = {
    mi.BoolType: "boolean",
    mi.IntType: "integer",
    mi.FloatType: "number",
}
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum"}


def json_schema() -> dict[str, Any]:
    """Return JSON Schema (draft 7) without `$ref`, so that a chart can embed it anywhere.

    It accepts what the loader accepts, except for sections that are present but empty (null). Only the loader checks
    rules over several keys and the content of files.
    """
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_schema(mi.type_info(Settings))}


def _schema(kind: mi.Type) -> dict[str, Any]:
    match kind:
        case mi.Metadata(type=inner):
            schema = _schema(inner)
        case mi.StructType():
            schema = _object(kind)
        case mi.UnionType(types=types):
            alternatives = [_schema(one) for one in types if not isinstance(one, mi.NoneType)]
            schema = alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}
        case mi.VarTupleType(item_type=item, min_length=shortest):
            schema = {"type": "array", "items": _schema(item)} | ({"minItems": shortest} if shortest else {})
        case mi.LiteralType(values=values):
            schema = {"anyOf": [{"type": "string", "enum": list(values)}, _REFERENCE]}
        case mi.StrType(pattern=str() as pattern):
            schema = {"anyOf": [{"type": "string", "pattern": pattern}, _REFERENCE]}
        case mi.CustomType(cls=cls) if cls is Duration:
            schema = {"anyOf": [{"type": "string", "pattern": _DURATION}, _REFERENCE]}
        case mi.StrType() | mi.CustomType():
            schema = {"type": "string"}
        case _:
            limits = {word: getattr(kind, name) for name, word in _LIMITS.items() if hasattr(kind, name)}
            set_limits = {word: limit for word, limit in limits.items() if limit is not None}
            schema = {"type": _NAMES[type(kind)]} | set_limits
    return schema


def _object(kind: mi.StructType) -> dict[str, Any]:
    tag = {kind.tag_field: {"const": kind.tag, "description": class_doc(kind.cls)}} if kind.tag_field else {}
    properties = {field.encode_name: _property(kind, field) for field in kind.fields}
    required = [
        *tag,
        *(field.encode_name for field in kind.fields if field.required and not _from_environment(field)),
    ]
    return {"type": "object", "additionalProperties": False, "properties": tag | properties} | (
        {"required": required} if required else {}
    )


def _property(owner: mi.StructType, field: mi.Field) -> dict[str, Any]:
    described = {"description": field_docs()[owner.cls.__name__, field.name], **_schema(field.type)}
    return described | ({"default": as_yaml(field.default)} if field.default is not NODEFAULT else {})


def _from_environment(field: mi.Field) -> bool:
    return isinstance(field.type, mi.Metadata) and "environment" in (field.type.extra or {})
