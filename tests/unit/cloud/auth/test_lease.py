"""A lease is replaced in time, by one, for all."""

import asyncio

import pytest

from exporter.cloud.auth.lease import Lease, LeaseRenewer
from exporter.cloud.http.errors import Unreachable
from tests.clock import ManualClock

HOUR_S = 3600.0


class Office:
    """Hands out numbered leases of an hour; can be closed, or made to wait."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.issued = 0
        self.is_closed = False
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self) -> Lease[int]:
        await self.open.wait()
        if self.is_closed:
            raise Unreachable("office", "closed")
        self.issued += 1
        now = self.clock.time()
        return Lease(value=self.issued, obtained_at=now, expires_at=now + HOUR_S)


@pytest.fixture
def office(clock: ManualClock) -> Office:
    return Office(clock)


@pytest.fixture
def renewer(office: Office, clock: ManualClock) -> LeaseRenewer[int]:
    return LeaseRenewer(office.fetch, clock=clock, on_change=lambda _: None)


async def value(renewer: LeaseRenewer[int]) -> int:
    return (await renewer.current()).value


async def test_an_hour_is_replaced_twelve_minutes_before_its_end(
    renewer: LeaseRenewer[int], clock: ManualClock
) -> None:
    """80 % of 60 minutes are 48: until then the first lease serves, from then on the second."""
    assert await value(renewer) == 1
    clock.turn(48 * 60 - 1)
    assert await value(renewer) == 1
    clock.turn(1)
    assert await value(renewer) == 2


async def test_during_a_refresh_others_use_what_is_still_valid(
    renewer: LeaseRenewer[int], office: Office, clock: ManualClock
) -> None:
    """One waits for the new lease; whoever comes meanwhile gets the old one without waiting."""
    assert await value(renewer) == 1
    clock.turn(50 * 60)
    office.open.clear()
    one = asyncio.create_task(value(renewer))
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        assert await value(renewer) == 1
    office.open.set()
    assert await one == 2


async def test_a_lease_that_ran_out_is_waited_for(
    renewer: LeaseRenewer[int], office: Office, clock: ManualClock
) -> None:
    """After its end nobody gets the old lease: all wait for the same new one."""
    assert await value(renewer) == 1
    clock.turn(HOUR_S)
    office.open.clear()
    many = [asyncio.create_task(value(renewer)) for _ in range(20)]
    await asyncio.sleep(0)
    office.open.set()
    assert await asyncio.gather(*many) == [2] * 20


async def test_a_lease_that_runs_out_during_a_failed_refresh_is_not_used(
    renewer: LeaseRenewer[int], office: Office, clock: ManualClock
) -> None:
    """The refresh began in time and failed after the end: the failure is raised."""
    assert await value(renewer) == 1
    clock.turn(HOUR_S - 1)
    office.open.clear()
    office.is_closed = True
    one = asyncio.create_task(value(renewer))
    await asyncio.sleep(0)
    clock.turn(2)
    office.open.set()
    with pytest.raises(Unreachable):
        await one


async def test_the_pause_after_a_failure_ends_with_the_lease(
    renewer: LeaseRenewer[int], office: Office, clock: ManualClock
) -> None:
    """A refresh that fails 10 s before the end is tried again at the end, not 20 s after it."""
    assert await value(renewer) == 1
    clock.turn(HOUR_S - 10)
    office.is_closed = True
    assert await value(renewer) == 1
    office.is_closed = False
    clock.turn(9)
    assert await value(renewer) == 1
    clock.turn(1)
    assert await value(renewer) == 2


async def test_an_old_refusal_asks_for_nothing(renewer: LeaseRenewer[int], office: Office) -> None:
    """Whoever was refused with a lease that others have replaced already just takes the new one."""
    old = await renewer.current()
    assert await renewer.renew(old)
    assert await renewer.renew(old)
    assert office.issued == 2


async def test_a_lease_shows_no_value() -> None:
    """The repr of a lease holds its times only."""
    assert repr(Lease(value="hunter2", obtained_at=1.0, expires_at=2.0)) == "Lease(obtained_at=1.0, expires_at=2.0)"


async def test_closing_without_a_refresh_does_nothing(renewer: LeaseRenewer[int]) -> None:
    """There may be nothing to stop."""
    await renewer.close()
    assert await value(renewer) == 1


async def test_closing_swallows_the_failure_of_what_it_stops(renewer: LeaseRenewer[int], office: Office) -> None:
    """A refresh that is cut off at the end disturbs nobody but those who wait for it."""
    office.open.clear()
    waiting = asyncio.create_task(value(renewer))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await renewer.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
