"""Recorded responses mutated at any place, in structure and in bytes."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from exporter.cloud.http.endpoint import Endpoint
from exporter.cloud.pools.endpoints import ENDPOINTS as POOL_ENDPOINTS

FIXTURES = Path(__file__).parent.parent / "fixtures"

_EDGE_NUMBERS = [0, -1, 1, 10**18, -(10**30), 2**63, 1.5, -0.0, 1e308, 1_763_600_000, 1_763_600_000_000]
_EDGE_TEXTS = [
    "",
    " ",
    "0",
    "-1",
    "12",
    "nan",
    "1e400",
    "٣",
    "1073m",
    "64Gi",
    "{}",
    "[]",
    '{"a": "{}"}',
    "\u202e\x00\n",
]

any_value = st.one_of(
    st.sampled_from([None, True, False, [], {}, [[]], [{}], [None], *_EDGE_NUMBERS, *_EDGE_TEXTS]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
)
"""A value of any type, in place of the expected one."""


def recorded(endpoint: Endpoint[Any]) -> list[Any]:
    """The recorded responses of an endpoint, decoded."""
    generation = "pools" if endpoint in POOL_ENDPOINTS else endpoint.name.partition("_")[0]
    return [json.loads((FIXTURES / generation / each.file).read_bytes()) for each in endpoint.fixtures]


@st.composite
def mutated(draw: st.DrawFn, endpoint: Endpoint[Any]) -> bytes:
    """One recorded response as bytes: often with values replaced or removed, sometimes with corrupted bytes."""
    whole = deepcopy(draw(st.sampled_from(recorded(endpoint))))
    for _ in range(draw(st.integers(0, 4))):
        places = list(_places(whole))
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["replace", "replace", "replace", "drop", "text", "wrap", "repeat"])):
            case "replace":
                container[key] = deepcopy(draw(any_value))  # sampled values are shared and may be mutated again
            case "drop":
                del container[key]
            case "text":
                container[key] = json.dumps(container[key])
            case "wrap":
                container[key] = [container[key]]
            case _ if isinstance(container, list):
                container.append(container[key])
            case _:
                container[draw(st.text(max_size=5))] = container[key]
    body = json.dumps(whole, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        cut = draw(st.integers(0, len(body)))
        body = body[:cut] + draw(st.binary(max_size=8)) + body[cut + draw(st.integers(0, 8)) :]
    return body


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Container and key of every value in a document."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
