"""Slots for concurrent calls, and the probe of an unproven credential."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from exporter.cloud.http.limit import CredentialProbe, Limits
from tests.clock import ManualClock


def limits(*, concurrency: int = 4) -> Limits:
    return Limits(requests_per_second=1000.0, burst=1000, concurrency=concurrency)


async def test_one_operation_never_takes_all_slots() -> None:
    """Of three slots one operation gets two; another operation gets the third without waiting."""
    slots = limits(concurrency=3)
    async with AsyncExitStack() as held:
        await held.enter_async_context(slots.slot("usage"))
        await held.enter_async_context(slots.slot("usage"))
        third = asyncio.create_task(held.enter_async_context(slots.slot("usage")))
        async with asyncio.timeout(1):
            async with slots.slot("jobs"):
                assert not third.done()
        third.cancel()
        with pytest.raises(asyncio.CancelledError):
            await third


async def test_a_single_slot_serves_every_operation() -> None:
    """With a concurrency of one each operation gets the slot in turn."""
    slots = limits(concurrency=1)
    for operation in ("usage", "jobs"):
        async with asyncio.timeout(1), slots.slot(operation):
            pass


async def test_a_cancelled_wait_takes_no_slot() -> None:
    """A caller that is cancelled while it waits leaves the slot to others."""
    slots = limits(concurrency=1)
    async with slots.slot("jobs"):
        waiting = asyncio.create_task(slots.slot("jobs").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(1), slots.slot("jobs"):
        pass


async def enter(probe: CredentialProbe, stack: AsyncExitStack) -> bool:
    return await stack.enter_async_context(probe.acquire())


async def test_while_the_credential_is_unproven_one_call_probes(clock: ManualClock) -> None:
    """The second and third call wait until the first has ended; if it was accepted they go on together."""
    probe = CredentialProbe(now=clock.monotonic, max_wait_s=5.0)
    async with AsyncExitStack() as first, AsyncExitStack() as second, AsyncExitStack() as third:
        assert await enter(probe, first)
        waiting = [asyncio.create_task(enter(probe, stack)) for stack in (second, third)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        probe.accepted()
        await first.aclose()

        assert await asyncio.gather(*waiting) == [False, False]


async def test_after_a_refusal_the_next_call_probes_alone_too(clock: ManualClock) -> None:
    """When the first call is refused, only the second goes on; the third keeps waiting."""
    probe = CredentialProbe(now=clock.monotonic, max_wait_s=5.0)
    async with AsyncExitStack() as first, AsyncExitStack() as second, AsyncExitStack() as third:
        assert await enter(probe, first)
        next_probe = asyncio.create_task(enter(probe, second))
        waiting = asyncio.create_task(enter(probe, third))
        await asyncio.sleep(0)
        probe.refused()
        await first.aclose()
        assert await next_probe
        assert not waiting.done()
        await second.aclose()
        assert await waiting


async def test_an_acceptance_counts_for_ten_seconds(clock: ManualClock) -> None:
    """Within ten seconds of an acceptance no call waits; later, or after a refusal, one call probes again."""
    probe = CredentialProbe(now=clock.monotonic)
    probe.accepted()
    clock.turn(9.9)
    async with probe.acquire() as is_probe:
        assert not is_probe
    clock.turn(0.1)
    async with probe.acquire() as is_probe:
        assert is_probe
    probe.accepted()
    probe.refused()
    assert not probe.is_proven


async def test_the_wait_for_a_hanging_probe_is_limited(clock: ManualClock) -> None:
    """After the longest wait other calls go on, and the hanging call stays the probe."""
    probe = CredentialProbe(now=clock.monotonic, max_wait_s=0.01)
    async with probe.acquire() as is_probe:
        assert is_probe
        async with probe.acquire() as is_second_probe:
            assert not is_second_probe
    async with probe.acquire() as is_probe:
        assert is_probe
