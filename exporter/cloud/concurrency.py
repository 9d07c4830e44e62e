"""Running one piece of work for many items, a few at a time, and stopping when a poll has no time left."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from exporter.cloud.http.errors import Unreachable

Item = TypeVar("Item")


class OutOfTime(Unreachable):
    """A request was not sent because the poll's deadline has passed."""

    def __init__(self, operation: str, *, requests: int = 1) -> None:
        sent = "request" if requests == 1 else f"{requests} requests"
        super().__init__(operation, f"{sent} not sent: no time left in this poll")

    @property
    def is_final(self) -> bool:
        """Every further request of the poll is too late as well."""
        return True


async def for_each(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[None]],
    *,
    width: int,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Do the work for each item in order, at most `width` at a time; once `stop()` is true, start no further item.

    An exception of `work` cancels the rest and is raised in an ExceptionGroup.
    """
    queue = iter(items)

    async def worker() -> None:
        for item in queue:  # shared by the workers: each item is taken once
            if stop():
                return
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(worker())
