"""Docstrings of the settings, read from the model's source: Python does not keep docstrings of attributes."""

import ast
import inspect
from collections.abc import Mapping
from functools import cache

from exporter.settings import model
from exporter.settings.duration import Duration
from exporter.settings.regex import Regex


@cache
def field_docs() -> Mapping[tuple[str, str], str]:
    """Return each field's docstring on one line, by (class name, attribute name). Raises OSError without sources."""
    return {
        (owner.name, assignment.target.id): " ".join(doc.value.value.split())
        for owner in ast.parse(inspect.getsource(model)).body
        if isinstance(owner, ast.ClassDef)
        for assignment, doc in zip(owner.body, owner.body[1:], strict=False)
        if isinstance(assignment, ast.AnnAssign)
        and isinstance(assignment.target, ast.Name)
        and isinstance(doc, ast.Expr)
        and isinstance(doc.value, ast.Constant)
        and isinstance(doc.value.value, str)
    }


def class_doc(cls: type) -> str:
    """Return a class's docstring on one line."""
    return " ".join((inspect.getdoc(cls) or "").split())


def as_yaml(default: object) -> object:
    """Return a default as it is written in the file."""
    match default:
        case None:
            return ""
        case Duration():
            return str(default)
        case Regex():
            return default.pattern
        case tuple():
            return list(default)
        case _:
            return default
