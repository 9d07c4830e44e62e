"""Recorded responses, decoded as the client decodes them."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from exporter.cloud.http.endpoint import Endpoint

FOLDER = Path(__file__).parents[3] / "fixtures" / "v1"

Answer = TypeVar("Answer")


def answer(endpoint: Endpoint[Answer], file: str) -> Answer:
    """Decode a recorded response."""
    return msgspec.json.decode((FOLDER / file).read_bytes(), type=endpoint.answer)


def raw(value: Any) -> msgspec.Raw:
    """Encode a value as the raw JSON of a response."""
    return msgspec.Raw(msgspec.json.encode(value))
