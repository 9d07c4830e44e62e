"""Each failure of the cloud over a real socket: its error, its outcome, and the number of attempts."""

import asyncio
import gzip
import socket
from collections.abc import Callable

import pytest

from exporter.cloud.http.circuit import CircuitPolicy
from exporter.cloud.http.errors import (
    CircuitOpen,
    CloudError,
    Denied,
    Gone,
    InvalidResponse,
    Refused,
    ServerError,
    Throttled,
    Unreachable,
    Unsupported,
)
from tests.clock import ManualClock
from tests.unit.cloud.account import (
    JOBS,
    JOBS_V1,
    METRICS,
    PAGE,
    RecordingObserver,
    connect,
    make_call,
    options,
    retries,
)
from tests.unit.cloud.scripted_server import (
    ScriptedServer,
    Step,
    flood,
    respond,
    respond_after,
    send_raw,
    trickle,
)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SHORT = {"timeout_s": 0.15}


@pytest.mark.parametrize(
    "step,kind,attempts,words",
    [
        pytest.param(respond(301, None, {"Location": "/x"}), Refused, 1, "redirects are not followed", id="redirect"),
        pytest.param(respond(400, {"error_code": "ModelArts.2764", "error_msg": "bad"}), Refused, 1, "bad", id="400"),
        pytest.param(respond(400, {"error_code": "ModelArts.2775"}), Gone, 1, "ModelArts.2775", id="trap-9-gone"),
        pytest.param(respond(401, {"error_code": "APIG.0301"}), Denied, 1, "APIG.0301", id="401-static-key"),
        pytest.param(respond(403, {"error_code": "APIG.0302"}), Denied, 1, "HTTP 403", id="403"),
        pytest.param(respond(404, {"error_code": "APIG.0101"}), Unsupported, 1, "HTTP 404", id="404"),
        pytest.param(respond(408, {"error_code": "ModelArts.6100"}), ServerError, 3, "HTTP 408", id="408"),
        pytest.param(respond(410), Unsupported, 1, "HTTP 410", id="410"),
        pytest.param(respond(429), Throttled, 3, "HTTP 429", id="429"),
        pytest.param(respond(429, None, {"Retry-After": "0"}), Throttled, 3, "HTTP 429", id="429-retry-after"),
        pytest.param(respond(500, {"error_code": "ModelArts.5039"}), ServerError, 3, "ModelArts.5039", id="500"),
        pytest.param(
            respond(502, b"<html>", {"Content-Type": "text/html"}), ServerError, 3, "text/html", id="html-502"
        ),
        pytest.param(respond(503), ServerError, 3, "HTTP 503", id="503"),
        pytest.param(respond(200, {"is_success": False, "error_code": "M.1"}), Refused, 1, "M.1", id="in-band-200"),
        pytest.param(respond(400, {"is_success": False, "error_code": "M.1"}), Refused, 1, "M.1", id="in-band-400"),
        pytest.param(respond(200, None), InvalidResponse, 1, "an empty body", id="empty-200"),
        pytest.param(respond(204), InvalidResponse, 1, "an empty body", id="204"),
        pytest.param(respond(200, b'{"jobs": ['), InvalidResponse, 1, "truncated", id="truncated-json"),
        pytest.param(respond(200, {"jobs": [{"id": "x"}]}), InvalidResponse, 1, "`$.jobs[0].id`", id="wrong-type"),
        pytest.param(
            respond(200, b"<p>", {"Content-Type": "text/html"}), InvalidResponse, 1, "text/html", id="html-200"
        ),
        pytest.param(send_raw(then="close"), Unreachable, 3, "closed before a response", id="closed-at-once"),
        pytest.param(send_raw(then="reset"), Unreachable, 3, "connection", id="reset-before-headers"),
        pytest.param(
            send_raw(HEAD + b"Content-Length: 9\r\n\r\n{", then="close"), Unreachable, 3, "incomplete", id="cut"
        ),
        pytest.param(
            send_raw(HEAD + b"Content-Length: 9\r\n\r\n{", then="reset"), Unreachable, 3, "", id="reset-in-body"
        ),
        pytest.param(
            send_raw(b"SSH-2.0-OpenSSH\r\n\r\n", then="close"), Unreachable, 3, "not valid HTTP", id="not-http"
        ),
        pytest.param(
            respond(200, b"no gzip", {"Content-Encoding": "gzip"}), Unreachable, 3, "incomplete", id="bad-compression"
        ),
    ],
)
async def test_each_failure_has_its_error_and_its_number_of_attempts(
    *,
    server: ScriptedServer,
    clock: ManualClock,
    observer: RecordingObserver,
    step: Step,
    kind: type[CloudError],
    attempts: int,
    words: str,
) -> None:
    """A call is attempted three times where a retry can help, else once; the outcome of each request is reported."""
    server.on("/", step)

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        with pytest.raises(CloudError) as caught:
            await client.call(JOBS_V1)

    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert len(server.received) == attempts
    assert observer.calls == [("list_jobs", kind.outcome)] * attempts
    assert observer.retries == ["list_jobs"] * (attempts - 1)
    assert observer.throttles == (attempts if kind is Throttled else 0)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(send_raw(then="hang"), id="before-headers"),
        pytest.param(send_raw(HEAD, then="hang"), id="in-headers"),
        pytest.param(send_raw(HEAD + b'Content-Length: 99\r\n\r\n{"jobs"', then="hang"), id="in-body"),
        pytest.param(trickle(), id="slow-trickle"),
        pytest.param(trickle(500), id="slow-trickle-of-a-failure"),
    ],
)
async def test_the_timeout_covers_connect_headers_and_body(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, step: Step
) -> None:
    """Wherever the response hangs, the call ends at the timeout of one request."""
    server.on("/", step)
    once = retries(attempts=1)

    async with connect(options(server.url, retry=once, **SHORT), clock=clock, observer=observer) as client:
        async with asyncio.timeout(2):
            with pytest.raises(Unreachable, match=r"no complete response within 0\.15 s"):
                await client.call(JOBS)

    assert observer.calls == [("list_jobs", "unreachable")]


async def test_the_timeout_of_the_caller_cancels_a_call(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """The timeout of a poll ends the call with TimeoutError; the request is reported as unreachable."""
    server.on("/", send_raw(then="hang"))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.call(JOBS)

    assert observer.calls == [("list_jobs", "unreachable")]


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "endless"])
async def test_an_oversized_response_is_not_read_to_its_end(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, announced: bool
) -> None:
    """A response is dropped as soon as it exceeds the limit, and the call is not retried."""
    server.on("/", flood(announced=announced))

    async with connect(options(server.url, max_response_bytes=100_000), clock=clock, observer=observer) as client:
        with pytest.raises(InvalidResponse, match="larger than 100000 bytes"):
            await client.call(JOBS)

    assert len(server.received) == 1


async def test_the_limit_applies_to_the_decompressed_size(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Ten million zeros compress to ten kB; the limit applies to the decompressed size."""
    server.on("/", respond(200, gzip.compress(b"0" * 10_000_000), {"Content-Encoding": "gzip"}))

    async with connect(options(server.url, max_response_bytes=100_000), clock=clock, observer=observer) as client:
        with pytest.raises(InvalidResponse, match="larger than 100000 bytes"):
            await client.call(JOBS)


async def test_an_oversized_error_response_keeps_its_error(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A 503 with an endless body is a ServerError: the status is enough."""
    server.on("/", flood(503))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        with pytest.raises(ServerError, match="HTTP 503"):
            await client.call(JOBS)


async def test_redirects_are_not_followed(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A redirect to another host fails the call, and nothing is sent to the other host."""
    async with ScriptedServer() as other:
        other.on("/", respond(200, PAGE))
        server.on("/", respond(307, None, {"Location": f"{other.url}/elsewhere"}))

        async with connect(options(server.url), clock=clock, observer=observer) as client:
            with pytest.raises(Refused, match="redirects are not followed"):
                await client.call(JOBS)

        assert len(server.received) == 1
        assert other.received == []


async def test_connection_refused(clock: ManualClock, observer: RecordingObserver) -> None:
    """A refused connection is Unreachable and retried, and the text says so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connecting is refused
        async with connect(
            options(f"http://127.0.0.1:{taken.getsockname()[1]}"), clock=clock, observer=observer
        ) as client:
            with pytest.raises(Unreachable, match="list_jobs: unreachable: no connection: "):
                await client.call(JOBS)

    assert observer.calls == [("list_jobs", "unreachable")] * 3


async def test_a_name_that_does_not_resolve(clock: ManualClock, observer: RecordingObserver) -> None:
    """A host without an address is Unreachable, and the text says so; .invalid never resolves (RFC 6761)."""
    async with connect(options("http://modelarts.invalid"), clock=clock, observer=observer) as client:
        with pytest.raises(Unreachable, match="the host name does not resolve"):
            await client.call(JOBS)


async def test_a_retry_has_a_new_signature(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """After a 503 the second attempt succeeds; it is signed with its own date."""

    async def breaks(_: object, writer: asyncio.StreamWriter) -> None:
        clock.turn(1.0)
        await respond(503)(server.received[0], writer)

    server.on("/", breaks, respond(200, PAGE))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)

    first, second = server.received
    assert first.headers["x-sdk-date"] == "20231114T221320Z"
    assert second.headers["x-sdk-date"] == "20231114T221321Z"
    assert first.headers["authorization"] != second.headers["authorization"]
    assert observer.calls == [("list_jobs", "server_error"), ("list_jobs", "ok")]


async def test_a_short_retry_after_is_waited_for(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Trap 35: the second attempt starts no earlier than Retry-After, 0.2 s after the first."""
    loop = asyncio.get_running_loop()
    at: list[float] = []

    async def throttles(_: object, writer: asyncio.StreamWriter) -> None:
        at.append(loop.time())
        await respond(429, None, {"Retry-After": "0.2"})(server.received[0], writer)

    async def accepts(_: object, writer: asyncio.StreamWriter) -> None:
        at.append(loop.time())
        await respond(200, PAGE)(server.received[0], writer)

    server.on("/", throttles, accepts)

    async with connect(options(server.url), clock=SumOf(clock, loop.time), observer=observer) as client:
        assert await client.call(JOBS)

    assert at[1] - at[0] >= 0.2


class SumOf:
    """A manual clock plus a running one."""

    def __init__(self, manual: ManualClock, running: Callable[[], float]) -> None:
        self._manual = manual
        self._running = running

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._manual.time() + self._running()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._manual.monotonic() + self._running()


async def test_a_long_retry_after_fails_at_once_and_applies_to_later_calls(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """With a Retry-After of 60 s and a budget of 25 s the call fails at once; for 60 s the operation is not sent."""
    server.on("/", respond(429, None, {"Retry-After": "3600"}), respond(200, PAGE))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        with pytest.raises(Throttled) as first:
            await client.call(JOBS)
        clock.turn(30.0)
        with pytest.raises(Throttled, match="not sent") as second:
            await client.call(JOBS)
        assert await client.call(METRICS)  # another operation is not affected
        clock.turn(30.0)
        assert await client.call(JOBS)

    assert first.value.retry_after_s == 60.0
    assert second.value.retry_after_s == 30.0
    assert [outcome for _, outcome in observer.calls] == ["throttled", "ok", "ok"]
    assert observer.withheld == [("list_jobs", "throttled")]


async def test_the_circuit_opens_and_closes(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Five requests without a response open the circuit; nothing is sent for 30 s; a successful trial closes it."""
    server.on("/", send_raw(then="close"))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        for _ in range(2):  # 3 attempts, then 2 more until the fifth failure
            with pytest.raises(Unreachable):
                await client.call(JOBS)
        assert len(server.received) == 5
        with pytest.raises(CircuitOpen, match="too many calls failed in a row; the next trial may start in 30 s"):
            await client.call(JOBS)
        clock.turn(29.0)
        with pytest.raises(CircuitOpen):
            await client.call(JOBS)
        assert len(server.received) == 5
        clock.turn(1.0)
        with pytest.raises(Unreachable):
            await client.call(JOBS)
        assert len(server.received) == 6  # a trial is not retried
        clock.turn(59.0)  # the pause has doubled
        with pytest.raises(CircuitOpen):
            await client.call(JOBS)
        clock.turn(1.0)
        server.on("/", respond(200, PAGE))
        assert await client.call(JOBS)
        assert await client.call(JOBS)

    assert observer.circuit == [False, True, False]
    assert ("list_jobs", "circuit_open") not in observer.calls


async def test_a_failing_operation_leaves_the_others_alone(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """While the circuit of one operation is open, other operations are sent as usual."""
    server.on("/v1/", respond(429)).on("/v2/", respond(200, PAGE))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        for _ in range(2):
            with pytest.raises(Throttled):
                await client.call(JOBS)
        with pytest.raises(CircuitOpen):
            await client.call(JOBS)
        assert await client.call(METRICS)


async def test_a_burst_of_server_errors_does_not_open_the_circuit(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Nine 500s in a burst may concern single objects: a tenth call is sent. If they last, the circuit opens."""
    server.on("/", respond(500))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        for _ in range(3):
            with pytest.raises(ServerError):
                await client.call(METRICS)
        clock.turn(15.0)
        with pytest.raises(ServerError):
            await client.call(METRICS)
        with pytest.raises(CircuitOpen):
            await client.call(METRICS)

    assert len(server.received) == 3 * 3 + 1


async def test_one_trial_at_a_time(server: ScriptedServer, clock: ManualClock, observer: RecordingObserver) -> None:
    """While a trial is running other calls are held back; if it is cancelled, the next call is the trial."""
    gate = asyncio.Event()
    given = options(server.url, circuit=CircuitPolicy(failure_threshold=1), retry=retries(attempts=1))
    server.on("/", send_raw(then="close"), send_raw(then="hang"), respond_after(gate, respond(200, PAGE)))

    async with connect(given, clock=clock, observer=observer) as client:
        with pytest.raises(Unreachable):
            await client.call(JOBS)
        clock.turn(30.0)
        cancelled = asyncio.create_task(make_call(client, JOBS))
        await server.until_received(2)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        trial = asyncio.create_task(make_call(client, JOBS))
        await server.until_received(3)
        with pytest.raises(CircuitOpen, match="in 0 s"):
            await client.call(JOBS)
        gate.set()
        assert await trial

    assert len(server.received) == 3


async def test_no_exception_of_the_http_library_is_chained(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Errors have no chained exception of the HTTP library: these hold the headers of the request."""
    server.on("/", send_raw(then="close"))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        with pytest.raises(Unreachable) as caught:
            await client.call(JOBS)

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
