"""Every setting has an effect: the code of the exporter reads it."""

import ast
from pathlib import Path

import msgspec
import pytest

import exporter
from exporter.settings import Settings, model

ROOT = Path(exporter.__file__).parent
READERS = [
    tree
    for path in sorted(ROOT.rglob("*.py"))
    if ROOT / "settings" not in path.parents
    for tree in [ast.parse(path.read_text())]
    if any(isinstance(node, ast.ImportFrom) and node.module == "exporter.settings" for node in ast.walk(tree))
]
"""Modules that use the classes of the settings: the others get plain values."""

SECTIONS: dict[str, type[msgspec.Struct]] = {
    name: section
    for name, section in vars(model).items()
    if isinstance(section, type) and issubclass(section, model.Section) and section is not model.Section
}


def names_of(section: type[msgspec.Struct]) -> set[str]:
    """How code names a section: its class in lower case, or the key that holds it."""
    holders = {
        field.name for owner in SECTIONS.values() for field in msgspec.structs.fields(owner) if field.type is section
    }
    return {section.__name__.lower(), *holders}


def reads(tree: ast.AST) -> set[tuple[str, str]]:
    """Pairs of owner and attribute: `a.b.c` gives (b, c), and the pattern `C(d=x)` gives (C, d)."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=attribute, ctx=ast.Load()):
                found.add((owner, attribute))
            case ast.MatchClass(cls=ast.Name(id=owner), kwd_attrs=attributes):
                found |= {(owner, attribute) for attribute in attributes}
    return found


def unread(section: type[msgspec.Struct]) -> list[str]:
    """Fields of a section that no code reads."""
    names = {*names_of(section), section.__name__}
    read = {attribute for tree in READERS for owner, attribute in reads(tree) if owner in names}
    for node in ast.parse(Path(model.__file__).read_text()).body:  # methods of the section
        if isinstance(node, ast.ClassDef) and node.name == section.__name__:
            read |= {attribute for owner, attribute in reads(node) if owner == "self"}
    return [field for field in section.__struct_fields__ if field not in read]


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_every_setting_is_read(section: type[msgspec.Struct]) -> None:
    """A setting that no code reads would be documented and accepted without an effect."""
    (name, *_) = sorted(names_of(section), key=len)
    for field in unread(section):
        pytest.fail(
            f"no code reads the setting {section.__name__}.{field}: read it as `{name}.{field}` in exporter/app/ "
            f"(values of a target: exporter/app/project.py or exporter/cloud/connect.py), "
            f"or delete it from exporter/settings/model.py"
        )


def test_a_setting_that_is_not_read_is_found() -> None:
    """The check does not take the same name in another section for a read."""

    class Collection(model.Section, frozen=True, kw_only=True):
        jobs_interval_s: float = 0.0
        burst: int = 0

    assert unread(Collection) == ["burst"]
    assert unread(Settings) == []
