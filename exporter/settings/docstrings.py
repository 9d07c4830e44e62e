"""What each setting means, read from the source of the model: Python keeps no docstrings of attributes itself."""

import ast
import inspect
from collections.abc import Mapping
from functools import cache

from exporter.settings import model
from exporter.settings.duration import Duration
from exporter.settings.regex import Regex


@cache
def meanings() -> Mapping[tuple[str, str], str]:
    """Give each field's docstring by (class name, attribute name), on one line. Raises OSError without sources."""
    return {
        (owner.name, named.target.id): " ".join(said.value.value.split())
        for owner in ast.parse(inspect.getsource(model)).body
        if isinstance(owner, ast.ClassDef)
        for named, said in zip(owner.body, owner.body[1:], strict=False)
        if isinstance(named, ast.AnnAssign)
        and isinstance(named.target, ast.Name)
        and isinstance(said, ast.Expr)
        and isinstance(said.value, ast.Constant)
        and isinstance(said.value.value, str)
    }


def summary(cls: type) -> str:
    """Give a class's docstring on one line."""
    return " ".join((inspect.getdoc(cls) or "").split())


def written(default: object) -> object:
    """Give a default as the file would say it."""
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
