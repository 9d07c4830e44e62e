"""Progress of a long command: drawn on a terminal, otherwise logged."""

from io import StringIO

import pytest
from structlog.testing import capture_logs

from exporter.commands.progress import ProgressLine
from tests.clock import ManualClock


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def line_of(clock: ManualClock) -> tuple[Terminal, ProgressLine]:
    terminal = Terminal()
    return terminal, ProgressLine(terminal, now=clock.monotonic)


def test_a_terminal_has_one_line_that_changes(clock: ManualClock, line_of: tuple[Terminal, ProgressLine]) -> None:
    """The bar is redrawn at most ten times a second, and at the end; following output starts on a new line."""
    terminal, progress = line_of
    for done in range(1, 101):
        progress("usage", done, 100)
        clock.turn(0.01)
    progress.close()
    progress.close()

    drawn = terminal.getvalue().split("\r")[1:]
    assert 10 <= len(drawn) <= 11
    assert drawn[0].rstrip() == "reading usage [------------------------]   1% 1/100"
    assert drawn[-1] == "reading usage [########################] 100% 100/100\n"
    assert terminal.getvalue().count("\n") == 1


def test_an_unknown_total_shows_the_share(clock: ManualClock, line_of: tuple[Terminal, ProgressLine]) -> None:
    """A listing from newest to oldest knows its share of the period, not the number of jobs; at first neither."""
    terminal, progress = line_of
    progress("jobs", 0)
    clock.turn(1)
    progress("jobs", 5000, share=0.5)

    first, second = terminal.getvalue().split("\r")[1:]
    assert first == "reading jobs  [------------------------]   ? % 0"
    assert second == "reading jobs  [############------------]  50% 5000"


def test_without_a_terminal_progress_is_logged(clock: ManualClock) -> None:
    """In a pod: one line at the start of each stage, and one every 30 s."""
    progress = ProgressLine(StringIO(), now=clock.monotonic)
    with capture_logs() as logged:
        for done in range(61):
            progress("jobs", done, share=done / 100)
            clock.turn(1)
        progress("write", 0, 10)
    progress.close()

    assert [(line["stage"], line["done"]) for line in logged] == [
        ("jobs", 0),
        ("jobs", 30),
        ("jobs", 60),
        ("write", 0),
    ]
    assert logged[1]["percent"] == 30
