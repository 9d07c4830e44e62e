"""The errors of an API call.

SourceError (domain)
└── CloudError          `outcome` is the metric label, so labels stay bounded
    ├── Unreachable     no response: name, connection, TLS, reset, timeout     retried
    ├── Throttled       429 or equal; may carry retry_after_s                  retried, not sooner than that
    ├── ServerError     5xx, 408, or in-band codes with the same meaning       retried
    ├── Denied          401 or 403 without a code of another error             not retried; see `rejects_credential`
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

CREDENTIAL_CODES = frozenset(
    {f"ModelArts.{code}" for code in ("0201", "0202", "0203", "0204", "0205", "0206", "0207", "0212")}
    | {f"ModelArts.{code}" for code in ("4127", "4201", "4504")}
    | {f"APIG.{code}" for code in ("0301", "0303", "0305", "0307")}
)
"""Codes that reject the credential itself, at any status (API reference §13, fact 44)."""

PERMISSION_CODES = frozenset(
    {f"ModelArts.{code}" for code in ("0108", "0112", "0210", "0428", "2784", "2785", "4203", "4630", "6201", "6203")}
    | {f"APIG.{code}" for code in ("0302", "0306", "0310", "0401", "0402")}
)
"""Codes of a valid credential that may not make the call, or whose account is in such a state."""


def normalized(code: str) -> str:
    """Return a code with the prefix of OTC: newer gateways of Huawei Cloud write APIGW instead of APIG."""
    return "APIG." + code.removeprefix("APIGW.") if code.startswith("APIGW.") else code


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
    """The cloud limits the rate.

    `retry_after_s` is clamped; None when the response has no Retry-After. `budget` is the limit that the message
    states, as calls and seconds. `withheld`: the call was not sent, to leave the budget to other calls.
    """

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
        budget: tuple[int, float] | None = None,
        withheld: bool = False,
    ) -> None:
        super().__init__(operation, detail, status=status, code=code)
        self.retry_after_s = retry_after_s
        self.budget = budget
        self.withheld = withheld
        self.retryable = not withheld

    @property
    def is_final(self) -> bool:
        """The other optional calls of the poll would be withheld too."""
        return self.withheld


class ServerError(CloudError):
    """The cloud failed: 5xx, 408, or an in-band code with the same meaning."""

    outcome = Outcome.SERVER_ERROR
    retryable = True


class Denied(CloudError):
    """401, 403, or an equal in-band code; after one renewal of the credential where that can help."""

    outcome = Outcome.DENIED
    cleared = False
    """A listing accepted the same credential shortly before: whatever the code says, it is not the credential."""

    @property
    def rejects_credential(self) -> bool:
        """Whether the cloud rejects the credential, and not this call. Decided by the code (fact 44).

        401 is also the status of missing permissions and suspended accounts. Without a code of ModelArts or of the
        gateway it is taken as a rejection, because five of them lock a key (trap 34).
        """
        if self.status is None or self.cleared:
            return False
        code = normalized(self.code)
        if code in CREDENTIAL_CODES:
            return True
        return self.status == HTTPStatus.UNAUTHORIZED and not code.startswith(("ModelArts.", "APIG."))

    @property
    def is_refusal(self) -> bool:
        """Whether the credential is accepted, and may not make this call."""
        if self.status is None or self.rejects_credential:
            return False
        if self.cleared:
            return True
        is_status = self.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        return is_status or normalized(self.code) in PERMISSION_CODES

    @property
    def is_final(self) -> bool:
        """Five rejections lock a key (trap 34). A missing permission may concern only one job or one workspace."""
        return self.cleared or not self.is_refusal


class Refused(CloudError):
    """Any other 4xx, or `is_success: false`: the same request would fail again."""

    outcome = Outcome.REFUSED


class Gone(Refused):
    """The requested job does not exist, or no longer. v2 reports this as HTTP 400 with ModelArts.2775."""

    outcome = Outcome.GONE


class Unsupported(Refused):
    """The endpoint does not exist here (404, 410, APIG.0101)."""

    outcome = Outcome.UNSUPPORTED

    @property
    def is_refusal(self) -> bool:
        """There is no such call, for any credential."""
        return True


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
