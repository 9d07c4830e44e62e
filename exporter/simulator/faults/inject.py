"""What each fault does to a response."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from aiohttp import web

from exporter.simulator.faults.corrupt import bad_item, wrong_types
from exporter.simulator.faults.faults import Fault

_HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"
_MESSAGES = {
    "401": "Incorrect IAM authentication information",
    "403": "You have no permission to do this",
    "404": "The API does not exist or has not been published in the environment",
    "408": "The request timed out",
    "429": "The throttling threshold has been reached: policy user over ratelimit,limit:10,time:1 second",
    "500": "Internal error",
    "503": "The service is being upgraded",
}
_THROTTLING = "The throttling threshold has been reached: policy user over ratelimit,limit:200,time:5 minute"
_BODY_FAULTS = frozenset({"hang-body", "reset-body", "slow-body"})
_ABSURD_RETRY_AFTER = "31536000"
_CHUNK = b" " * 65_536

AnswerNormally = Callable[[], Awaitable[web.Response]]


async def inject(
    fault: Fault, request: web.Request, answer: AnswerNormally, *, closing: asyncio.Event, now: float
) -> web.StreamResponse:
    """Return the faulty response. `answer` returns the normal one, for faults that delay or modify it."""
    if fault.name in _MESSAGES:
        return _error_response(fault, now=now)
    if fault.name in _RESPONSES:
        return _RESPONSES[fault.name](fault)
    if fault.name in {"echo", "huge"}:
        return await (_echo(fault, request) if fault.name == "echo" else _huge(fault, request, closing=closing))
    if fault.name == "reset" or (fault.name in {"hang", "slow"} and not await _delay_passed(fault, closing)):
        return _abort(request, web.Response(status=500))
    normal = await answer()
    if fault.name in _BODY_FAULTS and normal.body:
        return await _interrupt_body(fault, request, normal, closing=closing)
    return _CORRUPTIONS[fault.name](normal) if fault.name in _CORRUPTIONS else normal


def _error_response(fault: Fault, *, now: float) -> web.Response:
    code = fault.code or ""
    body = {"error_msg": _MESSAGES[fault.name], "error_code": code}
    headers = {}
    if fault.name == "429" and fault.retry_after != "none":
        values = {"date": formatdate(now + 5, usegmt=True), "absurd": _ABSURD_RETRY_AFTER}
        headers["Retry-After"] = values.get(fault.retry_after or "", fault.retry_after or "")
    return web.json_response(body, status=int(fault.name), headers=headers)


_RESPONSES: dict[str, Callable[[Fault], web.Response]] = {
    "html-502": lambda fault: web.Response(status=fault.status or 502, text=_HTML, content_type="text/html"),
    "empty-200": lambda _: web.Response(body=b"", content_type="application/json"),
    "204": lambda _: web.Response(status=204),
    "throttled": lambda fault: web.json_response(
        {"error_msg": _THROTTLING, "error_code": fault.code, "request_id": "0"}, status=fault.status or 401
    ),
    "redirect": lambda fault: web.Response(status=302, headers={"Location": fault.location or "/"}),
    "is-success-false": lambda fault: web.json_response(
        {"is_success": False, "error_message": "Error string", "error_code": fault.code}, status=fault.status or 200
    ),
}

_CORRUPTIONS: dict[str, Callable[[web.Response], web.Response]] = {
    "truncated": lambda normal: _with_body(normal, _bytes(normal)[: max(1, len(_bytes(normal)) * 2 // 3)]),
    "wrong-types": lambda normal: _with_body(normal, json.dumps(wrong_types(_json(normal))).encode()),
    "bad-item": lambda normal: _with_body(normal, json.dumps(bad_item(_json(normal))).encode()),
}


async def _echo(fault: Fault, request: web.Request) -> web.Response:
    headers = dict(reversed(list(request.headers.items())))  # last headers first: credentials are among them
    message = f"{headers} {await request.text()}"
    return web.json_response({"error_msg": message, "error_code": fault.code}, status=fault.status or 400)


async def _interrupt_body(
    fault: Fault, request: web.Request, normal: web.Response, *, closing: asyncio.Event
) -> web.StreamResponse:
    """Send headers and the first half of the body, then apply the fault."""
    body = _bytes(normal)
    response = web.StreamResponse(status=normal.status, headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    if fault.name == "slow-body":
        step = max(1, len(body) // 10)
        for start in range(0, len(body), step):
            await asyncio.sleep((fault.delay or 0.0) / 10)
            await response.write(body[start : start + step])
        return response
    await response.write(body[: len(body) // 2])
    if fault.name == "reset-body" or not await _delay_passed(fault, closing):
        return _abort(request, response)
    await response.write(body[len(body) // 2 :])
    return response


async def _huge(fault: Fault, request: web.Request, *, closing: asyncio.Event) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"items": [')
    for _ in range((fault.size_mb or 1) * 16):
        if closing.is_set():
            break
        await response.write(_CHUNK)
    await response.write(b"]}")
    return response


async def _delay_passed(fault: Fault, closing: asyncio.Event) -> bool:
    """Wait for the delay of the fault, with 0 forever; False if the simulator closed meanwhile."""
    try:
        await asyncio.wait_for(closing.wait(), fault.delay or None)
    except TimeoutError:
        return True
    return False


def _abort(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return response


def _bytes(response: web.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


def _json(response: web.Response) -> object:
    body = _bytes(response)
    return json.loads(body) if body else None


def _with_body(normal: web.Response, body: bytes) -> web.Response:
    return web.Response(status=normal.status, body=body, content_type="application/json")
