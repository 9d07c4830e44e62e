"""Asking again: stamina with full jitter, within a budget of attempts and of time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import stamina
from stamina.instrumentation import set_on_retry_hooks

from exporter.cloud.http.errors import CloudError, Throttled

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long one call is tried."""

    attempts: int = 3
    base_s: float = 0.5
    """Upper bound of the pause after the first failure; doubled for each further one."""
    cap_s: float = 8.0
    """Upper bound of every pause, save the one that the cloud asks for."""
    total_s: float = 25.0
    """No attempt starts later than this after the call began: less than a poll's deadline, so that the poll learns
    what went wrong."""


def pause_s(
    error: CloudError, *, attempt: int, spent_s: float, policy: RetryPolicy, jitter: Callable[[], float]
) -> float | None:
    """Seconds to wait after failed attempt number `attempt` (from 1); None: do not ask again.

    `jitter` gives a number from 0 to 1. A pause the cloud asked for is never cut short: where it does not fit into
    the budget, the call fails at once.
    """
    if not error.retryable or attempt >= policy.attempts:
        return None
    wait_s = jitter() * min(policy.cap_s, policy.base_s * 2 ** (attempt - 1))
    if isinstance(error, Throttled) and error.retry_after_s is not None:
        wait_s += error.retry_after_s
    return wait_s if spent_s + wait_s < policy.total_s else None


async def retried(
    work: Callable[[], Awaitable[Result]],
    *,
    policy: RetryPolicy,
    now: Callable[[], float],
    jitter: Callable[[], float],
    is_futile: Callable[[], bool],
    retrying: Callable[[], None],
) -> Result:
    """Do `work` until it succeeds or fails for good; then its own CloudError is raised.

    `is_futile`: after a failure, whether the next attempt would not be sent. `retrying` is told of each further one.

    The first attempt is made without stamina, which hears only of its failure. Each use of it leaves sixty objects,
    5 kB, that refer to each other until the garbage collector comes by: a poll of 300 calls left 1.6 MB of that, and
    the day two such piles met, memory grew by a step that stayed.
    """
    started = now()
    try:
        return await work()
    except CloudError as error:
        if not error.retryable:
            raise
        failed = [error]
    number = 0

    async def attempt() -> Result:
        nonlocal number
        number += 1
        if number == 1:
            raise failed.pop()  # and keep nothing, for its traceback refers to this call
        retrying()
        return await work()

    def pause(error: Exception) -> bool | float:
        if not isinstance(error, CloudError) or is_futile():
            return False
        wait_s = pause_s(error, attempt=number, spent_s=now() - started, policy=policy, jitter=jitter)
        return False if wait_s is None else wait_s

    return await stamina.AsyncRetryingCaller(attempts=policy.attempts, timeout=None)(pause, attempt)


def silence_instrumentation() -> None:
    """Switch off what stamina does by itself at a retry: count in the global registry, and log arguments.

    To be called once, where the program is put together: the setting is stamina's and process-wide.
    """
    set_on_retry_hooks(())
