"""The errors of an API call.

SourceError (domain)
└── CloudError          `outcome` is the metric label, so labels stay bounded
    ├── Unreachable     no response: name, connection, TLS, reset, timeout     retried
    ├── Throttled       429 or equal; may carry retry_after_s                  retried, not sooner than that
    ├── ServerError     5xx, 408, or in-band codes with the same meaning       retried
    ├── Denied          401 or 403, after one renewal of the credential        not retried; may open the lockout
    ├── Refused         any other 4xx, or is_success=false                     not retried: a bug or a setting
    │   ├── Gone        the job does not exist (ModelArts.2775)                not retried: a result, not a failure
    │   └── Unsupported 404, 410 or APIG.0101: no such API here                not retried: the API is not used
    ├── InvalidResponse 2xx that does not decode; names the JSON path          not retried
    └── CircuitOpen     not sent: a circuit is open                            not retried

The text of an error names the operation and the cloud's error code. It holds at most 200 characters of the cloud's
message, with control characters escaped. It never holds a header, a request body or a credential.
"""

from http import HTTPStatus

from exporter.domain.outcome import Outcome
from exporter.domain.source import SourceError


class CloudError(SourceError):
    """A call failed. `operation` is the endpoint's name, `code` the cloud's error code, empty if there is none."""

    outcome: Outcome
    retryable = False

    def __init__(self, operation: str, detail: str, *, status: int | None = None, code: str = "") -> None:
        self.operation = operation
        self.status = status
        self.code = code
        where = f"HTTP {status}" if status is not None else self.outcome
        super().__init__(f"{operation}: {where}{f' {code}' if code else ''}: {detail}")


class Unreachable(CloudError):
    """No complete response: name resolution, connection, TLS, reset, or a timeout in headers or body."""

    outcome = Outcome.UNREACHABLE
    retryable = True


class Throttled(CloudError):
    """The cloud limits the rate. `retry_after_s` is clamped; None when the response has no Retry-After."""

    outcome = Outcome.THROTTLED
    retryable = True

    def __init__(
        self,
        operation: str,
        detail: str,
        *,
        status: int | None = None,
        code: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(operation, detail, status=status, code=code)
        self.retry_after_s = retry_after_s


class ServerError(CloudError):
    """The cloud failed: 5xx, 408, or an in-band code with the same meaning."""

    outcome = Outcome.SERVER_ERROR
    retryable = True


class Denied(CloudError):
    """401 or 403, after the credential was renewed once where that can help."""

    outcome = Outcome.DENIED

    @property
    def is_final(self) -> bool:
        """Five refused signatures lock a key (trap 34). A 403 may concern only one job or one workspace."""
        return self.status != HTTPStatus.FORBIDDEN


class Refused(CloudError):
    """Any other 4xx, or `is_success: false`: the same request would fail again."""

    outcome = Outcome.REFUSED


class Gone(Refused):
    """The requested job does not exist, or no longer. v2 reports this as HTTP 400 with ModelArts.2775."""

    outcome = Outcome.GONE


class Unsupported(Refused):
    """The endpoint does not exist here (404, 410, APIG.0101)."""

    outcome = Outcome.UNSUPPORTED


class InvalidResponse(CloudError):
    """A 2xx response that does not decode or is too large. The text names the JSON path."""

    outcome = Outcome.INVALID_RESPONSE


class CircuitOpen(CloudError):
    """Not sent: the circuit of the operation, or the lockout of the credential, is open."""

    outcome = Outcome.CIRCUIT_OPEN

    @property
    def is_final(self) -> bool:
        """The circuit holds back all other calls of the operation too."""
        return True
