"""Lenient decoding: bad parts are noted and left out, good parts are kept."""

from typing import Any

import msgspec
import pytest

from exporter.cloud.decode.lenient import decode
from tests.unit.cloud.recorded_unknowns import Notes


class Inner(msgspec.Struct):
    n: Any = None


class Outer(msgspec.Struct):
    name: Any = None
    inner: Inner | None = None
    many: list[Inner] | None = None
    raw: list[msgspec.Raw] | None = None


@pytest.mark.parametrize(
    "raw,expected,noted",
    [
        pytest.param(b'{"inner": {"n": 1}}', Outer(inner=Inner(n=1)), [], id="good"),
        pytest.param(b'{"inner": "{\\"n\\": 1}"}', Outer(inner=Inner(n=1)), [], id="object-as-text"),
        pytest.param(b'"{\\"name\\": \\"a\\"}"', Outer(name="a"), [], id="all-of-it-as-text"),
        pytest.param(b'{"inner": [], "name": "a"}', Outer(name="a"), ["x.inner"], id="bad-part"),
        pytest.param(
            b'{"many": [{"n": 1}, 7, {"n": 2}]}', Outer(many=[Inner(n=1), Inner(n=2)]), ["x.many"], id="bad-one"
        ),
        pytest.param(b'{"many": "[{\\"n\\": 1}]"}', Outer(many=[Inner(n=1)]), [], id="list-as-text"),
        pytest.param(b'{"many": {}}', Outer(), ["x.many"], id="object-for-list"),
        pytest.param(b'{"many": "[not json"}', Outer(), ["x.many"], id="broken-text"),
        pytest.param(b'{"name": 1e999, "inner": {"n": 1}}', Outer(inner=Inner(n=1)), ["x.name"], id="no-float"),
        pytest.param(
            b'{"name": "\\ud800 alone", "inner": {}}',
            Outer(name="\ufffd alone", inner=Inner()),
            ["x"],
            id="half-a-character",
        ),
        pytest.param(b'{"name": "\xff"}', Outer(name="\ufffd"), ["x"], id="not-utf-8"),
        pytest.param(b'{"inner": null, "many": null}', Outer(), [], id="nulls"),
        pytest.param(b"[]", None, ["x"], id="list"),
        pytest.param(b"null", None, ["x"], id="null"),
        pytest.param(b"{", None, ["x"], id="cut-off"),
        pytest.param(
            b'{"inner": {"n": 1}, "unread": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            Outer(inner=Inner(n=1)),
            ["x"],
            id="nested-without-end",
        ),
    ],
)
def test_good_parts_are_kept(raw: bytes, expected: Outer | None, noted: list[str]) -> None:
    """A bad part is noted under its wire path and absent; the result is None only when the text is not an object."""
    notes = Notes()

    assert decode(raw, Outer, field="x", note=notes) == expected
    assert notes.fields == noted


def test_text_is_unwrapped_twice() -> None:
    """An object wrapped twice as JSON text is read; one wrapped three times is noted."""
    once = msgspec.json.encode({"name": "a"})
    twice = msgspec.json.encode(msgspec.json.encode(once.decode()).decode())
    three_times = msgspec.json.encode(twice.decode())
    notes = Notes()

    assert decode(twice, Outer, field="x", note=notes) == Outer(name="a")
    assert decode(three_times, Outer, field="x", note=notes) is None
    assert notes.fields == ["x"]
