"""The generated files: up to date, small enough for a ConfigMap, and independent of one Grafana."""

import re
import subprocess
import sys

import pytest

from dashboards.src.board import Board
from dashboards.src.boards import BOARDS as SOURCES
from tests.dashboards.rendered import BOARDS, FILES, ROOT, panels

MAX_TOTAL_BYTES = 900_000
"""A ConfigMap holds 1 MiB; some users put all boards into one."""
MAX_BYTES = 262_144 - 100_000
"""`kubectl apply` copies the object into an annotation, which holds 256 KiB; quotes take two bytes there."""


def test_files_are_up_to_date() -> None:
    """Generating again changes nothing, and every file belongs to a board."""
    done = subprocess.run(
        [sys.executable, "dashboards/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, ""), f"run `make generate`:\n{done.stderr}"


def test_every_board_is_listed() -> None:
    """Each module with a BOARD is in boards.py, so that a file is generated for it."""
    folder = ROOT / "dashboards/src"
    listed = (folder / "boards.py").read_text(encoding="utf-8")
    missing = [
        path.name
        for path in sorted(folder.glob("*.py"))
        if re.search(r"^BOARD = ", path.read_text(encoding="utf-8"), re.MULTILINE)
        and f"{path.stem}.BOARD" not in listed
    ]

    assert not missing, f"dashboards/src/boards.py: import {missing} and add its BOARD to BOARDS"


@pytest.mark.parametrize("board", SOURCES, ids=lambda board: board.uid)
def test_rendering_twice_gives_the_same_text(board: Board) -> None:
    """Generating a file twice gives the same text."""
    assert board.render() == board.render()


def test_uids_are_short() -> None:
    """Grafana accepts uids of up to 40 characters."""
    assert all(len(uid) <= 40 for uid in BOARDS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_fits_into_a_config_map(path: object) -> None:
    """Each file alone fits into a ConfigMap that is applied with `kubectl apply`."""
    size = path.stat().st_size  # type: ignore[attr-defined] # ids need a plain lambda

    assert size < MAX_BYTES


def test_all_files_fit_into_one_config_map() -> None:
    """All files together stay below the limit of a ConfigMap."""
    assert sum(path.stat().st_size for path in FILES) < MAX_TOTAL_BYTES


@pytest.mark.parametrize("uid", BOARDS)
def test_file_has_no_grafana_ids(uid: str) -> None:
    """A file has no database id and no version, so an import neither conflicts nor looks like an edit."""
    assert not {"id", "version", "gnetId"} & set(BOARDS[uid])


@pytest.mark.parametrize("uid", BOARDS)
def test_panels_do_not_overlap(uid: str) -> None:
    """Panels are within the 24 columns and do not overlap."""
    taken: set[tuple[int, int]] = set()
    for panel in panels(BOARDS[uid]):
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
