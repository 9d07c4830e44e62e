"""The recorded answers of v2."""

from pathlib import Path

FOLDER = Path(__file__).parents[3] / "fixtures" / "v2"


def recorded(name: str) -> bytes:
    """The bytes of one recorded answer."""
    return (FOLDER / name).read_bytes()
