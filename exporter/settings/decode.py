"""Decodes YAML nodes into the structs of `model`. Collects all problems, where msgspec stops at the first."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import inspect as mi

from exporter.settings import readers, yaml_nodes
from exporter.settings.duration import Duration
from exporter.settings.interpolation import InterpolationError, resolve
from exporter.settings.messages import describe, is_blank, is_string, suggestion
from exporter.settings.model import AkSk
from exporter.settings.problems import Problems
from exporter.settings.regex import Regex
from exporter.settings.secret import Secret, SecretFile, SecretUnreadable

Section = TypeVar("Section", bound=msgspec.Struct)

_INVALID: Any = object()
"""Marks a value for which a problem was added."""
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """Decodes nodes as the types of the model. `environ` is what `${env:NAME}` may see."""

    environ: Mapping[str, str]
    problems: Problems

    def section(self, node: yaml.Node, cls: type[Section]) -> Section | None:
        """Decode the root as a struct; None if it is not a mapping.

        A field with a problem holds its default, or None without a default: check `Problems.affects` before use.
        """
        found = self._struct(node, mi.type_info(cls), "")
        return found if isinstance(found, cls) else None

    def _value(self, node: yaml.Node, type_: mi.Type, path: str) -> Any:
        match type_:
            case mi.Metadata(type=mi.CustomType() | mi.StrType() as inner, extra=extra):
                return self._scalar(node, inner, path, extra or {})
            case mi.Metadata(type=inner):
                return self._value(node, inner, path)
            case mi.StructType():
                return self._struct(node, type_, path)
            case mi.UnionType(types=types):
                return self._union(node, types, path)
            case mi.VarTupleType():
                return self._list(node, type_, path)
            case _:
                return self._scalar(node, type_, path, {})

    def _scalar(  # noqa: PLR0911 - a table with one row per type
        self, node: yaml.Node, type_: mi.Type, path: str, extra: Mapping[str, Any]
    ) -> Any:
        match type_:
            case mi.StrType():
                return self._text(node, path, pattern=type_.pattern or "", requirement=extra.get("must", ""))
            case mi.LiteralType(values=values):
                return self._choice(node, values, path)
            case mi.BoolType():
                return self._boolean(node, path)
            case mi.IntType() | mi.FloatType():
                return self._number(node, type_, path)
            case mi.CustomType(cls=cls) if cls is Secret:
                return self._secret(node, path, optional=False)
            case mi.CustomType(cls=cls) if cls is Regex:
                return self._regex(node, path)
            case mi.CustomType(cls=cls) if cls is Duration:
                return self._duration(node, path, at_least_s=extra["at_least_s"])
            case _:
                raise TypeError(f"{path}: no decoder for {type_}")

    # Containers

    def _struct(self, node: yaml.Node, type_: mi.Type, path: str) -> Any:
        assert isinstance(type_, mi.StructType)  # noqa: S101 - for mypy; callers pass structs only
        entries = readers.mapping(node, path, self.problems)
        if entries is None:
            return _INVALID
        tag = [type_.tag_field] if type_.tag_field else []
        readers.check_keys(entries, [field.encode_name for field in type_.fields] + tag, path, self.problems)
        pair_in_file = type_.cls is AkSk and not {"access_key", "secret_key"}.isdisjoint(entries)
        values = {}
        for field in type_.fields:
            key_path = yaml_nodes.join(path, field.encode_name)
            fallback = () if pair_in_file else _environment_names(field.type)
            if field.encode_name in entries:
                value = self._value(entries[field.encode_name], field.type, key_path)
            elif any(self.environ.get(name) for name in fallback):
                value = self._from_environment(fallback, key_path)
            else:
                value = _INVALID
                if field.required:
                    self.problems.add(key_path, f"missing{_or_set(fallback)}")
            if value is not _INVALID:
                values[field.name] = value
            elif field.required:
                values[field.name] = None
        return type_.cls(**values)

    def _list(self, node: yaml.Node, type_: mi.VarTupleType, path: str) -> Any:
        if node.tag == yaml_nodes.NULL:
            items = []
        elif isinstance(node, yaml.SequenceNode) and node.tag == yaml_nodes.SEQUENCE:
            items = node.value
        else:
            self.problems.add(path, f"must be a list, not {describe(node)}")
            return _INVALID
        if len(items) < (type_.min_length or 0):
            self.problems.add(path, "must not be empty")
            return _INVALID
        read = (self._value(item, type_.item_type, f"{path}[{index}]") for index, item in enumerate(items))
        return tuple(None if item is _INVALID else item for item in read)

    def _union(self, node: yaml.Node, types: tuple[mi.Type, ...], path: str) -> Any:
        match types:
            case (mi.StructType(), *_):
                return self._tagged(node, types, path)
            case (mi.CustomType() as type_, mi.NoneType()):
                if is_blank(node):
                    return None
                return (
                    self._secret(node, path, optional=True) if type_.cls is Secret else self._value(node, type_, path)
                )
            case (mi.LiteralType(values=values), mi.VarTupleType() as listed):
                if isinstance(node, yaml.SequenceNode):
                    return self._list(node, listed, path)
                return self._choice(node, values, path, alternative=" or a list")
            case _:
                raise TypeError(f"{path}: no decoder for {types}")

    def _tagged(self, node: yaml.Node, types: tuple[mi.Type, ...], path: str) -> Any:
        entries = readers.mapping(node, path, self.problems)
        if entries is None:
            return _INVALID
        kinds = {type_.tag: type_ for type_ in types if isinstance(type_, mi.StructType)}
        key_path = yaml_nodes.join(path, "type")
        if "type" not in entries:
            self.problems.add(key_path, f"missing; must be one of {', '.join(map(str, kinds))}")
            return _INVALID
        tag = self._choice(entries["type"], tuple(map(str, kinds)), key_path)
        return _INVALID if tag is _INVALID else self._struct(node, kinds[tag], path)

    # Scalars

    def _text(self, node: yaml.Node, path: str, *, pattern: str = "", requirement: str = "") -> Any:
        parts = self._parts(node, path)
        if parts is _INVALID:
            return _INVALID
        try:
            text = "".join(part if isinstance(part, str) else _file_text(part) for part in parts)
        except ValueError as error:
            self.problems.add(path, str(error))
            return _INVALID
        if not text.isprintable():
            self.problems.add(path, "must not contain control characters")
            return _INVALID
        if re.search(pattern, text) is None:
            self.problems.add(path, f"must {requirement}" + (f", not {describe(node)}" if text else ""))
            return _INVALID
        return text

    def _parts(self, node: yaml.Node, path: str, *, hide: bool = False) -> Any:
        """Resolve references. Returns text and files to read. `hide`: a problem must not show the content."""
        text = readers.string(node, path, self.problems, hide=hide)
        if text is None:
            return _INVALID
        try:
            return resolve(text, environ=self.environ)
        except InterpolationError as error:
            self.problems.add(path, str(error))
            return _INVALID

    def _secret(self, node: yaml.Node, path: str, *, optional: bool) -> Any:
        parts = self._parts(node, path, hide=True)
        if parts is _INVALID:
            return _INVALID
        return self._checked_secret(Secret(*parts, key=path), path, optional=optional)

    def _from_environment(self, names: Iterable[str], path: str) -> Any:
        value = next(self.environ[name] for name in names if self.environ.get(name))
        return self._checked_secret(Secret(value, key=path), path, optional=False)

    def _checked_secret(self, secret: Secret, path: str, *, optional: bool) -> Any:
        """Return the secret if it can be read now and sent. None if it is empty and optional."""
        try:
            text = secret.reveal()
        except SecretUnreadable as error:
            self.problems.add(path, str(error).removeprefix(f"{path}: "))
            return _INVALID
        if not text and optional:
            return None
        if not text or not text.isprintable():
            self.problems.add(path, "must not contain control characters" if text else "must not be empty")
            return _INVALID
        return secret

    def _choice(self, node: yaml.Node, values: tuple[Any, ...], path: str, *, alternative: str = "") -> Any:
        offered = [value for value in values if value]
        requirement = f"{'one of ' if len(offered) > 1 else ''}{', '.join(offered)}{alternative}"
        if not is_string(node):
            self.problems.add(path, f"must be {requirement}, not {describe(node)}")
            return _INVALID
        text = self._text(node, path)
        if text is _INVALID or text in values:
            return text
        self.problems.add(path, f"must be {requirement}, not {describe(node)}{suggestion(text, offered)}")
        return _INVALID

    def _boolean(self, node: yaml.Node, path: str) -> Any:
        value = readers.boolean(node, path, self.problems)
        return _INVALID if value is None else value

    def _number(self, node: yaml.Node, type_: mi.IntType | mi.FloatType, path: str) -> Any:
        integer = isinstance(type_, mi.IntType)
        literal = str(node.value)
        value: float | None = None
        if node.tag == yaml_nodes.INTEGER and _DECIMAL.fullmatch(literal):
            value = int(literal)
        elif node.tag == yaml_nodes.FLOAT and not integer:
            value = _float(literal)
        if value is None:
            requirement = "a whole number in plain digits" if integer else "a number"
            self.problems.add(path, f"must be {requirement}, not {describe(node)}")
            return _INVALID
        for violated, requirement in (
            (type_.ge is not None and value < type_.ge, f"at least {type_.ge}"),
            (type_.gt is not None and value <= type_.gt, f"more than {type_.gt}"),
            (type_.le is not None and value > type_.le, f"at most {type_.le}"),
        ):
            if violated:
                self.problems.add(path, f"must be {requirement}, not {literal}")
                return _INVALID
        return value if integer else float(value)

    def _duration(self, node: yaml.Node, path: str, *, at_least_s: float) -> Any:
        if not is_string(node):
            self.problems.add(path, f"must be a duration with its unit, such as 30s, not {describe(node)}")
            return _INVALID
        text = self._text(node, path)
        if text is _INVALID:
            return _INVALID
        try:
            duration = Duration.parse(text)
        except ValueError as error:
            self.problems.add(path, f"{error}, not {describe(node)}")
            return _INVALID
        if duration < at_least_s:
            self.problems.add(path, f"must be at least {Duration(at_least_s)}, not {describe(node)}")
            return _INVALID
        return duration

    def _regex(self, node: yaml.Node, path: str) -> Any:
        text = self._text(node, path)
        if text is _INVALID:
            return _INVALID
        try:
            return Regex(text)
        except ValueError as error:
            self.problems.add(path, f"is not a regular expression: {error}")
            return _INVALID


def _file_text(file: SecretFile) -> str:
    try:
        return file.read()
    except ValueError as error:
        raise ValueError(f"{file.path}: {error}") from None


def _environment_names(type_: mi.Type) -> tuple[str, ...]:
    """Names of the environment variables used if the key is absent."""
    names = (type_.extra or {}).get("environment", ()) if isinstance(type_, mi.Metadata) else ()
    return tuple(names)


def _or_set(names: tuple[str, ...]) -> str:
    return f"; give it, or set {' or '.join(names)} in the environment" if names else ""


def _float(literal: str) -> float | None:
    try:
        value = float(literal.lstrip(".") if literal.lower() in {".inf", ".nan"} else literal)
    except ValueError:
        return None  # the tag was set by hand
    return value if math.isfinite(value) else None
