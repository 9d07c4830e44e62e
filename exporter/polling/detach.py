"""Copies of state, which another thread can encode while the original goes on changing."""

from copy import copy
from typing import TypeVar

import msgspec

Value = TypeVar("Value")


def detach(value: Value) -> Value:
    """Copy a struct with the structs, dicts and lists in it. Everything else in a state is immutable, and shared."""
    copied: object = value
    if isinstance(value, msgspec.Struct):
        copied = copy(value)
        for name in value.__struct_fields__:
            inner = getattr(value, name)
            if isinstance(inner, msgspec.Struct | dict | list):
                setattr(copied, name, detach(inner))
    elif isinstance(value, dict):
        copied = {key: detach(inner) for key, inner in value.items()}
    elif isinstance(value, list):
        copied = [detach(inner) for inner in value]
    return copied  # type: ignore[return-value]  # of the type of the value, which mypy cannot narrow
