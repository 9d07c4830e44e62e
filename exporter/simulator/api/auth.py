"""Authentication of a ModelArts or IAM call: token or signature, and the project (API reference §8, §9)."""

from exporter.simulator.api.call import Call
from exporter.simulator.api.errors import gateway_error, v2_error
from exporter.simulator.api.keys import Keys
from exporter.simulator.api.signature import ALGORITHM, Authorization, canonical_request, parse, parse_date, sign

MAX_SKEW_S = 900.0
_UNSIGNED = "Incorrect IAM authentication information: "


def authenticate(call: Call, *, project: str | None, time: float) -> None:
    """Check token or signature. Raises ApiError. `project`: the id in the path; None for calls without one.

    `time` is the server's clock; the date of a signature may differ from it by at most 15 minutes.
    """
    keys = call.cloud.keys
    authorization = call.headers.get("Authorization", "")
    token = call.headers.get("X-Auth-Token")
    if authorization.startswith(ALGORITHM):
        _check_signature(call, keys, authorization, project=project, time=time)
    elif token:
        _check_token(keys, token, project=project, time=time)
    else:
        raise gateway_error(401, "0301", f"{_UNSIGNED}x-auth-token not found")
    if project is not None and project not in call.cloud.world.projects:
        raise v2_error(404, "2786", "the project of the path is not yours")


def _check_token(keys: Keys, text: str, *, project: str | None, time: float) -> None:
    token = keys.token(text)
    if token is None:
        raise gateway_error(401, "0301", f"{_UNSIGNED}decrypt token fail")
    if token.expires_at <= time:
        raise gateway_error(401, "0307", "The token must be updated.")
    if project is not None and token.project != project:
        raise v2_error(403, "0210", "the token's scope is not the project of the path")


def _check_signature(call: Call, keys: Keys, header: str, *, project: str | None, time: float) -> None:
    authorization = parse(header)
    if authorization is None:
        raise gateway_error(401, "0301", f"{_UNSIGNED}the Authorization header is malformed")
    access_key = authorization.access_key
    if keys.is_locked(access_key):
        raise gateway_error(401, "0301", f"{_UNSIGNED}AK access failed to reach the limit,forbidden")
    problem = _signature_problem(call, keys, authorization, project=project, time=time)
    if problem:
        keys.record_failure(access_key)
        raise gateway_error(401, "0301", f"{_UNSIGNED}{problem}")
    keys.record_success(access_key)


def _signature_problem(
    call: Call, keys: Keys, authorization: Authorization, *, project: str | None, time: float
) -> str:
    """The first problem of the signature; "" if it is valid."""
    secret = keys.secret(authorization.access_key)
    date = call.headers.get("X-Sdk-Date", "")
    signed_at = parse_date(date)
    required = keys.security_token(authorization.access_key)
    missing = [name for name in authorization.signed if name not in call.headers]
    problems = (
        (secret is None, "Get secretKey failed"),
        (
            signed_at is None or "x-sdk-date" not in authorization.signed,
            "the date is missing, wrong or not signed",
        ),
        (signed_at is not None and abs(signed_at - time) > MAX_SKEW_S, "Signature expired"),
        ("host" not in authorization.signed, "the host must be signed"),
        (
            required is not None and call.headers.get("X-Security-Token") != required,
            "the security token is missing or wrong",
        ),
        (
            project is not None and call.headers.get("X-Project-Id", project) != project,
            "X-Project-Id is not the project of the path",
        ),
        (bool(missing), f"signed headers are missing: {', '.join(missing)}"),
    )
    for wrong, sentence in problems:
        if wrong:
            return sentence
    canonical = canonical_request(
        method=call.method,
        raw_path=call.raw_path,
        headers=call.headers,
        signed=authorization.signed,
        body=call.body,
    )
    return (
        ""
        if sign(secret or "", date=date, canonical=canonical) == authorization.signature
        else "verify aksk signature fail"
    )
