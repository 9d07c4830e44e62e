from collections.abc import AsyncIterator

import pytest

from exporter.simulator import Options, Simulator
from tests.clock import ManualClock


@pytest.fixture
async def cloud(clock: ManualClock) -> AsyncIterator[Simulator]:
    """An empty simulator on the test's clock."""
    async with Simulator(Options(empty=True), clock=clock) as cloud:
        yield cloud
