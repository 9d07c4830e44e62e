"""Error bodies of each service (API reference §8.1)."""

from typing import Any


class ApiError(Exception):
    """The response is an HTTP error. `body` has the shape of the service that returns it."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


def v2_error(status: int, code: str, message: str) -> ApiError:
    """ModelArts v2: error_code and error_msg, with a meaningful HTTP status."""
    return ApiError(
        status,
        {
            "error_code": f"ModelArts.{code}",
            "error_msg": message,
            "error_solution": "Check the request and try again.",
        },
    )


class V1Error(Exception):
    """ModelArts v1: is_success false, at HTTP status 200."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.body = {"is_success": False, "error_message": message, "error_code": f"ModelArts.{code}"}


def gateway_error(status: int, code: str, message: str) -> ApiError:
    """Error of the API gateway in front of ModelArts; the server sets the request id."""
    return ApiError(status, {"error_msg": message, "error_code": f"APIG.{code}", "request_id": ""})


def no_such_api() -> ApiError:
    """404: nothing is published under that path."""
    return gateway_error(404, "0101", "The API does not exist or has not been published in the environment.")


def iam_error(status: int, title: str, message: str) -> ApiError:
    """Error of the identity service."""
    return ApiError(status, {"error": {"code": status, "message": message, "title": title}})
