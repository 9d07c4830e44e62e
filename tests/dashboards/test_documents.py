"""docs/dashboards.md has a section and a picture for each board."""

import re

import pytest

from tests.dashboards.rendered import BOARDS, ROOT, Json

DOCUMENT = (ROOT / "docs/dashboards.md").read_text(encoding="utf-8")
MAX_BYTES = 300_000
"""Maximum size of a picture, because the page loads all of them."""


@pytest.mark.parametrize("of", BOARDS.values(), ids=BOARDS.keys())
def test_board_has_section_and_address(of: Json) -> None:
    """The page has each board under its title in Grafana, and its address."""
    title = of["title"].removeprefix("ModelArts / ")
    assert f"### {title}\n" in DOCUMENT, f"docs/dashboards.md: add the section '### {title}'"
    assert f"`/d/{of['uid']}`" in DOCUMENT, f"docs/dashboards.md: add the address `/d/{of['uid']}`"


def test_board_has_picture() -> None:
    """Each board has one small PNG file, and every file belongs to a board."""
    shown = set(re.findall(r"!\[[\w ]+\]\(images/([\w-]+\.png)\)", DOCUMENT))
    files = {path.name: path for path in (ROOT / "docs/images").glob("dashboard-*.png")}
    wanted = {f"{uid.replace('modelarts', 'dashboard')}.png" for uid in BOARDS}

    assert wanted <= files.keys(), f"docs/images: add a picture of the board: {sorted(wanted - files.keys())}"
    assert wanted <= shown, f"docs/dashboards.md: show the picture of the board: {sorted(wanted - shown)}"
    assert files.keys() == wanted, f"docs/images: delete {sorted(files.keys() - wanted)}: there is no such board"
    assert shown == wanted, f"docs/dashboards.md: remove the pictures {sorted(shown - wanted)}"
    for name, path in files.items():
        assert path.read_bytes().startswith(b"\x89PNG"), f"docs/images/{name} is not a PNG file"
        assert path.stat().st_size < MAX_BYTES, f"docs/images/{name} is larger than {MAX_BYTES} bytes"
