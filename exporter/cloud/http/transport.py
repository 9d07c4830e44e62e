"""The one place that speaks HTTP: one request out, one whole answer back, within a deadline and a size."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TypeVar

import aiohttp
import structlog
from yarl import URL

from exporter.cloud.auth.credentials import revealed
from exporter.cloud.http.errors import CloudError, InvalidResponse, Throttled, Unreachable
from exporter.cloud.http.observer import Observer
from exporter.cloud.http.request import Request
from exporter.cloud.http.response import Response
from exporter.domain.outcome import Outcome
from exporter.domain.source import Clock

Read = TypeVar("Read")

_LONGEST_REFUSAL_BYTES = 65_536  # of a failure only code and message are wanted
_NO_OWN_TIMEOUT = aiohttp.ClientTimeout(total=None)  # ours covers the body too, and tells itself from the poll's

_log = structlog.get_logger()


async def at_once() -> None:
    """Wait for nothing: the pace of hosts that have no rate limit of ours."""


class _CutOff(aiohttp.ClientError):
    """The connection broke before an answer; the text says how."""


async def sent_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Middleware for the session: keep aiohttp from sending again by itself when a connection breaks.

    It would repeat the very same signature, past the rate limit, the circuit and the books.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _CutOff(_reason(error)) from None


class HttpTransport:
    """Sends requests of one target; reports each to the observer and in one line of debug log."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        project: str,
        clock: Clock,
        observer: Observer,
        timeout_s: float,
        max_answer_bytes: int,
        pace: Callable[[], Awaitable[None]] = at_once,
        proxy: Callable[[], str] | None = None,
    ) -> None:
        self._session = session
        self._project = project
        self._clock = clock
        self._observer = observer
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._pace = pace
        self._proxy = proxy

    async def ask(
        self,
        request: Request,
        *,
        headers: Mapping[str, str],
        read: Callable[[Response], Read],
    ) -> Read:
        """Send the request with these headers, and read its answer by `read`, which may raise CloudError.

        Redirects are answers, never followed. Raises CloudError; nothing of aiohttp leaves.
        """
        proxy = self._proxy_address(request.operation)
        await self._pace()
        started = self._clock.monotonic()
        outcome, status = Unreachable.outcome, None  # as it stays when the caller's deadline cuts us off
        duration_s = None
        try:
            reply = await self._send(request, headers, proxy)
            duration_s = self._clock.monotonic() - started
            status = reply.status
            answer = read(reply)
            outcome = Outcome.OK
        except CloudError as error:
            outcome, status = error.outcome, error.status
            if isinstance(error, Throttled):
                self._observer.throttled(project=self._project)
            raise
        finally:
            if duration_s is None:
                duration_s = self._clock.monotonic() - started
            self._observer.call_finished(
                project=self._project, operation=request.operation, outcome=outcome, duration_s=duration_s
            )
            _log.debug(
                "call.finished",
                project=self._project,
                operation=request.operation,
                outcome=outcome,
                status=status,
                duration_s=round(duration_s, 3),
            )
        return answer

    def _proxy_address(self, operation: str) -> URL | None:
        if self._proxy is None:
            return None
        address: URL | None
        try:
            address = URL(revealed(self._proxy, what="the proxy's address"))
        except ValueError:
            address = None
        if address is None or not address.host:  # without a host aiohttp would quietly go past the proxy
            raise Unreachable(operation, "not sent: the proxy's address is no URL with a host")
        return address

    async def _send(self, request: Request, headers: Mapping[str, str], proxy: URL | None) -> Response:
        failure: CloudError
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.request(
                    request.method,
                    request.url,
                    data=request.body or None,
                    headers=headers,
                    allow_redirects=False,
                    timeout=_NO_OWN_TIMEOUT,
                    proxy=proxy,
                ) as response,
            ):
                body = await self._body(response, request.operation)
                return Response(status=response.status, headers=response.headers, body=body)
        except TimeoutError:
            failure = Unreachable(request.operation, f"no whole answer within {self._timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            failure = Unreachable(request.operation, _reason(error))
        try:
            raise failure  # out here, so that no chained exception carries the request's headers along
        finally:
            del failure  # or it and this call would hold each other until the garbage collector comes by

    async def _body(self, response: aiohttp.ClientResponse, operation: str) -> bytes:
        succeeded = HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES
        limit = self._max_answer_bytes if succeeded else min(_LONGEST_REFUSAL_BYTES, self._max_answer_bytes)
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                response.close()
                if not succeeded:
                    return b""  # the status says enough
                raise InvalidResponse(operation, f"larger than {limit} bytes", status=response.status)
        return bytes(body)


def _reason(error: aiohttp.ClientError | OSError) -> str:  # noqa: C901, PLR0911 - a table of sentences
    """Say it in words of our own: the library's hold URLs, and its exceptions the headers."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the host name does not resolve"
        case aiohttp.ClientConnectorCertificateError():
            return f"TLS: {_verification(error.certificate_error)}"
        case aiohttp.ClientSSLError():
            return f"TLS: {error.os_error.reason if isinstance(error.os_error, ssl.SSLError) else 'handshake failed'}"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answered HTTP {error.status}"
        case aiohttp.ClientProxyConnectionError():
            return f"no connection to the proxy: {_plain(error.os_error)}"
        case aiohttp.ClientConnectorError():
            return f"no connection: {_plain(error.os_error)}"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed before an answer"
        case _CutOff():
            return str(error)
        case aiohttp.ClientPayloadError():
            return "the answer broke off"
        case OSError():
            return _plain(error)
        case _:
            return f"not HTTP as we know it ({type(error).__name__})"


def _verification(error: Exception) -> str:
    return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else "certificate refused"


def _plain(error: OSError) -> str:
    return error.strerror.lower() if error.strerror and error.errno else type(error).__name__
