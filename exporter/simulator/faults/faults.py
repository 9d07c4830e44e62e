"""Faults between a client and the cloud: the registry, and the active faults with their filters and counts."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """One entry of the registry."""

    help: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Specific parameters, and their defaults."""


_ANYWHERE = "v?.*"
_COMMON = {"operation": _ANYWHERE, "path": "*", "probability": 1.0, "count": 0, "after": 0}

FAULTS: Mapping[str, FaultKind] = MappingProxyType(
    {
        "401": FaultKind(help="authentication fails: APIG.0301", parameters={"code": "APIG.0301"}),
        "403": FaultKind(help="no permission: ModelArts.0210", parameters={"code": "ModelArts.0210"}),
        "404": FaultKind(help="no such API: APIG.0101", parameters={"code": "APIG.0101"}),
        "408": FaultKind(help="the service timed out: ModelArts.6100", parameters={"code": "ModelArts.6100"}),
        "429": FaultKind(
            help="throttled: APIG.0308; retry_after is sent as it is; `date` (in 5 s), `absurd` (a year) or `none`",
            parameters={"retry_after": "1", "code": "APIG.0308"},
        ),
        "throttled": FaultKind(
            help="throttled by a newer gateway: `status` and APIGW.0308, the limit in the message, no Retry-After",
            parameters={"status": 401, "code": "APIGW.0308"},
        ),
        "500": FaultKind(help="internal error: ModelArts.50005000", parameters={"code": "ModelArts.50005000"}),
        "503": FaultKind(help="service unavailable: ModelArts.4503", parameters={"code": "ModelArts.4503"}),
        "html-502": FaultKind(help="an HTML page of a proxy instead of JSON", parameters={"status": 502}),
        "empty-200": FaultKind(help="200, and no body"),
        "204": FaultKind(help="204, and no body"),
        "truncated": FaultKind(help="the JSON is truncated; the HTTP message is complete"),
        "wrong-types": FaultKind(help="numbers are objects, strings are lists, lists are strings"),
        "bad-item": FaultKind(help="the first item of each list of objects is a number"),
        "is-success-false": FaultKind(
            help="v1: is_success false in the body", parameters={"status": 200, "code": "ModelArts.0105"}
        ),
        "hang": FaultKind(
            help="no response for `delay` seconds, with 0 forever; then the normal one", parameters={"delay": 0.0}
        ),
        "hang-body": FaultKind(
            help="headers and half the body are sent, then nothing for `delay` seconds, with 0 forever",
            parameters={"delay": 0.0},
        ),
        "reset": FaultKind(help="the connection is closed before a response"),
        "reset-body": FaultKind(help="the connection is closed in the middle of the body"),
        "slow": FaultKind(help="the response is `delay` seconds late", parameters={"delay": 2.0}),
        "slow-body": FaultKind(help="the body is sent in ten chunks over `delay` seconds", parameters={"delay": 2.0}),
        "huge": FaultKind(help="a response of `size_mb` megabytes", parameters={"size_mb": 200}),
        "echo": FaultKind(
            help="an error whose message repeats headers and body of the request, as some gateways do",
            parameters={"status": 400, "code": "ModelArts.2764"},
        ),
        "redirect": FaultKind(help="302 to `location`", parameters={"location": "http://127.0.0.1:9/"}),
        "token-expired": FaultKind(help="every token issued so far expires at this call", parameters={"count": 1}),
        "keys-expired": FaultKind(
            help="every temporary key issued so far expires at this call", parameters={"count": 1}
        ),
        "clock-skew": FaultKind(
            help="for this call the server's clock is `skew` seconds ahead", parameters={"skew": 1_200.0}
        ),
    }
)
"""Every fault. Beside their own, all have these parameters: `operation` and `path` (patterns of the calls they apply
to), `probability` (0-1), `count` (number of calls, 0 is unlimited), `after` (number of matching calls skipped)."""

_KEYS: Mapping[str, type] = {
    "operation": str,
    "path": str,
    "probability": float,
    "count": int,
    "after": int,
    "status": int,
    "code": str,
    "retry_after": str,
    "delay": float,
    "size_mb": int,
    "skew": float,
    "location": str,
}


@dataclass(slots=True, eq=False)
class Fault:
    """An active fault. Parameters that are None have the registry's defaults.

    Raises ValueError for an unknown name or parameter.
    """

    name: str
    operation: str | None = None
    path: str | None = None
    probability: float | None = None
    count: int | None = None
    after: int | None = None
    status: int | None = None
    code: str | None = None
    retry_after: str | None = None
    delay: float | None = None
    size_mb: int | None = None
    skew: float | None = None
    location: str | None = None
    hits: int = field(default=0, init=False)
    """Number of calls it was applied to."""
    skipped: int = field(default=0, init=False)
    """Number of matching calls it skipped because of `after`."""

    def __post_init__(self) -> None:
        if self.name not in FAULTS:
            raise ValueError(f"no fault {self.name!r}; there are: {', '.join(FAULTS)}")
        allowed = _COMMON | dict(FAULTS[self.name].parameters)
        for key in _KEYS:
            if getattr(self, key) is None:
                setattr(self, key, allowed.get(key))
            elif key not in allowed:
                raise ValueError(f"fault {self.name} has no parameter {key!r}; it has: {', '.join(sorted(allowed))}")
        if not 0.0 <= (self.probability or 0.0) <= 1.0:
            raise ValueError(f"fault {self.name}: probability must be between 0 and 1")

    def as_json(self) -> dict[str, Any]:
        """Name, parameters and counts, as JSON."""
        return {each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) is not None}


def parse_fault(text: str) -> Fault:
    """Parse `NAME[:key=value,…]`, such as `429:retry_after=2,probability=0.1`. Raises ValueError."""
    name, _, rest = text.partition(":")
    given: dict[str, Any] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals or key not in _KEYS:
            raise ValueError(f"fault {text!r}: {item!r} is not key=value with a key of: {', '.join(_KEYS)}")
        try:
            given[key] = _KEYS[key](value)
        except ValueError as error:
            raise ValueError(f"fault {text!r}: {key} must be a {_KEYS[key].__name__}, not {value!r}") from error
    return Fault(name, **given)


class Faults:
    """The active faults; the first that matches a call applies."""

    def __init__(self, *, seed: int) -> None:
        self._active: list[Fault] = []
        self._rng = random.Random(seed)

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._active))

    def __len__(self) -> int:
        return len(self._active)

    def add(self, fault: Fault | str) -> Fault:
        """Activate a fault, or one in the syntax of `parse_fault`."""
        fault = parse_fault(fault) if isinstance(fault, str) else fault
        self._active.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Deactivate a fault; an inactive one is no error."""
        if fault in self._active:
            self._active.remove(fault)

    def clear(self) -> None:
        """Deactivate all faults."""
        self._active.clear()

    def select(self, *, operation: str, path: str) -> Fault | None:
        """Return the fault that applies to this call, and count the hit; None if there is none."""
        for fault in self._active:
            if not fnmatchcase(operation, fault.operation or "*") or not fnmatchcase(path, fault.path or "*"):
                continue
            if fault.count and fault.hits >= fault.count:
                continue
            if self._rng.random() >= (1.0 if fault.probability is None else fault.probability):
                continue
            if fault.skipped < (fault.after or 0):
                fault.skipped += 1
                continue
            fault.hits += 1
            return fault
        return None
