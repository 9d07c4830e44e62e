"""Leases are replaced in time, by one refresh for all callers."""

import asyncio

import pytest

from exporter.cloud.auth.lease import Lease, LeaseRenewer
from exporter.cloud.http.errors import Unreachable
from tests.clock import ManualClock

HOUR_S = 3600.0


class Issuer:
    """Issues numbered leases of an hour; it can be made to fail or to wait."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.issued = 0
        self.is_failing = False
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self) -> Lease[int]:
        await self.open.wait()
        if self.is_failing:
            raise Unreachable("issuer", "failing")
        self.issued += 1
        now = self.clock.time()
        return Lease(value=self.issued, obtained_at=now, expires_at=now + HOUR_S)


@pytest.fixture
def issuer(clock: ManualClock) -> Issuer:
    return Issuer(clock)


@pytest.fixture
def renewer(issuer: Issuer, clock: ManualClock) -> LeaseRenewer[int]:
    return LeaseRenewer(issuer.fetch, clock=clock, on_change=lambda _: None)


async def value(renewer: LeaseRenewer[int]) -> int:
    return (await renewer.current()).value


async def test_an_hour_is_replaced_twelve_minutes_before_its_end(
    renewer: LeaseRenewer[int], clock: ManualClock
) -> None:
    """80 % of 60 minutes are 48: until then the first lease is used, from then on the second."""
    assert await value(renewer) == 1
    clock.turn(48 * 60 - 1)
    assert await value(renewer) == 1
    clock.turn(1)
    assert await value(renewer) == 2


async def test_during_a_refresh_other_callers_use_the_valid_lease(
    renewer: LeaseRenewer[int], issuer: Issuer, clock: ManualClock
) -> None:
    """One caller waits for the new lease; other callers get the old one without waiting."""
    assert await value(renewer) == 1
    clock.turn(50 * 60)
    issuer.open.clear()
    one = asyncio.create_task(value(renewer))
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        assert await value(renewer) == 1
    issuer.open.set()
    assert await one == 2


async def test_callers_wait_for_the_successor_of_an_expired_lease(
    renewer: LeaseRenewer[int], issuer: Issuer, clock: ManualClock
) -> None:
    """After its end no caller gets the old lease: all wait for the same new one."""
    assert await value(renewer) == 1
    clock.turn(HOUR_S)
    issuer.open.clear()
    many = [asyncio.create_task(value(renewer)) for _ in range(20)]
    await asyncio.sleep(0)
    issuer.open.set()
    assert await asyncio.gather(*many) == [2] * 20


async def test_a_lease_that_expires_during_a_failed_refresh_is_not_used(
    renewer: LeaseRenewer[int], issuer: Issuer, clock: ManualClock
) -> None:
    """If a refresh fails after the end of the lease, its error is raised."""
    assert await value(renewer) == 1
    clock.turn(HOUR_S - 1)
    issuer.open.clear()
    issuer.is_failing = True
    one = asyncio.create_task(value(renewer))
    await asyncio.sleep(0)
    clock.turn(2)
    issuer.open.set()
    with pytest.raises(Unreachable):
        await one


async def test_the_pause_after_a_failure_ends_with_the_lease(
    renewer: LeaseRenewer[int], issuer: Issuer, clock: ManualClock
) -> None:
    """A refresh that fails 10 s before the end is retried at the end, not 20 s later."""
    assert await value(renewer) == 1
    clock.turn(HOUR_S - 10)
    issuer.is_failing = True
    assert await value(renewer) == 1
    issuer.is_failing = False
    clock.turn(9)
    assert await value(renewer) == 1
    clock.turn(1)
    assert await value(renewer) == 2


async def test_renewing_a_replaced_lease_fetches_nothing(renewer: LeaseRenewer[int], issuer: Issuer) -> None:
    """Renewing a lease that was already replaced fetches nothing."""
    old = await renewer.current()
    assert await renewer.renew(old)
    assert await renewer.renew(old)
    assert issuer.issued == 2


async def test_the_repr_of_a_lease_has_no_value() -> None:
    """The repr of a lease has its times only."""
    assert repr(Lease(value="hunter2", obtained_at=1.0, expires_at=2.0)) == "Lease(obtained_at=1.0, expires_at=2.0)"


async def test_closing_without_a_refresh_does_nothing(renewer: LeaseRenewer[int]) -> None:
    """Closing without a running refresh has no effect."""
    await renewer.close()
    assert await value(renewer) == 1


async def test_closing_cancels_a_running_refresh(renewer: LeaseRenewer[int], issuer: Issuer) -> None:
    """Closing cancels a running refresh, and raises only in the callers that wait for it."""
    issuer.open.clear()
    waiting = asyncio.create_task(value(renewer))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await renewer.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
