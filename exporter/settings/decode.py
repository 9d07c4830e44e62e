"""YAML nodes to the structs of `model`, noting every mistake instead of stopping at the first as msgspec would."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import inspect as shape

from exporter.settings import yaml_nodes
from exporter.settings.duration import Duration
from exporter.settings.interpolation import BadReference, resolve
from exporter.settings.messages import advice, is_blank, is_text, kind_of, meant, shown
from exporter.settings.model import AkSk
from exporter.settings.problems import Faults
from exporter.settings.regex import Regex
from exporter.settings.secret import Secret, SecretFile, SecretUnreadable

Section = TypeVar("Section", bound=msgspec.Struct)

_FAILED: Any = object()
"""Stands for a value whose mistake was noted."""
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """Reads nodes as the types of the model."""

    environ: Mapping[str, str]
    faults: Faults

    def section(self, node: yaml.Node, cls: type[Section]) -> Section | None:
        """Read the root as a struct; None when it is no mapping.

        Where a mistake was noted a field holds its default, and None without one: ask `Faults.spoils` before reading.
        """
        found = self._struct(node, shape.type_info(cls), "")
        return found if isinstance(found, cls) else None

    def _value(self, node: yaml.Node, kind: shape.Type, path: str) -> Any:
        match kind:
            case shape.Metadata(type=shape.CustomType() | shape.StrType() as inner, extra=extra):
                return self._scalar(node, inner, path, extra or {})
            case shape.Metadata(type=inner):
                return self._value(node, inner, path)
            case shape.StructType():
                return self._struct(node, kind, path)
            case shape.UnionType(types=types):
                return self._union(node, types, path)
            case shape.VarTupleType():
                return self._list(node, kind, path)
            case _:
                return self._scalar(node, kind, path, {})

    def _scalar(  # noqa: PLR0911 - a table with one row for each type
        self, node: yaml.Node, kind: shape.Type, path: str, extra: Mapping[str, Any]
    ) -> Any:
        match kind:
            case shape.StrType():
                return self._text(node, path, pattern=kind.pattern or "", must=extra.get("must", ""))
            case shape.LiteralType(values=values):
                return self._choice(node, values, path)
            case shape.BoolType():
                return self._truth(node, path)
            case shape.IntType() | shape.FloatType():
                return self._number(node, kind, path)
            case shape.CustomType(cls=cls) if cls is Secret:
                return self._secret(node, path, optional=False)
            case shape.CustomType(cls=cls) if cls is Regex:
                return self._regex(node, path)
            case shape.CustomType(cls=cls) if cls is Duration:
                return self._duration(node, path, at_least_s=extra["at_least_s"])
            case _:
                raise TypeError(f"{path}: nothing here reads {kind}")

    # Containers

    def _struct(self, node: yaml.Node, kind: shape.Type, path: str) -> Any:
        assert isinstance(kind, shape.StructType)  # noqa: S101 - says to mypy what the callers know
        given = self._entries(node, path)
        if given is None:
            return _FAILED
        names = [field.encode_name for field in kind.fields]
        for key in given:
            if key not in names and key != kind.tag_field:
                self.faults.add(yaml_nodes.join(path, key), f"unknown key{meant(key, names)}")
        one_place = kind.cls is AkSk and not {"access_key", "secret_key"}.isdisjoint(given)
        values = {}
        for field in kind.fields:
            below = yaml_nodes.join(path, field.encode_name)
            fallback = () if one_place else _environment(field.type)
            if field.encode_name in given:
                value = self._value(given[field.encode_name], field.type, below)
            elif any(self.environ.get(name) for name in fallback):
                value = self._from_environment(fallback, below)
            else:
                value = _FAILED
                if field.required:
                    self.faults.add(below, f"missing{_or_set(fallback)}")
            if value is not _FAILED:
                values[field.name] = value
            elif field.required:
                values[field.name] = None
        return kind.cls(**values)

    def _entries(self, node: yaml.Node, path: str) -> dict[str, yaml.Node] | None:
        """Entries of a mapping; nothing written is a mapping without entries, as Prometheus reads it."""
        if isinstance(node, yaml.MappingNode) and node.tag == yaml_nodes.MAPPING:
            return yaml_nodes.entries(node, path, self.faults)
        if node.tag == yaml_nodes.NULL:
            return {}
        self.faults.add(path, f"must be a mapping, not {shown(node)}")
        return None

    def _list(self, node: yaml.Node, kind: shape.VarTupleType, path: str) -> Any:
        if node.tag == yaml_nodes.NULL:
            items = []
        elif isinstance(node, yaml.SequenceNode) and node.tag == yaml_nodes.SEQUENCE:
            items = node.value
        else:
            self.faults.add(path, f"must be a list, not {shown(node)}")
            return _FAILED
        if len(items) < (kind.min_length or 0):
            self.faults.add(path, "must not be empty")
            return _FAILED
        read = (self._value(item, kind.item_type, f"{path}[{index}]") for index, item in enumerate(items))
        return tuple(None if item is _FAILED else item for item in read)

    def _union(self, node: yaml.Node, types: tuple[shape.Type, ...], path: str) -> Any:
        match types:
            case (shape.StructType(), *_):
                return self._tagged(node, types, path)
            case (shape.CustomType() as kind, shape.NoneType()):
                if is_blank(node):
                    return None
                return (
                    self._secret(node, path, optional=True) if kind.cls is Secret else self._value(node, kind, path)
                )
            case (shape.LiteralType(values=values), shape.VarTupleType() as listed):
                if isinstance(node, yaml.SequenceNode):
                    return self._list(node, listed, path)
                return self._choice(node, values, path, otherwise=" or a list")
            case _:
                raise TypeError(f"{path}: nothing here reads {types}")

    def _tagged(self, node: yaml.Node, types: tuple[shape.Type, ...], path: str) -> Any:
        given = self._entries(node, path)
        if given is None:
            return _FAILED
        kinds = {kind.tag: kind for kind in types if isinstance(kind, shape.StructType)}
        below = yaml_nodes.join(path, "type")
        if "type" not in given:
            self.faults.add(below, f"missing; must be one of {', '.join(map(str, kinds))}")
            return _FAILED
        tag = self._choice(given["type"], tuple(map(str, kinds)), below)
        return _FAILED if tag is _FAILED else self._struct(node, kinds[tag], path)

    # Scalars

    def _text(self, node: yaml.Node, path: str, *, pattern: str = "", must: str = "") -> Any:
        parts = self._parts(node, path)
        if parts is _FAILED:
            return _FAILED
        try:
            text = "".join(part if isinstance(part, str) else _content(part) for part in parts)
        except ValueError as error:
            self.faults.add(path, str(error))
            return _FAILED
        if not text.isprintable():
            self.faults.add(path, "must not hold control characters")
            return _FAILED
        if re.search(pattern, text) is None:
            self.faults.add(path, f"must {must}" + (f", not {shown(node)}" if text else ""))
            return _FAILED
        return text

    def _parts(self, node: yaml.Node, path: str, *, hide: bool = False) -> Any:
        """Split a text into what is known now and files to read. `hide`: never tell what stands there."""
        if not is_text(node):
            there = kind_of(node) if hide else shown(node)
            self.faults.add(path, f"must be text, not {there}{advice(node)}")
            return _FAILED
        try:
            return resolve(node.value, environ=self.environ)
        except BadReference as error:
            self.faults.add(path, str(error))
            return _FAILED

    def _secret(self, node: yaml.Node, path: str, *, optional: bool) -> Any:
        parts = self._parts(node, path, hide=True)
        return _FAILED if parts is _FAILED else self._tried(Secret(*parts, key=path), path, optional=optional)

    def _from_environment(self, names: Iterable[str], path: str) -> Any:
        value = next(self.environ[name] for name in names if self.environ.get(name))
        return self._tried(Secret(value, key=path), path, optional=False)

    def _tried(self, secret: Secret, path: str, *, optional: bool) -> Any:
        """Give a secret back when it can be read now and can be sent; None when it is empty and may be."""
        try:
            text = secret.reveal()
        except SecretUnreadable as error:
            self.faults.add(path, str(error).removeprefix(f"{path}: "))
            return _FAILED
        if not text and optional:
            return None
        if not text or not text.isprintable():
            self.faults.add(path, "must not hold control characters" if text else "must not be empty")
            return _FAILED
        return secret

    def _choice(self, node: yaml.Node, values: tuple[Any, ...], path: str, *, otherwise: str = "") -> Any:
        offered = [value for value in values if value]
        must = f"{'one of ' if len(offered) > 1 else ''}{', '.join(offered)}{otherwise}"
        if not is_text(node):
            self.faults.add(path, f"must be {must}, not {shown(node)}")
            return _FAILED
        text = self._text(node, path)
        if text is _FAILED or text in values:
            return text
        self.faults.add(path, f"must be {must}, not {shown(node)}{meant(text, offered)}")
        return _FAILED

    def _truth(self, node: yaml.Node, path: str) -> Any:
        found = {"true": True, "false": False}.get(str(node.value).lower()) if node.tag == yaml_nodes.TRUTH else None
        if found is None:
            self.faults.add(path, f"must be true or false, not {shown(node)}")
            return _FAILED
        return found

    def _number(self, node: yaml.Node, kind: shape.IntType | shape.FloatType, path: str) -> Any:
        whole = isinstance(kind, shape.IntType)
        written = str(node.value)
        value: float | None = None
        if node.tag == yaml_nodes.WHOLE and _DECIMAL.fullmatch(written):
            value = int(written)
        elif node.tag == yaml_nodes.REAL and not whole:
            value = _real(written)
        if value is None:
            must = "a whole number in plain digits" if whole else "a number"
            self.faults.add(path, f"must be {must}, not {shown(node)}")
            return _FAILED
        for wrong, must in (
            (kind.ge is not None and value < kind.ge, f"at least {kind.ge}"),
            (kind.gt is not None and value <= kind.gt, f"more than {kind.gt}"),
            (kind.le is not None and value > kind.le, f"at most {kind.le}"),
        ):
            if wrong:
                self.faults.add(path, f"must be {must}, not {written}")
                return _FAILED
        return value if whole else float(value)

    def _duration(self, node: yaml.Node, path: str, *, at_least_s: float) -> Any:
        if not is_text(node):
            self.faults.add(path, f"must be a duration with its unit, such as 30s, not {shown(node)}")
            return _FAILED
        text = self._text(node, path)
        if text is _FAILED:
            return _FAILED
        try:
            duration = Duration.parse(text)
        except ValueError as error:
            self.faults.add(path, f"{error}, not {shown(node)}")
            return _FAILED
        if duration < at_least_s:
            self.faults.add(path, f"must be at least {Duration(at_least_s)}, not {shown(node)}")
            return _FAILED
        return duration

    def _regex(self, node: yaml.Node, path: str) -> Any:
        text = self._text(node, path)
        if text is _FAILED:
            return _FAILED
        try:
            return Regex(text)
        except ValueError as error:
            self.faults.add(path, f"is not a regular expression: {error}")
            return _FAILED


def _content(file: SecretFile) -> str:
    try:
        return file.read()
    except ValueError as error:
        raise ValueError(f"{file.path}: {error}") from None


def _environment(kind: shape.Type) -> tuple[str, ...]:
    """Names of the variables that stand in for a key that is not given."""
    names = (kind.extra or {}).get("environment", ()) if isinstance(kind, shape.Metadata) else ()
    return tuple(names)


def _or_set(names: tuple[str, ...]) -> str:
    return f"; give it, or set {' or '.join(names)} in the environment" if names else ""


def _real(written: str) -> float | None:
    try:
        value = float(written.lstrip(".") if written.lower() in {".inf", ".nan"} else written)
    except ValueError:
        return None  # tagged as a number by hand
    return value if math.isfinite(value) else None
