from collections.abc import AsyncIterator

import pytest

from exporter.simulator import Options, Simulator
from tests.clock import ManualClock
from tests.unit.simulator.visitor import Visitor


@pytest.fixture
async def cloud(clock: ManualClock) -> AsyncIterator[Simulator]:
    async with Simulator(Options(empty=True), clock=clock) as cloud:
        yield cloud


@pytest.fixture
async def visitor(cloud: Simulator) -> AsyncIterator[Visitor]:
    async with Visitor(cloud) as visitor:
        yield visitor
