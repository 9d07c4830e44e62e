"""What can go wrong between us and the cloud.

SourceError (domain)
└── CloudError          `outcome` is the metric label, so labels stay bounded
    ├── Unreachable     no answer: name, connect, TLS, reset, deadline         retried
    ├── Throttled       told to slow down; may carry retry_after_s             retried, not sooner
    ├── Broken          5xx, 408, or the in-band codes that mean the same      retried
    ├── Denied          401/403 after one fresh credential                     not retried; pauses the target
    ├── Refused         any other 4xx, or is_success=false                     not retried: a bug or a setting
    │   ├── Gone        the job does not exist (ModelArts.2775)                not retried: an answer, not a fault
    │   └── Unsupported 404, 410 or APIG.0101: no such API here                not retried: the generation is off
    ├── Unintelligible  2xx that does not decode; names the JSON path          not retried
    └── Paused          not sent: the circuit is open                          not retried

Texts name the operation and the cloud's error code. They hold at most 200 characters of the cloud's own message, with
control characters escaped; never a header, a request body or a credential.
"""

from http import HTTPStatus

from exporter.domain.outcome import Outcome
from exporter.domain.source import SourceError


class CloudError(SourceError):
    """A call failed. `operation` is the endpoint's name, `code` the cloud's error code if it gave one."""

    outcome: Outcome
    retryable = False

    def __init__(self, operation: str, detail: str, *, status: int | None = None, code: str = "") -> None:
        self.operation = operation
        self.status = status
        self.code = code
        where = f"HTTP {status}" if status is not None else self.outcome
        super().__init__(f"{operation}: {where}{f' {code}' if code else ''}: {detail}")


class Unreachable(CloudError):
    """No whole answer came: name, connection, TLS, reset, or the deadline passed (headers or body)."""

    outcome = Outcome.UNREACHABLE
    retryable = True


class Throttled(CloudError):
    """The cloud asked us to slow down. `retry_after_s` is clamped; None when it did not say for how long."""

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
    """The cloud failed on its side: 5xx, 408, or an in-band code that means the same."""

    outcome = Outcome.SERVER_ERROR
    retryable = True


class Denied(CloudError):
    """401 or 403, after a fresh credential was tried once where that can help."""

    outcome = Outcome.DENIED

    @property
    def is_final(self) -> bool:
        """Five refused signatures lock a key (trap 34); a 403 may be about one job or one workspace alone."""
        return self.status != HTTPStatus.FORBIDDEN


class Refused(CloudError):
    """Any other 4xx, or `is_success: false`: asking again in the same words cannot help."""

    outcome = Outcome.REFUSED


class Gone(Refused):
    """The job asked for does not exist (any more). v2 says this as HTTP 400 with ModelArts.2775."""

    outcome = Outcome.GONE


class Unsupported(Refused):
    """The endpoint does not exist here (404, 410, APIG.0101)."""

    outcome = Outcome.UNSUPPORTED


class InvalidResponse(CloudError):
    """A success that does not decode, or is larger than an answer may be. The text names the JSON path."""

    outcome = Outcome.INVALID_RESPONSE


class CircuitOpen(CloudError):
    """Not sent at all: the circuit of this target is open."""

    outcome = Outcome.CIRCUIT_OPEN

    @property
    def is_final(self) -> bool:
        """The circuit holds back every other call of the kind too."""
        return True
