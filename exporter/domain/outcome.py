"""How a call to the cloud can end, and what can be wrong with the text of its response."""

from enum import StrEnum


class Outcome(StrEnum):
    """Values of the `outcome` label, in documentation order; each but `ok` is that of one `CloudError`."""

    OK = "ok"
    """A response that decodes."""
    UNREACHABLE = "unreachable"
    """No complete response: name resolution, connection, TLS, reset or deadline."""
    THROTTLED = "throttled"
    """HTTP 429, or an error code with the same meaning."""
    SERVER_ERROR = "server_error"
    """HTTP 5xx or 408, or an error code with the same meaning."""
    DENIED = "denied"
    """HTTP 401 after one retry with a new credential, HTTP 403, or a secret that cannot be read."""
    REFUSED = "refused"
    """Any other HTTP 4xx, or `is_success: false`."""
    GONE = "gone"
    """The job does not exist (ModelArts.2775). A valid response, not a failure of the API."""
    UNSUPPORTED = "unsupported"
    """HTTP 404 or 410, or APIG.0101: this API does not exist here. A valid response, not a failure of the API."""
    INVALID_RESPONSE = "invalid_response"
    """HTTP 2xx with a body that does not decode or is too large."""
    CIRCUIT_OPEN = "circuit_open"
    """Not sent, because the circuit is open."""


class Repair(StrEnum):
    """Values of the label `kind` of repaired answers, in documentation order. See `cloud.http.json_text`."""

    ENCODING = "encoding"
    """A byte order mark, another encoding than UTF-8, or bytes that are no text."""
    ESCAPE = "escape"
    """An escape of a lone surrogate, one that is cut off, or one that JSON lacks."""
    CONTROL_CHARACTER = "control_character"
    """A raw control character in a string."""
    NUMBER = "number"
    """NaN, an infinity, or a number that no float holds."""
    NESTING = "nesting"
    """A value nested too deeply."""
