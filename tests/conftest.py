import pytest

from exporter.cloud.http.retry import silence_instrumentation
from tests.clock import ManualClock


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="write tests/golden/* anew instead of comparing")


@pytest.fixture(autouse=True, scope="session")
def quiet_stamina() -> None:
    """Silence stamina before any test retries, as each command does: it would count in everybody's registry."""
    silence_instrumentation()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
