"""The document about the boards: names each of them, shows a picture of each, and no more."""

import re

from tests.dashboards.rendered import BOARDS, ROOT

DOCUMENT = (ROOT / "docs/dashboards.md").read_text(encoding="utf-8")
MOST_BYTES = 300_000
"""A picture is loaded with every look at the page."""


def test_each_board_has_a_chapter_and_an_address() -> None:
    """A reader finds each board under the name it has in Grafana, and under its address."""
    for of in BOARDS.values():
        assert f"### {of['title'].removeprefix('ModelArts / ')}\n" in DOCUMENT
        assert f"`/d/{of['uid']}`" in DOCUMENT


def test_each_board_has_a_picture() -> None:
    """Small PNG files, one a board; none is left over from a board that is gone."""
    shown = {ROOT / "docs" / name for name in re.findall(r"!\[[\w ]+\]\((images/[\w-]+\.png)\)", DOCUMENT)}

    assert shown == set((ROOT / "docs/images").glob("dashboard-*.png"))
    assert {path.stem for path in shown} == {uid.replace("modelarts", "dashboard") for uid in BOARDS}
    for path in shown:
        assert path.read_bytes().startswith(b"\x89PNG"), path.name
        assert path.stat().st_size < MOST_BYTES, path.name
