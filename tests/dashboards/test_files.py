"""The rendered files: what their sources say, small, and with addresses that do not move."""

import subprocess
import sys

import pytest

from dashboards.src.board import Board
from dashboards.src.boards import BOARDS as SOURCES
from tests.dashboards.rendered import BOARDS, FILES, ROOT, panels

MOST_BYTES_TOGETHER = 900_000
"""A ConfigMap holds 1 MiB, neighbours included; some people put all boards into one."""
MOST_BYTES = 262_144 - 100_000
"""`kubectl apply` writes the whole object into an annotation, which holds 256 KiB; quotes double in there."""


def test_the_files_are_what_their_sources_say() -> None:
    """Rendering again changes nothing, and no file is left without a board."""
    done = subprocess.run(
        [sys.executable, "dashboards/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("board", SOURCES, ids=lambda board: board.uid)
def test_rendering_twice_gives_the_same_text(board: Board) -> None:
    """Nothing in a file depends on when or how often it was made."""
    assert board.render() == board.render()


def test_a_file_is_named_for_the_address_of_its_board() -> None:
    """The uid is the file's name, fixed and short enough for Grafana (40 characters)."""
    assert {path.stem for path in FILES} == {board.uid for board in SOURCES} == {of["uid"] for of in BOARDS.values()}
    assert all(len(uid) <= 40 for uid in BOARDS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_fits_into_a_config_map(path: object) -> None:
    """By itself in one that is applied by hand."""
    size = path.stat().st_size  # type: ignore[attr-defined] # ids need a plain lambda

    assert size < MOST_BYTES


def test_all_files_fit_into_one_config_map() -> None:
    """Together they stay below its limit."""
    assert sum(path.stat().st_size for path in FILES) < MOST_BYTES_TOGETHER


@pytest.mark.parametrize("uid", BOARDS)
def test_nothing_in_a_file_belongs_to_one_grafana(uid: str) -> None:
    """No database id, no version: an import neither clashes nor looks like an edit."""
    assert not {"id", "version", "gnetId"} & set(BOARDS[uid])


@pytest.mark.parametrize("uid", BOARDS)
def test_panels_do_not_overlap(uid: str) -> None:
    """Each panel has a place of its own within the 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in panels(BOARDS[uid]):
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
