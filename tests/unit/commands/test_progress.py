"""How far a long command is: drawn on a terminal, logged anywhere else."""

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
    """Drawn over itself, ten times a second at most, the last one always; what is said next has its own line."""
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


def test_where_the_total_is_not_known_the_share_is(
    clock: ManualClock, line_of: tuple[Terminal, ProgressLine]
) -> None:
    """A walk back in time knows how far back it is, not how many jobs there are; at first not even that."""
    terminal, progress = line_of
    progress("jobs", 0)
    clock.turn(1)
    progress("jobs", 5000, share=0.5)

    first, second = terminal.getvalue().split("\r")[1:]
    assert first == "reading jobs  [------------------------]   ? % 0"
    assert second == "reading jobs  [############------------]  50% 5000"


def test_elsewhere_it_is_a_log_line_now_and_then(clock: ManualClock) -> None:
    """In a pod: each stage's first word, and one line in half a minute."""
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
