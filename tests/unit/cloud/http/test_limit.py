"""Places, pace, and who goes first."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from exporter.cloud.http.limit import CredentialProbe, Limits
from tests.clock import ManualClock


def limits(*, concurrency: int = 4) -> Limits:
    return Limits(requests_per_second=1000.0, burst=1000, concurrency=concurrency)


async def test_one_kind_never_takes_every_place() -> None:
    """Of three places one kind gets two; the third stays for another kind, which enters without waiting."""
    places = limits(concurrency=3)
    async with AsyncExitStack() as inside:
        await inside.enter_async_context(places.slot("usage"))
        await inside.enter_async_context(places.slot("usage"))
        third = asyncio.create_task(inside.enter_async_context(places.slot("usage")))
        async with asyncio.timeout(1):
            async with places.slot("jobs"):
                assert not third.done()
        third.cancel()
        with pytest.raises(asyncio.CancelledError):
            await third


async def test_a_single_place_serves_every_kind() -> None:
    """With a concurrency of one each kind gets the one place in turn."""
    places = limits(concurrency=1)
    for kind in ("usage", "jobs"):
        async with asyncio.timeout(1), places.slot(kind):
            pass


async def test_a_cancelled_wait_takes_no_place() -> None:
    """Whoever gives up waiting leaves the place to others."""
    places = limits(concurrency=1)
    async with places.slot("jobs"):
        waiting = asyncio.create_task(places.slot("jobs").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(1), places.slot("jobs"):
        pass


async def enter(vanguard: CredentialProbe, stack: AsyncExitStack) -> bool:
    return await stack.enter_async_context(vanguard.turn())


async def test_while_nothing_is_proven_one_goes_ahead(clock: ManualClock) -> None:
    """The second waits until the first is back; accepted by then, it and the third go together."""
    vanguard = CredentialProbe(now=clock.monotonic, patience_s=5.0)
    async with AsyncExitStack() as first, AsyncExitStack() as second, AsyncExitStack() as third:
        assert await enter(vanguard, first)
        waiting = [asyncio.create_task(enter(vanguard, stack)) for stack in (second, third)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        vanguard.accepted()
        await first.aclose()

        assert await asyncio.gather(*waiting) == [False, False]


async def test_after_a_refusal_the_next_goes_alone_too(clock: ManualClock) -> None:
    """When the first comes back refused, only the second goes; the third keeps waiting."""
    vanguard = CredentialProbe(now=clock.monotonic, patience_s=5.0)
    async with AsyncExitStack() as first, AsyncExitStack() as second, AsyncExitStack() as third:
        assert await enter(vanguard, first)
        ahead = asyncio.create_task(enter(vanguard, second))
        behind = asyncio.create_task(enter(vanguard, third))
        await asyncio.sleep(0)
        vanguard.refused()
        await first.aclose()
        assert await ahead
        assert not behind.done()
        await second.aclose()
        assert await behind


async def test_a_proof_lasts_ten_seconds(clock: ManualClock) -> None:
    """Within ten seconds of an acceptance nobody waits; afterwards, or after a refusal, one goes ahead again."""
    vanguard = CredentialProbe(now=clock.monotonic)
    vanguard.accepted()
    clock.turn(9.9)
    async with vanguard.turn() as leads:
        assert not leads
    clock.turn(0.1)
    async with vanguard.turn() as leads:
        assert leads
    vanguard.accepted()
    vanguard.refused()
    assert not vanguard.is_proven


async def test_a_vanguard_that_hangs_is_not_waited_for_without_end(clock: ManualClock) -> None:
    """After the patience others follow, and do not take the lead away from the one that hangs."""
    vanguard = CredentialProbe(now=clock.monotonic, patience_s=0.01)
    async with vanguard.turn() as leads:
        assert leads
        async with vanguard.turn() as follows:
            assert not follows
    async with vanguard.turn() as leads:
        assert leads
