"""The recorded responses of v2."""

from pathlib import Path

FOLDER = Path(__file__).parents[3] / "fixtures" / "v2"


def recorded(name: str) -> bytes:
    """The bytes of one recorded response."""
    return (FOLDER / name).read_bytes()
