"""When a call is retried, after which pause, and when not."""

import asyncio
import gc
from contextlib import suppress

import pytest
from multidict import CIMultiDict

from exporter.cloud.http.errors import (
    CircuitOpen,
    CloudError,
    Denied,
    InvalidResponse,
    Refused,
    ServerError,
    Throttled,
    Unreachable,
)
from exporter.cloud.http.response import Response, read_response
from exporter.cloud.http.retry import RetryPolicy, pause_s, retry
from tests.clock import ManualClock

POLICY = RetryPolicy(attempts=4, base_s=1.0, cap_s=3.0, total_s=20.0)


@pytest.mark.parametrize(
    "attempt,jitter,wait_s",
    [
        pytest.param(1, 1.0, 1.0, id="first"),
        pytest.param(2, 1.0, 2.0, id="doubled"),
        pytest.param(3, 1.0, 3.0, id="capped"),
        pytest.param(2, 0.25, 0.5, id="full-jitter"),
        pytest.param(2, 0.0, 0.0, id="zero"),
        pytest.param(4, 1.0, None, id="last-attempt"),
    ],
)
def test_pauses_grow_with_full_jitter(attempt: int, jitter: float, wait_s: float | None) -> None:
    """The pause is a random part of 1, 2, 4… s, at most 3 s; the last attempt is not followed by one."""
    error = ServerError("op", "x")
    assert pause_s(error, attempt=attempt, spent_s=0.0, policy=POLICY, jitter=lambda: jitter) == wait_s


@pytest.mark.parametrize(
    "error,is_retried",
    [
        (Unreachable("op", "x"), True),
        (Throttled("op", "x"), True),
        (ServerError("op", "x"), True),
        (Denied("op", "x"), False),
        (Refused("op", "x"), False),
        (InvalidResponse("op", "x"), False),
        (CircuitOpen("op", "x"), False),
    ],
    ids=lambda value: value.outcome if isinstance(value, CloudError) else "",
)
def test_only_temporary_errors_are_retried(error: CloudError, is_retried: bool) -> None:
    """Only errors that may be temporary are retried."""
    assert (pause_s(error, attempt=1, spent_s=0.0, policy=POLICY, jitter=lambda: 0.5) is not None) is is_retried


@pytest.mark.parametrize(
    "retry_after_s,spent_s,wait_s",
    [
        pytest.param(5.0, 0.0, 5.5, id="plus-jitter"),
        pytest.param(0.0, 0.0, 0.5, id="at-once"),
        pytest.param(None, 0.0, 0.5, id="absent"),
        pytest.param(5.0, 14.4, 5.5, id="just-fits"),
        pytest.param(5.0, 14.5, None, id="does-not-fit"),
        pytest.param(60.0, 0.0, None, id="too-long"),
    ],
)
def test_retry_after_is_never_shortened(retry_after_s: float | None, spent_s: float, wait_s: float | None) -> None:
    """The pause is Retry-After plus jitter; if it does not fit into 20 s there is no retry."""
    error = Throttled("op", "x", retry_after_s=retry_after_s)
    assert pause_s(error, attempt=1, spent_s=spent_s, policy=POLICY, jitter=lambda: 0.5) == wait_s


async def run(work: object, clock: ManualClock, *, held: bool = False, retries: list[int] | None = None) -> object:
    return await retry(
        work,  # type: ignore[arg-type] # each test's own work
        policy=RetryPolicy(attempts=3, base_s=0.001, total_s=20.0),
        now=clock.monotonic,
        jitter=lambda: 1.0,
        is_held=lambda: held,
        on_retry=lambda: retries.append(1) if retries is not None else None,
    )


async def test_the_last_error_is_raised(clock: ManualClock) -> None:
    """After three attempts the third error is raised, unwrapped; `on_retry` was called before each retry."""
    made: list[CloudError] = []
    retries: list[int] = []

    async def work() -> None:
        made.append(ServerError("op", f"number {len(made) + 1}"))
        raise made[-1]

    with pytest.raises(ServerError, match="number 3") as caught:
        await run(work, clock, retries=retries)

    assert caught.value is made[2]
    assert len(retries) == 2


async def test_no_pause_while_the_circuit_is_open(clock: ManualClock) -> None:
    """If the circuit has opened, the first error is raised without a pause."""
    calls = []

    async def work() -> None:
        calls.append(1)
        raise ServerError("op", "x")

    with pytest.raises(ServerError):
        await run(work, clock, held=True)

    assert len(calls) == 1


async def test_no_attempt_starts_after_the_time_budget(clock: ManualClock) -> None:
    """A first attempt that took 20 s of 20 s is not followed by another one."""
    calls = []

    async def work() -> None:
        calls.append(1)
        clock.turn(20.0)
        raise Unreachable("op", "x")

    with pytest.raises(Unreachable):
        await run(work, clock)

    assert len(calls) == 1


async def test_other_exceptions_are_not_retried(clock: ManualClock) -> None:
    """An exception that is not a CloudError is not retried."""
    calls = []

    async def work() -> None:
        calls.append(1)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await run(work, clock)

    assert len(calls) == 1


@pytest.mark.parametrize("status", [200, 403, 404])
async def test_a_failed_call_leaves_nothing_to_the_garbage_collector(clock: ManualClock, status: int) -> None:
    """A failed call leaves no reference cycles: they would fill memory until the garbage collector runs."""

    async def work() -> object:
        return read_response(
            Response(status=status, headers=CIMultiDict(), body=b"{}"), dict, operation="op", now=0.0
        )

    async def call() -> None:
        with suppress(CloudError):
            await run(work, clock)

    await call()
    gc.collect()
    gc.disable()
    try:
        await call()
        assert gc.collect() == 0
    finally:
        gc.enable()


async def test_a_pause_can_be_cancelled(clock: ManualClock) -> None:
    """Cancelling during the pause ends the call at once."""

    async def work() -> None:
        raise Throttled("op", "x", retry_after_s=19.0)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await run(work, clock)
