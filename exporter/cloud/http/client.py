"""Calls of one target: paced, authorized, retried, held back while the cloud is down, and decoded."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import msgspec

from exporter.cloud.auth.auth import Auth, SignedHeaders
from exporter.cloud.auth.credentials import CREDENTIALS
from exporter.cloud.http import response
from exporter.cloud.http.circuit import LOCKOUT, Circuit, CircuitPolicy, Ticket
from exporter.cloud.http.endpoint import Answer, Endpoint
from exporter.cloud.http.errors import CircuitOpen, CloudError, ServerError, Throttled, Unreachable
from exporter.cloud.http.limit import CredentialProbe, Limits
from exporter.cloud.http.observer import Observer
from exporter.cloud.http.request import Request, filled, query_text
from exporter.cloud.http.response import refused_credential
from exporter.cloud.http.retry import RetryPolicy, retry
from exporter.cloud.http.transport import HttpTransport
from exporter.domain.source import Clock

_A_MOMENT_S = 0.05  # timers may fire a little early


@dataclass(slots=True, kw_only=True)
class _Passage:
    """Leave to make one call, under both circuits, and how often its credential was refused."""

    lockout: Ticket
    circuit: Ticket
    refusals: int = 0


class ApiClient:
    """Makes the calls of one target: `cloud.endpoint.Caller` over HTTP.

    Each operation has a circuit of its own, so that a failing one leaves the others alone; refused credentials
    concern all of them.
    """

    def __init__(
        self,
        *,
        project: str,
        endpoint: str,
        auth: Auth,
        transport: HttpTransport,
        limits: Limits,
        clock: Clock,
        observer: Observer,
        retry_policy: RetryPolicy,
        circuit: CircuitPolicy,
        jitter: Callable[[], float],
    ) -> None:
        self._project = project
        self._endpoint = endpoint
        self._auth = auth
        self._exchange = transport
        self._limits = limits
        self._clock = clock
        self._observer = observer
        self._retry_policy = retry_policy
        self._jitter = jitter
        self._vanguard = CredentialProbe(now=clock.monotonic)
        self._lockout = Circuit(LOCKOUT, now=clock.monotonic)
        self._policy = circuit
        self._circuits: dict[str, Circuit] = {}
        self._hold_until: dict[str, float] = {}
        self._was_open = False
        observer.circuit_changed(project=project, is_open=False)

    async def project_id(self) -> str:
        """Give the project's id in the cloud. Raises CloudError where IAM must tell it and does not."""
        return await self._auth.project_id()

    async def call(
        self,
        endpoint: Endpoint[Answer],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer | None:
        """Send one request, again where that can help, and decode its answer.

        None only where the endpoint may be empty. Raises CloudError. Whoever has less time than the retries may take
        puts `asyncio.timeout` around it.
        """
        return await retry(
            partial(
                self._attempt,
                endpoint,
                path=path or {},
                query=query_text(query or {}),
                body=b"" if body is None else msgspec.json.encode(body),
            ),
            policy=self._retry_policy,
            now=self._clock.monotonic,
            jitter=self._jitter,
            is_held=lambda: self._held_s(endpoint.name) is not None,
            on_retry=lambda: self._observer.call_retried(project=self._project, operation=endpoint.name),
        )

    async def _attempt(
        self, endpoint: Endpoint[Answer], *, path: Mapping[str, str], query: str, body: bytes
    ) -> Answer | None:
        self._check_held(endpoint.name)  # before queueing; and again when it is our turn
        hold_s = self._hold_until.get(endpoint.name, 0.0) - self._clock.monotonic()
        if hold_s > _A_MOMENT_S:
            detail = "not sent: the cloud asked to wait longer"
            raise self._withheld(Throttled(endpoint.name, detail, retry_after_s=hold_s), endpoint.name)
        async with self._limits.slot(endpoint.name), self._vanguard.turn() as leads:
            with self._passage(endpoint.name) as passage:
                project_id = await self._auth.project_id()
                request = Request(
                    operation=endpoint.name,
                    method=endpoint.method,
                    base=self._endpoint,
                    path=filled(endpoint.path, {"project_id": project_id, **path}),
                    query=query,
                    headers={"Content-Type": "application/json"} if body else {},
                    body=body,
                )
                await self._limits.pace()
                grant = await self._auth.authorize(request)
                try:
                    return await self._sent(endpoint, request, grant)
                except CloudError as error:
                    if not refused_credential(error) or not await self._renewed(grant):
                        raise
                    denied = error
                passage.refusals = 1
                async with nullcontext() if leads else self._vanguard.turn():
                    if self._lockout.held_s() is not None and not passage.lockout.is_trial:
                        raise denied
                    await self._limits.pace()
                    return await self._sent(endpoint, request, await self._auth.authorize(request))

    async def _sent(self, endpoint: Endpoint[Answer], request: Request, grant: SignedHeaders) -> Answer | None:
        return await self._exchange.ask(
            request,
            headers=grant.headers,
            read=lambda reply: response.read(
                reply,
                endpoint.answer,
                operation=endpoint.name,
                now=self._clock.time(),
                in_band_failure=endpoint.in_band_failure,
                may_be_empty=endpoint.may_be_empty,
                unsaid=grant.unsaid,
            ),
        )

    async def _renewed(self, refused: SignedHeaders) -> bool:
        self._vanguard.refused()
        return await self._auth.renew(refused)

    @contextmanager
    def _passage(self, operation: str) -> Iterator[_Passage]:
        """Let one call through both circuits, and tell them how it went. Raises Paused when one is open."""
        self._check_held(operation)
        circuit = self._circuit(operation)
        passage = _Passage(lockout=self._lockout.admit(), circuit=circuit.admit())
        try:
            yield passage
        except CloudError as error:
            self._learn(error, passage, circuit, operation)
            if error.operation == CREDENTIALS:
                self._withheld(error, operation)
            raise
        except BaseException:
            self._lockout.abandoned(passage.lockout)
            circuit.abandoned(passage.circuit)
            raise
        else:
            self._vanguard.accepted()
            self._lockout.answered(passage.lockout)
            circuit.answered(passage.circuit)
        finally:
            self._tell_circuits()

    def _learn(self, error: CloudError, passage: _Passage, circuit: Circuit, operation: str) -> None:
        passage.refusals += refused_credential(error)
        if passage.refusals:
            self._vanguard.refused()
            self._lockout.failed(passage.lockout, times=passage.refusals)
        else:
            self._lockout.abandoned(passage.lockout)
        ours = error.operation == operation  # and not that of a call for credentials
        if isinstance(error, Throttled) and ours and error.retry_after_s is not None:
            self._hold_until[operation] = self._clock.monotonic() + error.retry_after_s
        if isinstance(error, Unreachable | Throttled | ServerError):
            circuit.failed(passage.circuit, single=isinstance(error, ServerError))
        elif ours:
            circuit.answered(passage.circuit)
        else:
            circuit.abandoned(passage.circuit)

    def _circuit(self, operation: str) -> Circuit:
        if operation not in self._circuits:
            self._circuits[operation] = Circuit(self._policy, now=self._clock.monotonic)
        return self._circuits[operation]

    def _held_s(self, operation: str) -> float | None:
        """Seconds until a trial may start, if calls of this operation are held back."""
        held = [
            held_s for held_s in (self._lockout.held_s(), self._circuit(operation).held_s()) if held_s is not None
        ]
        return max(held, default=None)

    def _check_held(self, operation: str) -> None:
        held_s = self._held_s(operation)
        if held_s is not None:
            reason = "the credential was refused" if self._lockout.is_open else "too many calls failed in a row"
            detail = f"not sent: {reason}; the next trial may start in {held_s:.0f} s"
            raise self._withheld(CircuitOpen(operation, detail), operation)

    def _withheld(self, error: CloudError, operation: str) -> CloudError:
        self._observer.call_withheld(project=self._project, operation=operation, outcome=error.outcome)
        return error

    def _tell_circuits(self) -> None:
        is_open = self._lockout.is_open or any(circuit.is_open for circuit in self._circuits.values())
        if is_open != self._was_open:
            self._was_open = is_open
            self._observer.circuit_changed(project=self._project, is_open=is_open)
