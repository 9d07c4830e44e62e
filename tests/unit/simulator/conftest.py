from collections.abc import AsyncIterator

import pytest

from exporter.simulator import Options, Simulator
from tests.clock import ManualClock
from tests.unit.simulator.client import Client


@pytest.fixture
async def cloud(clock: ManualClock) -> AsyncIterator[Simulator]:
    async with Simulator(Options(empty=True), clock=clock) as cloud:
        yield cloud


@pytest.fixture
async def client(cloud: Simulator) -> AsyncIterator[Client]:
    async with Client(cloud) as client:
        yield client
