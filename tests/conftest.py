import pytest

from tests.clock import ManualClock


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="write tests/golden/* anew instead of comparing")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
