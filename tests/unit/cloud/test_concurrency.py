"""The worker pool: its width, its order, and when it stops."""

import asyncio

import pytest

from exporter.cloud.concurrency import OutOfTime, for_each


async def test_so_many_items_run_at_once_in_order() -> None:
    """Five items, two at a time: each is done once, in order, and never more than two are in progress."""
    running, most, done = 0, 0, []

    async def work(item: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done.append(item)

    await for_each(range(5), work, width=2)

    assert done == [0, 1, 2, 3, 4]
    assert most == 2


async def test_after_stop_no_further_item_begins() -> None:
    """`stop` is called before each item; items in progress are finished."""
    done: list[int] = []

    async def work(item: int) -> None:
        done.append(item)

    await for_each(range(5), work, width=1, stop=lambda: len(done) == 2)

    assert done == [0, 1]


async def test_an_error_cancels_the_other_items() -> None:
    """The exception of one item cancels the ones in progress, and is raised in a group."""
    cancelled: list[int] = []

    async def work(item: int) -> None:
        if item == 0:
            raise ValueError(item)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    with pytest.raises(ExceptionGroup) as raised:
        await for_each([1, 0], work, width=2)

    assert [type(error) for error in raised.value.exceptions] == [ValueError]
    assert cancelled == [1]


def test_out_of_time_names_the_operation_and_is_final() -> None:
    """One sentence with the number of requests; every further request of the poll is too late as well."""
    assert str(OutOfTime("op")) == "op: unreachable: request not sent: no time left in this poll"
    assert str(OutOfTime("op", requests=3)) == "op: unreachable: 3 requests not sent: no time left in this poll"
    assert OutOfTime("op").is_final
