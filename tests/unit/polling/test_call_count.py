"""Calls count towards the poll that makes them."""

import asyncio

from exporter.polling.call_count import count_call, count_calls


async def test_calls_of_tasks_count_for_the_block_that_started_them() -> None:
    """Two concurrent polls count their own calls, in whichever of their tasks these are made."""

    async def poll(calls: int) -> int:
        with count_calls() as counted:
            async with asyncio.TaskGroup() as group:
                for _ in range(calls):
                    group.create_task(call())
        return counted.calls

    async def call() -> None:
        await asyncio.sleep(0)
        count_call()

    assert list(await asyncio.gather(poll(2), poll(3))) == [2, 3]


def test_a_block_counts_the_blocks_inside_it() -> None:
    """The cost of a run is the sum of its polls and of the calls between them."""
    with count_calls() as outer:
        count_call()
        with count_calls() as inner:
            count_call()
            count_call()
    assert (inner.calls, outer.calls) == (2, 3)


def test_a_call_outside_any_poll_is_ignored() -> None:
    """Credentials may be renewed between polls: that is no error."""
    count_call()
