"""Time-to-live caches: when a value is due, when it expires, and which requests are held back."""

import pytest

from exporter.cloud.cached import Cached, NegativeCache, is_refusal
from exporter.cloud.http.errors import Denied, Refused, ServerError, Unsupported
from exporter.domain.source import SourceError
from tests.clock import ManualClock


def test_a_value_becomes_due_and_expires_later(clock: ManualClock) -> None:
    """Refreshed after 10 s and kept for 60 s: between them it is due and still returned."""
    cached: Cached[str] = Cached(clock, ttl_s=60, refresh_s=10)
    assert (cached.get(), cached.is_due, cached.stored_at) == (None, True, None)

    cached.set("a")
    assert (cached.get(), cached.is_due, cached.stored_at) == ("a", False, clock.monotonic())
    clock.turn(10)
    assert (cached.get(), cached.is_due) == ("a", True)
    clock.turn(50)
    assert (cached.get(), cached.is_due) == (None, True)


def test_a_value_can_be_dropped_or_get_another_expiry(clock: ManualClock) -> None:
    """`clear` drops the value at once; `ttl_s` of `set` replaces the expiry."""
    cached: Cached[str] = Cached(clock, ttl_s=60)
    cached.set("a")
    cached.clear()
    assert cached.get() is None

    cached.set("b", ttl_s=5)
    clock.turn(5)
    assert cached.get() is None


def test_a_refused_request_is_held_back_until_its_time_is_over(clock: ManualClock) -> None:
    """Each key has its own hour; other keys are not held back."""
    refused = NegativeCache(clock)
    refused.add(["a"])
    clock.turn(1800)
    refused.add(["b"])
    assert ("a" in refused, "b" in refused, "c" in refused) == (True, True, False)

    clock.turn(1800)
    assert ("a" in refused, "b" in refused) == (False, True)


@pytest.mark.parametrize(
    "error, expected",
    [
        pytest.param(Denied("op", "no permission", status=403), True, id="no permission"),
        pytest.param(Unsupported("op", "no such API", status=404), True, id="no such API"),
        pytest.param(Denied("op", "bad signature", status=401), False, id="rejected credential"),
        pytest.param(Denied("credentials", "agency is gone", status=403), False, id="no credential"),
        pytest.param(Denied("op", "the secret cannot be read"), False, id="not sent"),
        pytest.param(Refused("op", "bad parameter", status=400), False, id="bad request"),
        pytest.param(ServerError("op", "down", status=502), False, id="server error"),
    ],
)
def test_a_refusal_concerns_the_call_and_not_the_credential(error: SourceError, expected: bool) -> None:
    """Only a missing API and a missing permission are refusals."""
    assert is_refusal(error, operation="op") is expected
