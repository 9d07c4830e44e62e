"""Corruptions of a JSON response, for faults and quirks."""

from typing import Any


def numbers_as_text(value: Any) -> Any:
    """Replace every number by a string; booleans are unchanged."""
    if isinstance(value, dict):
        return {key: numbers_as_text(each) for key, each in value.items()}
    if isinstance(value, list):
        return [numbers_as_text(each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def wrong_types(value: Any) -> Any:
    """Replace numbers by objects, strings by lists, lists by strings."""
    if isinstance(value, dict):
        return {key: wrong_types(each) for key, each in value.items()}
    if isinstance(value, list):
        return "a list stood here"
    if isinstance(value, str):
        return [value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"number": value}
    return value


def bad_item(value: Any) -> Any:
    """Replace the first item of each list of objects by a number."""
    if isinstance(value, dict):
        return {key: bad_item(each) for key, each in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [42, *value[1:]]
    return value


_TEXTS = frozenset({"name", "job_name", "description", "job_desc", "version_desc", "user_name", "os.modelarts/name"})
"""Keys of text that people write."""


def cut_texts(value: Any, *, key: str = "") -> Any:
    """End each text that people write with half of a surrogate pair, as a backend that cuts UTF-16 text does."""
    if isinstance(value, dict):
        return {name: cut_texts(each, key=name) for name, each in value.items()}
    if isinstance(value, list):
        return [cut_texts(each) for each in value]
    return f"{value or ''}\ud83d" if key in _TEXTS and isinstance(value, str | None) else value
