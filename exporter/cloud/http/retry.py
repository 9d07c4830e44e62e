"""Retries with exponential backoff and full jitter, within a budget of attempts and of time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from exporter.cloud.http.errors import CloudError, Throttled

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and for how long one call is attempted."""

    attempts: int = 3
    base_s: float = 0.5
    """Longest pause after the first failure; doubled after each further one."""
    cap_s: float = 8.0
    """Longest pause of all, except one that the cloud asks for."""
    total_s: float
    """No attempt starts later than this after the call began. It is less than a poll's deadline, so that the poll
    sees the error of the call and not its own timeout."""


def pause_s(
    error: CloudError, *, attempt: int, spent_s: float, policy: RetryPolicy, jitter: Callable[[], float]
) -> float | None:
    """Seconds to wait after failed attempt number `attempt` (from 1). None: do not retry.

    `jitter` returns a number from 0 to 1. A Retry-After is never shortened: where it does not fit into `total_s`, the
    call fails at once.
    """
    if not error.retryable or attempt >= policy.attempts:
        return None
    wait_s = jitter() * min(policy.cap_s, policy.base_s * 2 ** (attempt - 1))
    if isinstance(error, Throttled) and error.retry_after_s is not None:
        wait_s += error.retry_after_s
    return wait_s if spent_s + wait_s < policy.total_s else None


async def retry(
    send: Callable[[], Awaitable[Result]],
    *,
    policy: RetryPolicy,
    now: Callable[[], float],
    jitter: Callable[[], float],
    is_held: Callable[[], bool],
    on_retry: Callable[[], None],
) -> Result:
    """Call `send` until it succeeds or fails for good; the last CloudError is raised as it is.

    `is_held` says after a failure whether the next attempt would not be sent. `on_retry` is called before each
    further attempt.
    """
    started = now()
    for attempt in count(1):
        try:
            return await send()
        except CloudError as error:
            wait_s = pause_s(error, attempt=attempt, spent_s=now() - started, policy=policy, jitter=jitter)
            if wait_s is None or is_held():
                raise
        await asyncio.sleep(wait_s)
        on_retry()
    raise AssertionError("the loop above has no end")
