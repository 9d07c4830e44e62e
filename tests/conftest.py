import os

import hypothesis
import pytest

from tests.clock import ManualClock

# A busy machine pauses a test for longer than any deadline that is worth having, so no example has one.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")
# For `make fuzz`: looks for what the hundred examples of a normal run do not find.
hypothesis.settings.register_profile(
    "long", max_examples=5_000, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
# For `make mutants`: the same examples in each run, and no time spent on simplifying those that fail.
hypothesis.settings.register_profile(
    "mutants",
    deadline=None,
    max_examples=50,
    derandomize=True,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="write tests/golden/* anew instead of comparing")


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores: tests that start real programs wait for them much of the time."""
    return 1 + (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run unit tests last: their modules are short, so that all workers end at about the same time."""
    items.sort(key=lambda item: item.path.is_relative_to(item.config.rootpath / "tests/unit"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
