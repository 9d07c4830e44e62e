"""No failure shows a secret at debug level: not in logs, error texts, reprs or tracebacks."""

import asyncio
import logging
import traceback
from collections.abc import Iterator

import pytest
import structlog

from exporter.settings import AkSk, Credentials, Metadata, Password, Secret
from tests.clock import ManualClock
from tests.unit.cloud.account import JOBS_V1, PAGE, Options, RecordingObserver, connect, make_call, options
from tests.unit.cloud.scripted_server import ReceivedRequest, ScriptedServer, Step, respond, send_raw

ACCESS_KEY = "INVENTEDKEYNOBODYSEES"
SECRET_KEY = "InventedSecretThatNobodyMaySee"
SECURITY_TOKEN = "InventedSecurityTokenNobodySees"
PASSWORD = "InventedPasswordNobodySees"
TOKEN = "InventedTokenNobodySees"
BODY = "InventedBodyNobodySees"
SECRETS = (ACCESS_KEY, SECRET_KEY, SECURITY_TOKEN, PASSWORD, TOKEN, BODY)

CREDENTIALS: dict[str, Credentials] = {
    "aksk": AkSk(access_key=Secret(ACCESS_KEY), secret_key=Secret(SECRET_KEY), security_token=Secret(SECURITY_TOKEN)),
    "password": Password(username=Secret("ivy"), password=Secret(PASSWORD), domain_name=Secret("INVENTED-DOMAIN")),
    "metadata": Metadata(),
}


def echo(status: int) -> Step:
    """Repeat the whole request, headers and body, in the message, as some gateways do."""

    async def step(received: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        echoed = f"{dict(received.headers)} {received.body.decode()}"
        await respond(status, {"error_code": "APIG.0301", "error_msg": echoed, "is_success": False})(received, writer)

    return step


def wrong_value() -> Step:
    return respond(200, {"jobs": [{"id": BODY}], "note": BODY})


FAULTS = {
    "echo-400": echo(400),
    "echo-401": echo(401),
    "echo-429": echo(429),
    "echo-500": echo(500),
    "echo-in-band": echo(200),
    "html": respond(502, f"<p>{BODY}</p>".encode(), {"Content-Type": "text/html"}),
    "wrong-value": wrong_value(),
    "truncated": respond(200, f'{{"note": "{BODY}'.encode()),
    "closed": send_raw(then="close"),
    "reset": send_raw(then="reset"),
    "hang": send_raw(then="hang"),
    "good": respond(200, PAGE),
}


class Tape(logging.Handler):
    """Records every line of the standard library's loggers."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Record it, with its traceback."""
        self.lines.append(self.format(record))


@pytest.fixture
def tape() -> Iterator[Tape]:
    tape = Tape()
    root = logging.getLogger()
    level = root.level
    root.addHandler(tape)
    root.setLevel(logging.DEBUG)
    yield tape
    root.removeHandler(tape)
    root.setLevel(level)


def prepared(server: ScriptedServer, kind: str) -> Options:
    if kind == "metadata":
        key = {"access": ACCESS_KEY, "secret": SECRET_KEY, "securitytoken": SECURITY_TOKEN}
        server.on("/meta-data/", respond(200, TOKEN.encode()))
        server.on("/openstack/", respond(200, {"credential": {**key, "expires_at": "2023-11-14T23:13:20Z"}}))
    if kind == "password":
        issued = {"token": {"expires_at": "2023-11-15T22:13:20Z", "project": {"id": "0123456789abcdef" * 2}}}
        server.on("/v3/", respond(201, issued, {"X-Subject-Token": TOKEN}))
    return options(server.url, credentials=CREDENTIALS[kind], metadata_url=server.url, timeout_s=0.1)


async def all_texts(given: Options, clock: ManualClock, observer: RecordingObserver) -> str:
    """Return all texts of the calls: errors with tracebacks, attributes and chain, reprs, structured logs."""
    texts = [repr(given)]
    with structlog.testing.capture_logs() as lines:
        async with connect(given, clock=clock, observer=observer) as client:
            for _ in range(2):
                try:
                    texts.append(repr(await make_call(client, JOBS_V1)))
                except Exception as error:  # noqa: BLE001 - the text of any exception is checked
                    seen: BaseException | None = error
                    while seen is not None:
                        texts += [str(seen), repr(seen), repr(vars(seen)), *traceback.format_exception(seen)]
                        seen = seen.__cause__ or seen.__context__
            texts += [repr(client), repr(vars(client))]
    return "\n".join([*texts, *map(repr, lines)])


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", CREDENTIALS)
async def test_no_fault_shows_a_secret(
    *, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, tape: Tape, kind: str, fault: str
) -> None:
    """For each kind of credentials and each failure no text has a secret, and each request has one line of log."""
    given = prepared(server, kind)
    server.on("/v1/", FAULTS[fault])

    texts = await all_texts(given, clock, observer)

    texts += "\n".join(tape.lines)
    assert [secret for secret in SECRETS if secret in texts] == []
    assert [f"Signature={piece}" for piece in signatures(server) if piece in texts] == []
    assert texts.count("'event': 'call.finished'") == len(observer.calls) > 0


@pytest.mark.parametrize("fault", ["echo-400", "echo-401", "echo-500", "closed", "html", "truncated"])
async def test_no_fault_of_iam_shows_a_secret(
    *, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, tape: Tape, fault: str
) -> None:
    """IAM may repeat the login it received, including the password; no text does."""
    given = prepared(server, "password")
    server.on("/v3/", FAULTS[fault])

    texts = await all_texts(given, clock, observer) + "\n".join(tape.lines)

    assert [secret for secret in SECRETS if secret in texts] == []


@pytest.mark.parametrize("fault", ["echo-400", "echo-401", "echo-500", "closed", "html", "truncated"])
async def test_no_fault_of_the_metadata_service_shows_a_secret(
    *, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, tape: Tape, fault: str
) -> None:
    """The metadata service may repeat the session token it received; no text does."""
    given = prepared(server, "metadata")
    server.on("/openstack/", FAULTS[fault])

    texts = await all_texts(given, clock, observer) + "\n".join(tape.lines)

    assert [secret for secret in SECRETS if secret in texts] == []


def signatures(server: ScriptedServer) -> list[str]:
    return [
        request.headers["authorization"].rpartition("=")[2]
        for request in server.received
        if "authorization" in request.headers
    ]
