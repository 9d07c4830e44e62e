"""Text that other decoders read: every flaw of it, at every level of every endpoint's answer, costs no listing."""

import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cloud.decode.lenient import decode
from exporter.cloud.http.endpoint import Endpoint
from exporter.cloud.http.errors import Denied, InvalidResponse, Refused
from exporter.cloud.http.json_text import MAX_DEPTH, decode_json
from exporter.cloud.http.response import Response, error_for, read_response, refused_credential
from exporter.cloud.pools import endpoints as pools
from exporter.cloud.v1 import endpoints as v1
from exporter.cloud.v2 import endpoints as v2
from exporter.domain.outcome import Repair
from tests.unit.cloud.recorded_unknowns import Notes

FIXTURES = Path(__file__).parents[3] / "fixtures"
ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


@dataclass(frozen=True)
class Flaw:
    """A JSON value with a flaw, what it is read as, and the kind of repair; None: the decoder reads it as it is."""

    text: bytes
    read: object
    kind: Repair | None


FLAWS = {
    "lone-high": Flaw(rb'"a\ud83d"', "a\ufffd", Repair.ESCAPE),
    "lone-low": Flaw(rb'"\ude00b"', "\ufffdb", Repair.ESCAPE),
    "upper-case": Flaw(rb'"\uD83D"', "\ufffd", Repair.ESCAPE),
    "two-high": Flaw(rb'"\ud83d\ud83d"', "\ufffd\ufffd", Repair.ESCAPE),
    "high-before-pair": Flaw(rb'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600", Repair.ESCAPE),
    "high-before-escape": Flaw(rb'"\ud83d\n\u0041"', "\ufffd\nA", Repair.ESCAPE),
    "high-before-quote": Flaw(rb'"\ud83d\""', '\ufffd"', Repair.ESCAPE),
    "escaped-backslash": Flaw(rb'"\\ud83d\\\ud83d"', "\\ud83d\\\ufffd", Repair.ESCAPE),
    "cut-escape": Flaw(rb'"a\ud8"', "a\ufffd", Repair.ESCAPE),
    "unknown-escape": Flaw(rb'"\x41\'"', "\\x41\\'", Repair.ESCAPE),
    "as-a-key": Flaw(rb'{"\ud83d": 1}', {"\ufffd": 1}, Repair.ESCAPE),
    "latin-1": Flaw(b'"caf\xe9"', "caf\ufffd", Repair.ENCODING),
    "cut-utf-8": Flaw(b'"\xe4\xb8"', "\ufffd", Repair.ENCODING),
    "surrogate-in-utf-8": Flaw(b'"\xed\xa0\xbd"', "\ufffd" * 3, Repair.ENCODING),
    "bytes-as-a-key": Flaw(b'{"\xff": 1}', {"\ufffd": 1}, Repair.ENCODING),
    "raw-nul": Flaw(b'"a\x00b"', "a b", Repair.CONTROL_CHARACTER),
    "raw-line-break": Flaw(b'"a\nb\tc"', "a b c", Repair.CONTROL_CHARACTER),
    "nan": Flaw(b"NaN", None, Repair.NUMBER),
    "infinity": Flaw(b"Infinity", None, Repair.NUMBER),
    "minus-infinity": Flaw(b"-Infinity", None, Repair.NUMBER),
    "nan-in-a-list": Flaw(b'[1, NaN, 2, "NaN"]', [1, None, 2, "NaN"], Repair.NUMBER),
    "exponent": Flaw(b"1e400", None, Repair.NUMBER),
    "exponent-of-0": Flaw(b"0e999", 0.0, None),
    "minus-exponent": Flaw(b"-1.5E+999", None, Repair.NUMBER),
    "5000-digits": Flaw(b"9" * 5000, None, Repair.NUMBER),
    "nested": Flaw(b"[" * 5000 + b"]" * 5000, ..., Repair.NESTING),
    "nested-objects": Flaw(b'{"a":' * 3000 + b"1" + b"}" * 3000, ..., Repair.NESTING),
    "duplicate-keys": Flaw(b'{"a": 1, "a": 2}', {"a": 2}, None),
}
KINDS = [pytest.param(flaw, id=name) for name, flaw in FLAWS.items()]

TABLES: dict[str, tuple[Endpoint[Any], ...]] = {"v1": v1.ENDPOINTS, "v2": v2.ENDPOINTS, "pools": pools.ENDPOINTS}
RECORDED = [
    pytest.param(endpoint, FIXTURES / folder / endpoint.fixtures[0].file, id=endpoint.name)
    for folder, table in TABLES.items()
    for endpoint in table
]
PLACE = "PLACE-OF-THE-FLAW"


@pytest.mark.parametrize("flaw", KINDS)
def test_a_flaw_is_read_as_decided(flaw: Flaw) -> None:
    """The table in `json_text`: what each kind becomes, and that it is reported once."""
    repairs: list[Repair] = []

    read = decode_json(ANY, b'{"a": [' + flaw.text + b"]}", on_repair=repairs.append)

    assert flaw.read is ... or read == {"a": [flaw.read]}
    assert repairs == ([flaw.kind] if flaw.kind else [])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'\xef\xbb\xbf{"a": "\xc3\xa9"}', id="mark"),
        pytest.param(b'\n\xef\xbb\xbf\xef\xbb\xbf {"a": "\xc3\xa9"}\n', id="two-marks-and-space"),
        pytest.param('{"a": "é"}'.encode("utf-16"), id="utf-16-with-mark"),
        pytest.param('{"a": "é"}'.encode("utf-16-le"), id="utf-16-without-mark"),
        pytest.param('{"a": "é"}'.encode("utf-32"), id="utf-32"),
    ],
)
def test_a_mark_or_another_unicode_encoding_is_read(body: bytes) -> None:
    """RFC 8259 §8.1 lets a receiver ignore a byte order mark; the other encodings are those of RFC 4627."""
    repairs: list[Repair] = []

    assert decode_json(ANY, body, on_repair=repairs.append) == {"a": "é"}
    assert repairs == [Repair.ENCODING]


def test_a_mark_inside_of_a_string_stays() -> None:
    """A no-break space of width 0 in a name is a character like others."""
    assert decode_json(ANY, '{"a": "\ufeffb"}'.encode()) == {"a": "\ufeffb"}


@pytest.mark.parametrize("flaw", KINDS)
@pytest.mark.parametrize("level", ["envelope", "item"])
@pytest.mark.parametrize("endpoint,path", RECORDED)
def test_a_skipped_field_costs_nothing(endpoint: Endpoint[Any], path: Path, level: str, flaw: Flaw) -> None:
    """[51] A flaw in a field that no one reads changes nothing of what is read, for any endpoint and level."""
    document = json.loads(path.read_bytes())
    marked = {"unread": PLACE, **document} if isinstance(document, dict) else [{"unread": PLACE}, *document]
    if level == "item":
        marked = in_first_item(document)
    text = json.dumps(marked).encode().replace(json.dumps(PLACE).encode(), flaw.text)

    assert items(endpoint, text) == items(endpoint, json.dumps(marked).encode(), without=PLACE)


@pytest.mark.parametrize("endpoint,path", RECORDED)
def test_a_byte_order_mark_costs_nothing(endpoint: Endpoint[Any], path: Path) -> None:
    """[51] A mark before the response changes nothing of what is read."""
    assert items(endpoint, b"\xef\xbb\xbf" + path.read_bytes()) == items(endpoint, path.read_bytes())


@pytest.mark.parametrize("flaw", KINDS)
def test_a_wanted_field_costs_only_itself(flaw: Flaw) -> None:
    """The flaw stands in a field that is read: item and neighbours are kept, in one step or part by part."""

    class Item(msgspec.Struct):
        id: Any = None
        name: Any = None
        tasks: list[Any] | None = None

    for tasks in (b'["worker-0"]', b'"no list"'):  # the second is decoded part by part
        notes = Notes()
        raw = b'{"id": 7, "name": ' + flaw.text + b', "tasks": ' + tasks + b"}"

        item = decode(raw, Item, field="item", note=notes)

        assert item is not None
        assert item.id == 7
        assert flaw.read is ... or item.name == flaw.read
        assert item.tasks == (["worker-0"] if tasks.startswith(b"[") else None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"is_success": false, "error_code": "ModelArts.0201", "error_message": "a\\ud83d"}',
        b'\xef\xbb\xbf{"is_success": false, "error_code": "ModelArts.0201", "error_message": "a"}',
        b'{"is_success": false, "error_code": "ModelArts.0201", "error_message": "\xff"}',
    ],
)
def test_a_failure_is_recognised_all_the_same(body: bytes) -> None:
    """A failure in-band with a flaw in its text is that failure, not a success, and its code is read."""
    error = error_for(Response(status=200, body=body), operation="op", now=0.0, in_band_failure=True)
    denied = error_for(Response(status=401, body=body), operation="op", now=0.0)

    assert isinstance(error, Refused | Denied)
    assert error.code == "ModelArts.0201"
    assert denied is not None
    assert refused_credential(denied)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"a": 1', b'{"a": "b', b'{"a": 1}}', b'{"a": 1} x', b"{'a': 1}", b'{"a": 1,}', b"[01]", b"<html>"],
)
def test_what_is_not_json_stays_an_error(body: bytes) -> None:
    """Trap 38: no lenient parser: truncated text, trailing data and commas, other quotes and numbers are refused."""
    with pytest.raises(msgspec.DecodeError):
        decode_json(ANY, body)
    with pytest.raises(InvalidResponse):
        read_response(Response(status=200, body=body), dict[str, Any], operation="op", now=0.0)


def test_json_of_another_shape_names_its_path() -> None:
    """A repaired answer of the wrong shape is refused for its shape."""
    with pytest.raises(msgspec.ValidationError, match=r"\$.jobs"):
        decode_json(msgspec.json.Decoder(v1.JOB_LIST.answer), b'\xef\xbb\xbf{"jobs": 7}')


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(codec=None)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ),
    st.booleans(),
)
def test_any_document_of_another_encoder_is_read(document: Any, is_ascii: bool) -> None:
    """Whatever Python's encoder writes, lone surrogates included, is read, with U+FFFD for them."""
    text = json.dumps([document, "\ud83d"], ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    paired = json.loads(text.decode("utf-8", "surrogatepass"))

    read = decode_json(ANY, text)

    if is_ascii:
        assert read == without_surrogates(paired)
    assert len(read) == 2


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_one_of_two_errors(data: bytes) -> None:
    """Nothing but the documented errors is raised, whatever the bytes are."""
    with contextlib.suppress(ValueError, RecursionError):
        decode_json(ANY, b'{"a": ' + data + b"}")


def test_nesting_that_is_allowed_is_kept() -> None:
    """Up to the limit the value is kept, although the response is repaired for another reason."""
    text = b"[" * (MAX_DEPTH - 1) + b'"\\ud83d"' + b"]" * (MAX_DEPTH - 1)
    read = decode_json(ANY, text)
    for _ in range(MAX_DEPTH - 1):
        (read,) = read
    assert read == "\ufffd"


@pytest.mark.parametrize(
    "unit", [b'\\"', b"1", b'"', b"[", b"-", b"nan", b"1.", b"1e", b"\\", b"\\u", b"\xff", b"\\ud83d"]
)
def test_a_repair_takes_linear_time(unit: bytes) -> None:
    """No text makes the repair slow: a hundred times as long takes less than a thousand times as long."""

    def seconds(count: int) -> float:
        begun = time.process_time()
        with contextlib.suppress(ValueError, RecursionError):
            decode_json(ANY, b'{"a": "' + unit * count)
        return time.process_time() - begun

    short = max(min(seconds(2_000) for _ in range(3)), 0.0001)
    assert seconds(200_000) < 1_000 * short


def in_first_item(document: Any) -> Any:
    """The document with a flaw in the first object of its first list, or in its first object."""
    found = False

    def visit(value: Any) -> Any:
        nonlocal found
        if isinstance(value, list) and value and isinstance(value[0], dict) and not found:
            found = True
            return [{"unread": PLACE, **value[0]}, *value[1:]]
        if isinstance(value, dict):
            return {key: visit(each) for key, each in value.items()}
        return value

    return visit(document)


def items(endpoint: Endpoint[Any], text: bytes, *, without: str = "") -> Any:
    """What is read of a response: its struct, with the raw parts decoded and without the unread field."""
    answer = read_response(
        Response(status=200, body=text),
        endpoint.answer,
        operation=endpoint.name,
        now=0.0,
        in_band_failure=endpoint.in_band_failure,
    )
    assert without in ("", PLACE)
    return plain(answer)


def plain(value: Any) -> Any:
    """Structs and raw JSON as plain values."""
    if isinstance(value, msgspec.Raw):
        return plain(decode_json(ANY, bytes(value)))
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if key != "unread"}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in value)
    if isinstance(value, list):
        return [without_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(each) for key, each in value.items()}
    return value
