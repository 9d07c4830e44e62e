"""Answers bent out of shape: what some faults and quirks do to JSON that was right."""

from typing import Any


def numbers_as_text(value: Any) -> Any:
    """Every number becomes a string; true and false stay."""
    if isinstance(value, dict):
        return {key: numbers_as_text(each) for key, each in value.items()}
    if isinstance(value, list):
        return [numbers_as_text(each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def wrong_types(value: Any) -> Any:
    """Numbers become objects, texts become lists, lists become texts."""
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
    """The first item of each list of objects becomes a number."""
    if isinstance(value, dict):
        return {key: bad_item(each) for key, each in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [42, *value[1:]]
    return value
