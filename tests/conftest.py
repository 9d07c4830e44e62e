import pytest

from tests.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
