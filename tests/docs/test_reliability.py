"""docs/reliability.md names tests; each of them must exist, and each rehearsed fault must stand in its table."""

import re
from pathlib import Path

import pytest

from tests.e2e.faults import FAULT_CASES

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
BY_PROJECT_NAME = sorted(set(re.findall(r"tests/[\w/]+\.py::\w+", PAGE)))
NOT_IN_THE_WILD = {"echo"}
"""Rehearsed for what they would leak, not for what an operator sees."""


def test_the_page_names_tests() -> None:
    """The pattern finds what the next test looks at."""
    assert len(BY_PROJECT_NAME) > 30


@pytest.mark.parametrize("named", BY_PROJECT_NAME)
def test_each_named_test_exists(named: str) -> None:
    """A promise whose test was renamed or removed is noticed."""
    path, _, name = named.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_each_rehearsed_fault_has_its_row() -> None:
    """The rows that point to cases of the whole outage name all of them, with the outcome that the case demands."""
    rows = {
        match[1]: row
        for row in PAGE.splitlines()
        if (match := re.search(r"whole: `([\w-]+)`", row)) and row.startswith("|")
    }
    assert rows.keys() == FAULT_CASES.keys() - NOT_IN_THE_WILD
    for name, row in rows.items():
        outcome = row.split("|")[3]
        assert f"`{FAULT_CASES[name].outcome}`" in outcome
        assert f"`{FAULT_CASES[name].expected('v2')}`" in outcome
