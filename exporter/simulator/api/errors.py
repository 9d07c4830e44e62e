"""How each part of the cloud says no (API reference §8.1)."""

from typing import Any

Answer = tuple[int, Any]
"""HTTP status and JSON body; None is no body at all."""


class Refused(Exception):
    """The request is refused. `body` has the shape of whoever refuses."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


def v2_refusal(status: int, code: str, message: str) -> Refused:
    """ModelArts v2: error_code and error_msg, and the HTTP status means what it says."""
    return Refused(
        status,
        {
            "error_code": f"ModelArts.{code}",
            "error_msg": message,
            "error_solution": "Check the request and try again.",
        },
    )


class Failed(Exception):
    """ModelArts v1: is_success false; the HTTP status says nothing reliable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.body = {"is_success": False, "error_message": message, "error_code": f"ModelArts.{code}"}


def gateway(status: int, code: str, message: str) -> Refused:
    """Refusal of the API gateway before ModelArts; the request id is filled in by the server."""
    return Refused(status, {"error_msg": message, "error_code": f"APIG.{code}", "request_id": ""})


def no_such_api() -> Refused:
    """404: nothing is published under that path."""
    return gateway(404, "0101", "The API does not exist or has not been published in the environment.")


def iam(status: int, title: str, message: str) -> Refused:
    """Refusal of the identity service."""
    return Refused(status, {"error": {"code": status, "message": message, "title": title}})
