from collections.abc import AsyncIterator

import pytest

from tests.unit.cloud.account import RecordingObserver
from tests.unit.cloud.scripted_server import ScriptedServer


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()
