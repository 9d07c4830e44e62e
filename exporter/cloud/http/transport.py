"""The only module that sends HTTP requests: one request, one complete response, limited in time and size."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TypeVar

import aiohttp
import structlog
from yarl import URL

from exporter.cloud.auth.credentials import reveal
from exporter.cloud.http.errors import CloudError, InvalidResponse, Throttled, Unreachable
from exporter.cloud.http.observer import Observer
from exporter.cloud.http.request import Request
from exporter.cloud.http.response import Response
from exporter.domain.outcome import Outcome
from exporter.domain.source import Clock
from exporter.settings.secret import Secret

Read = TypeVar("Read")

_MAX_ERROR_BODY_BYTES = 65_536  # of a failure only code and message are read
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)  # asyncio.timeout covers the body too

_log = structlog.get_logger()


async def no_pacing() -> None:
    """Do not wait: for hosts without a rate limit."""


class _ConnectionLost(aiohttp.ClientError):
    """The connection was lost before a response; the text says how."""


async def send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Session middleware that keeps aiohttp from sending a request again by itself after a lost connection.

    Such a repetition would carry the same signature, and bypass the rate limit, the circuit and the metrics.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _ConnectionLost(_describe(error)) from None


class HttpTransport:
    """Sends the requests of one target; reports each to the observer and in one line of debug log."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        project: str,
        clock: Clock,
        observer: Observer,
        timeout_s: float,
        max_response_bytes: int,
        pace: Callable[[], Awaitable[None]] = no_pacing,
        proxy: Secret | None = None,
    ) -> None:
        self._session = session
        self._project = project
        self._clock = clock
        self._observer = observer
        self._timeout_s = timeout_s
        self._max_response_bytes = max_response_bytes
        self._pace = pace
        self._proxy = proxy

    async def send(
        self,
        request: Request,
        *,
        headers: Mapping[str, str],
        read: Callable[[Response], Read],
    ) -> Read:
        """Send the request with these headers; return what `read` makes of the response.

        `read` may raise CloudError. Redirects are not followed. Raises CloudError, never an exception of aiohttp.
        """
        proxy = self._proxy_url(request.operation)
        await self._pace()
        started = self._clock.monotonic()
        outcome, status = Unreachable.outcome, None  # in case the caller's timeout cancels the call
        duration_s = None
        try:
            response = await self._request(request, headers, proxy)
            duration_s = self._clock.monotonic() - started
            status = response.status
            result = read(response)
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
        return result

    def _proxy_url(self, operation: str) -> URL | None:
        if self._proxy is None:
            return None
        url: URL | None
        try:
            url = URL(reveal(self._proxy, what="the proxy's URL"))
        except ValueError:
            url = None
        if url is None or not url.host:  # without a host aiohttp would connect directly, without a proxy
            raise Unreachable(operation, "not sent: the proxy's URL is invalid or has no host")
        return url

    async def _request(self, request: Request, headers: Mapping[str, str], proxy: URL | None) -> Response:
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
                    timeout=_NO_TIMEOUT,
                    proxy=proxy,
                ) as response,
            ):
                body = await self._read_body(response, request.operation)
                return Response(status=response.status, headers=response.headers, body=body)
        except TimeoutError:
            failure = Unreachable(request.operation, f"no complete response within {self._timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            failure = Unreachable(request.operation, _describe(error))
        try:
            raise failure  # outside the handlers: a chained exception would hold the request's headers
        finally:
            del failure  # else error and frame form a reference cycle

    async def _read_body(self, response: aiohttp.ClientResponse, operation: str) -> bytes:
        succeeded = HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES
        limit = self._max_response_bytes if succeeded else min(_MAX_ERROR_BODY_BYTES, self._max_response_bytes)
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                response.close()
                if not succeeded:
                    return b""  # the status is enough
                raise InvalidResponse(operation, f"larger than {limit} bytes", status=response.status)
        return bytes(body)


def _describe(error: aiohttp.ClientError | OSError) -> str:  # noqa: C901, PLR0911 - a table
    """Describe the error in a sentence without secrets: texts of aiohttp hold URLs, its exceptions hold headers."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the host name does not resolve"
        case aiohttp.ClientConnectorCertificateError():
            return f"TLS: {_certificate_problem(error.certificate_error)}"
        case aiohttp.ClientSSLError():
            return f"TLS: {error.os_error.reason if isinstance(error.os_error, ssl.SSLError) else 'handshake failed'}"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy responded with HTTP {error.status}"
        case aiohttp.ClientProxyConnectionError():
            return f"no connection to the proxy: {_os_problem(error.os_error)}"
        case aiohttp.ClientConnectorError():
            return f"no connection: {_os_problem(error.os_error)}"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed before a response"
        case _ConnectionLost():
            return str(error)
        case aiohttp.ClientPayloadError():
            return "the response is incomplete"
        case OSError():
            return _os_problem(error)
        case _:
            return f"not valid HTTP ({type(error).__name__})"


def _certificate_problem(error: Exception) -> str:
    return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else "certificate refused"


def _os_problem(error: OSError) -> str:
    return error.strerror.lower() if error.strerror and error.errno else type(error).__name__
