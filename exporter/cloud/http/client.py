"""Calls of one target: limited, signed, retried, held back while a circuit is open, and decoded."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial

import msgspec

from exporter.cloud.auth.auth import Auth, SignedHeaders
from exporter.cloud.auth.credentials import CREDENTIALS
from exporter.cloud.http.circuit import LOCKOUT, Circuit, CircuitCall, CircuitPolicy
from exporter.cloud.http.endpoint import Answer, Endpoint
from exporter.cloud.http.errors import CircuitOpen, CloudError, Denied, ServerError, Throttled, Unreachable
from exporter.cloud.http.limit import CredentialProbe, Limits, OptionalShare
from exporter.cloud.http.observer import Observer
from exporter.cloud.http.request import Request, encode_query, fill_path
from exporter.cloud.http.response import read_response, refused_credential
from exporter.cloud.http.retry import RetryPolicy, retry
from exporter.cloud.http.transport import HttpTransport
from exporter.domain.source import Clock

_PROOF_S = 120.0
"""How long a listing that was accepted proves that a refused optional call is not the credential's fault."""

_TIMER_SLACK_S = 0.05  # timers may fire a little early


class ApiClient:
    """Makes the calls of one target: `cloud.endpoint.Caller` over HTTP.

    A call passes `call` (retries), `_attempt` (limits and circuits), `_send` (signature; a second one if the first
    was refused) and `_exchange` (HTTP and decoding), in this order.

    Each operation has its own circuit, so that one that fails leaves the others alone. Refused credentials concern
    all operations and open the one lockout circuit; a refused optional call does not, while listings are accepted.
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
        circuit_policy: CircuitPolicy,
        jitter: Callable[[], float],
    ) -> None:
        self._project = project
        self._endpoint = endpoint
        self._auth = auth
        self._transport = transport
        self._limits = limits
        self._clock = clock
        self._observer = observer
        self._retry_policy = retry_policy
        self._circuit_policy = circuit_policy
        self._jitter = jitter
        self._probe = CredentialProbe(now=clock.monotonic)
        self._optional_share = OptionalShare(now=clock.monotonic)
        self._listed_at: float | None = None
        self._lockout = Circuit(LOCKOUT, now=clock.monotonic, on_change=self._report_circuits)
        self._circuits: dict[str, Circuit] = {}
        self._retry_at: dict[str, float] = {}
        self._was_open = False
        observer.circuit_changed(project=project, is_open=False)

    async def project_id(self) -> str:
        """Return the project's id in the cloud. Raises CloudError where IAM has to be asked for it and fails."""
        return await self._auth.project_id()

    async def call(
        self,
        endpoint: Endpoint[Answer],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer | None:
        """Send one request, retry it where that can help, and decode the response.

        None only where the endpoint may be empty. Raises CloudError. A caller with less time than the retries may
        take uses `asyncio.timeout`.
        """
        return await retry(
            partial(
                self._attempt,
                endpoint,
                path=path or {},
                query=encode_query(query or {}),
                body=b"" if body is None else msgspec.json.encode(body),
            ),
            policy=self._retry_policy,
            now=self._clock.monotonic,
            jitter=self._jitter,
            is_held=lambda: self._wait_s(endpoint.name) is not None,
            on_retry=lambda: self._observer.call_retried(project=self._project, operation=endpoint.name),
        )

    async def _attempt(
        self, endpoint: Endpoint[Answer], *, path: Mapping[str, str], query: str, body: bytes
    ) -> Answer | None:
        """Wait for a slot and for a proven credential, send, and record the result in both circuits."""
        operation = endpoint.name
        self._check_circuits(operation)  # before the call queues, and again when it may be sent
        self._check_retry_after(operation)
        if endpoint.optional and not self._optional_share.take():
            detail = "not sent: the rest of the rate limit is left to the listings"
            raise self._withheld(Throttled(operation, detail, withheld=True), operation)
        async with self._limits.slot(operation), self._probe.acquire() as is_probe:
            self._check_circuits(operation)
            with self._lockout.call() as lockout, self._circuit(operation).call() as circuit:
                try:
                    result = await self._send(
                        endpoint, path=path, query=query, body=body, lockout=lockout, is_probe=is_probe
                    )
                except CloudError as error:
                    if endpoint.optional and isinstance(error, Denied) and error.operation == operation:
                        error.cleared = error.rejects_credential and self._credential_is_proven()
                        if error.cleared:
                            lockout.failures = None
                    self._record_failure(error, operation, lockout=lockout, circuit=circuit)
                    raise
                if not endpoint.optional:
                    self._listed_at = self._clock.monotonic()
                self._probe.accepted()
                lockout.failures = circuit.failures = 0
                return result

    async def _send(
        self,
        endpoint: Endpoint[Answer],
        *,
        path: Mapping[str, str],
        query: str,
        body: bytes,
        lockout: CircuitCall,
        is_probe: bool,
    ) -> Answer | None:
        """Sign and send the request; if the credential is refused, renew it and send once more."""
        request = Request(
            operation=endpoint.name,
            method=endpoint.method,
            base=self._endpoint,
            path=fill_path(endpoint.path, {"project_id": await self._auth.project_id(), **path}),
            query=query,
            headers={"Content-Type": "application/json"} if body else {},
            body=body,
        )
        await self._limits.pace()
        signed = await self._auth.authorize(request)
        try:
            return await self._exchange(endpoint, request, signed)
        except CloudError as error:
            if not refused_credential(error):
                raise
            self._probe.refused()
            if not await self._auth.renew(signed):
                raise
            refusal = error
        lockout.failures = 1
        async with nullcontext() if is_probe else self._probe.acquire():
            if self._lockout.wait_s() is not None and not lockout.is_trial:
                raise refusal  # another call was refused with the renewed credential
            await self._limits.pace()
            return await self._exchange(endpoint, request, await self._auth.authorize(request))

    async def _exchange(self, endpoint: Endpoint[Answer], request: Request, signed: SignedHeaders) -> Answer | None:
        return await self._transport.send(
            request,
            headers=signed.headers,
            read=lambda response: read_response(
                response,
                endpoint.answer,
                operation=endpoint.name,
                now=self._clock.time(),
                in_band_failure=endpoint.in_band_failure,
                may_be_empty=endpoint.may_be_empty,
                redact=signed.redact,
                on_repair=lambda kind: self._observer.response_repaired(
                    project=self._project, operation=endpoint.name, kind=kind
                ),
            ),
        )

    def _record_failure(
        self, error: CloudError, operation: str, *, lockout: CircuitCall, circuit: CircuitCall
    ) -> None:
        if refused_credential(error):
            lockout.failures = (lockout.failures or 0) + 1
        if lockout.failures:
            self._probe.refused()
            self._listed_at = None
        is_own = error.operation == operation  # not of a call that fetches credentials
        if isinstance(error, Throttled) and error.budget is not None:
            self._optional_share.learn(*error.budget)
        if isinstance(error, Throttled) and is_own and error.retry_after_s is not None:
            self._retry_at[operation] = self._clock.monotonic() + error.retry_after_s
        if isinstance(error, Unreachable | Throttled | ServerError):
            circuit.failures = 1
            circuit.is_single = isinstance(error, ServerError)
        elif is_own:
            circuit.failures = 0
        if error.operation == CREDENTIALS:
            self._withheld(error, operation)

    def _credential_is_proven(self) -> bool:
        """Whether a listing was accepted shortly before, and none has been refused since."""
        return self._listed_at is not None and self._clock.monotonic() - self._listed_at < _PROOF_S

    def _circuit(self, operation: str) -> Circuit:
        if operation not in self._circuits:
            self._circuits[operation] = Circuit(
                self._circuit_policy, now=self._clock.monotonic, on_change=self._report_circuits
            )
        return self._circuits[operation]

    def _wait_s(self, operation: str) -> float | None:
        """Seconds until calls of this operation may be sent again; None when neither circuit holds them back."""
        waits_s = (self._lockout.wait_s(), self._circuit(operation).wait_s())
        return max((wait_s for wait_s in waits_s if wait_s is not None), default=None)

    def _check_circuits(self, operation: str) -> None:
        wait_s = self._wait_s(operation)
        if wait_s is not None:
            reason = "the credential was refused" if self._lockout.is_open else "too many calls failed in a row"
            detail = f"not sent: {reason}; the next trial may start in {wait_s:.0f} s"
            raise self._withheld(CircuitOpen(operation, detail), operation)

    def _check_retry_after(self, operation: str) -> None:
        wait_s = self._retry_at.get(operation, 0.0) - self._clock.monotonic()
        if wait_s > _TIMER_SLACK_S:
            detail = "not sent: the cloud asked for a longer pause"
            raise self._withheld(Throttled(operation, detail, retry_after_s=wait_s), operation)

    def _withheld(self, error: CloudError, operation: str) -> CloudError:
        self._observer.call_withheld(project=self._project, operation=operation, outcome=error.outcome)
        return error

    def _report_circuits(self) -> None:
        is_open = self._lockout.is_open or any(circuit.is_open for circuit in self._circuits.values())
        if is_open != self._was_open:
            self._was_open = is_open
            self._observer.circuit_changed(project=self._project, is_open=is_open)
