"""Faults to rehearse: what can go wrong between a client and the cloud, aimed at calls and counted."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One entry of the registry."""

    help: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of its own, and their defaults."""


_ANYWHERE = "v?.*"
_COMMON = {"operation": _ANYWHERE, "path": "*", "probability": 1.0, "count": 0, "after": 0}

FAULTS: Mapping[str, Kind] = MappingProxyType(
    {
        "401": Kind(help="authentication fails: APIG.0301", parameters={"code": "APIG.0301"}),
        "403": Kind(help="no permission: ModelArts.0210", parameters={"code": "ModelArts.0210"}),
        "404": Kind(help="no such API: APIG.0101", parameters={"code": "APIG.0101"}),
        "408": Kind(help="the service took too long: ModelArts.6100", parameters={"code": "ModelArts.6100"}),
        "429": Kind(
            help="throttled: APIG.0308; retry_after is seconds as they are, `date`, `absurd` or `none`",
            parameters={"retry_after": "1", "code": "APIG.0308"},
        ),
        "500": Kind(help="internal error: ModelArts.50005000", parameters={"code": "ModelArts.50005000"}),
        "503": Kind(help="service unavailable: ModelArts.4503", parameters={"code": "ModelArts.4503"}),
        "html-502": Kind(help="a proxy's page of HTML instead of JSON", parameters={"status": 502}),
        "empty-200": Kind(help="200, and no body"),
        "204": Kind(help="204, and no body"),
        "truncated": Kind(help="the JSON breaks off in the middle; the HTTP message is whole"),
        "wrong-types": Kind(help="numbers are objects, texts are lists, lists are texts"),
        "bad-item": Kind(help="one item of each list in the answer is a number, the others are good"),
        "is-success-false": Kind(
            help="v1: is_success false in the body", parameters={"status": 200, "code": "ModelArts.0105"}
        ),
        "hang": Kind(help="no answer; after `delay` seconds the normal one, with 0 never", parameters={"delay": 0.0}),
        "hang-body": Kind(
            help="the head and half the body come, then nothing for `delay` seconds, with 0 for ever",
            parameters={"delay": 0.0},
        ),
        "reset": Kind(help="the connection is cut before an answer"),
        "reset-body": Kind(help="the connection is cut in the middle of the body"),
        "slow": Kind(help="the answer comes `delay` seconds late", parameters={"delay": 2.0}),
        "slow-body": Kind(help="the body comes in ten pieces over `delay` seconds", parameters={"delay": 2.0}),
        "huge": Kind(help="an endless-looking answer of `size_mb` megabytes", parameters={"size_mb": 200}),
        "echo": Kind(
            help="a refusal whose message repeats the request's headers and body, as some gateways do",
            parameters={"status": 400, "code": "ModelArts.2764"},
        ),
        "redirect": Kind(help="302 to another place", parameters={"location": "http://127.0.0.1:9/"}),
        "token-expired": Kind(help="every token issued so far expires at this call", parameters={"count": 1}),
        "keys-expired": Kind(
            help="every temporary key issued so far is void from this call on", parameters={"count": 1}
        ),
        "clock-skew": Kind(help="the cloud's clock is `skew` seconds ahead of ours", parameters={"skew": 1_200.0}),
    }
)
"""Every fault there is. Beside their own, all take these parameters: `operation` and `path` (patterns; what they aim
at), `probability` (0-1), `count` (how many calls they strike, 0 for ever), `after` (how many calls they let pass)."""

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
    """A fault that is switched on. Parameters that are None take the registry's defaults.

    Raises ValueError for a name or a parameter that the registry does not have.
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
    struck: int = field(default=0, init=False)
    """How many calls it has struck."""
    passed: int = field(default=0, init=False)
    """How many calls it would have struck, but let pass because of `after`."""

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

    def described(self) -> dict[str, Any]:
        """Name, parameters and counts, as JSON."""
        return {each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) is not None}


def parse_fault(text: str) -> Fault:
    """Read `NAME[:key=value,…]`, such as `429:retry_after=2,probability=0.1`. Raises ValueError with one sentence."""
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
    """The faults that are switched on; the first that fits strikes."""

    def __init__(self, *, seed: int) -> None:
        self._on: list[Fault] = []
        self._dice = random.Random(seed)

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._on))

    def __len__(self) -> int:
        return len(self._on)

    def add(self, fault: Fault | str) -> Fault:
        """Switch a fault on, given as such or in the words of the command line."""
        fault = parse_fault(fault) if isinstance(fault, str) else fault
        self._on.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Switch one off; one that is not on is no error."""
        if fault in self._on:
            self._on.remove(fault)

    def clear(self) -> None:
        """Switch all off."""
        self._on.clear()

    def strike(self, *, operation: str, path: str) -> Fault | None:
        """Return the fault that strikes this call, and count it; None when it passes."""
        for fault in self._on:
            if not fnmatchcase(operation, fault.operation or "*") or not fnmatchcase(path, fault.path or "*"):
                continue
            if fault.count and fault.struck >= fault.count:
                continue
            if self._dice.random() >= (1.0 if fault.probability is None else fault.probability):
                continue
            if fault.passed < (fault.after or 0):
                fault.passed += 1
                continue
            fault.struck += 1
            return fault
        return None
