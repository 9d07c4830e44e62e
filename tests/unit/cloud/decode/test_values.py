"""Single values as the cloud writes them: numbers as text, zeros that mean "not yet", JSON in text."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cloud.decode import values
from tests.unit.cloud.recorded_unknowns import Notes

Reader = Callable[..., float | None]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,3})?", fullmatch=True)
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@pytest.mark.parametrize(
    "value,expected",
    [
        pytest.param(3, 3.0, id="int"),
        pytest.param(3.5, 3.5, id="float"),
        pytest.param("3", 3.0, id="trap-16-text"),
        pytest.param("-1.5e2", -150.0, id="text-with-exponent"),
        pytest.param(" 7 ", 7.0, id="padded-text"),
        pytest.param(0, 0.0, id="zero-is-a-number"),
        pytest.param("0.00", 0.0, id="zero-as-text"),
    ],
)
def test_a_number_is_read_from_any_type(value: object, expected: float) -> None:
    """Trap 16: numbers arrive as int, float or text, and read the same."""
    notes = Notes()

    assert values.number(value, field="f", note=notes) == expected
    assert notes.noted == []


@pytest.mark.parametrize("value", [pytest.param(None, id="null"), pytest.param("", id="empty-text")])
def test_an_absent_number_is_none(value: object) -> None:
    """Null and empty text mean that the cloud gives no value; they are None and not noted."""
    notes = Notes()

    assert values.number(value, field="f", note=notes) is None
    assert notes.noted == []


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("many", id="word"),
        pytest.param("12 GB", id="with-unit"),
        pytest.param(True, id="boolean"),
        pytest.param([1], id="list"),
        pytest.param({"n": 1}, id="object"),
        pytest.param("NaN", id="nan-text"),
        pytest.param(math.inf, id="infinite"),
        pytest.param(10**400, id="beyond-any-float"),
        pytest.param("1_000", id="python-only-spelling"),
    ],
)
def test_an_invalid_number_is_noted(value: object) -> None:
    """A value that is not a finite number is None, and noted with its field and value."""
    notes = Notes()

    assert values.number(value, field="v2.x", note=notes) is None
    assert notes.noted == [("v2.x", value)]


@pytest.mark.parametrize(
    "read", [pytest.param(f, id=f.__name__) for f in (values.quantity, values.count, values.moment, values.duration)]
)
def test_negative_values_are_noted(read: Reader) -> None:
    """A negative quantity, count, time or duration is noted and None."""
    notes = Notes()

    assert read(-1, field="f", note=notes) is None
    assert notes.noted == [("f", -1)]


def test_a_count_drops_fractions() -> None:
    """Reference §5.2: unit_num is read as int(float(text)), so "2.9" is 2."""
    assert values.count("2.9", field="f", note=Notes()) == 2


@pytest.mark.parametrize("value", [pytest.param(None, id="null"), pytest.param(2**60, id="past-exact-floats")])
def test_a_count_that_is_too_large_is_noted(value: object) -> None:
    """A count that no float can hold exactly is noted; null is absent."""
    notes = Notes()

    assert values.count(value, field="f", note=notes) is None
    assert notes.fields == ([] if value is None else ["f"])


def test_times_are_milliseconds() -> None:
    """1 763 600 000 123 ms are 1 763 600 000.123 s."""
    assert values.moment("1763600000123", field="f", note=Notes()) == pytest.approx(1763600000.123)


def test_times_of_running_records_are_seconds() -> None:
    """Trap 13: times of running records are in seconds."""
    assert values.moment_s(1763600000, field="f", note=Notes()) == 1763600000.0


@pytest.mark.parametrize("value", [pytest.param(v, id=repr(v)) for v in (0, "0", None, "", 0.0)])
def test_a_time_of_zero_is_none(value: object) -> None:
    """Trap 14: a time of 0 or null means "not yet": it is None and not noted."""
    notes = Notes()

    assert values.moment(value, field="f", note=notes) is None
    assert values.moment_s(value, field="f", note=notes) is None
    assert notes.noted == []


def test_a_time_in_the_wrong_unit_is_noted() -> None:
    """A time in ms read as seconds would be in the year 57 000: it is None and noted."""
    notes = Notes()

    assert values.moment_s(1763600000000, field="f", note=notes) is None
    assert values.moment(1763600000000 * 1000, field="f", note=notes) is None
    assert notes.fields == ["f", "f"]


@pytest.mark.parametrize(
    "read,value",
    [
        pytest.param(values.moment, 1763600000, id="seconds-for-milliseconds"),
        pytest.param(values.moment, "1763600000", id="seconds-as-text"),
        pytest.param(values.moment, 1420070399999, id="2014"),
        pytest.param(values.moment, 1, id="1970"),
        pytest.param(values.moment_s, 1420070399, id="2014-in-seconds"),
        pytest.param(values.moment_s, 1763600, id="kiloseconds"),
        pytest.param(values.moment, 4102444800001, id="2100"),
        pytest.param(values.moment_s, 1763600000000, id="milliseconds-for-seconds"),
    ],
)
def test_a_time_that_cannot_be_is_noted(read: Reader, value: object) -> None:
    """No job is older than ModelArts (2015), and none is of the year 2100: the time is unknown and counted."""
    notes = Notes()

    assert read(value, field="f", note=notes) is None
    assert notes.noted == [("f", value)]


def test_durations_are_milliseconds() -> None:
    """532 003 ms are 532.003 s, and 0 ms are 0 s."""
    assert values.duration(532003, field="f", note=Notes()) == pytest.approx(532.003)
    assert values.duration(0, field="f", note=Notes()) == 0.0
    assert values.duration(None, field="f", note=Notes()) is None


def test_a_duration_since_1970_is_noted() -> None:
    """Trap 14: now minus a start of 0 is more than fifty years: it is None and noted."""
    notes = Notes()

    assert values.duration(1763600000000, field="f", note=notes) is None
    assert notes.fields == ["f"]


@pytest.mark.parametrize(
    "value,expected",
    [
        pytest.param("abc", "abc", id="text"),
        pytest.param(42, "42", id="number-as-id"),
        pytest.param(None, "", id="null"),
        pytest.param(True, "", id="boolean"),
        pytest.param(["a"], "", id="list"),
        pytest.param(1.5, "", id="fraction"),
    ],
)
def test_text_is_text_or_a_whole_number(value: object, expected: str) -> None:
    """Ids are text or numbers; any other value gives empty text."""
    assert values.text(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"a": 1}, id="object"),
        pytest.param('{"a": 1}', id="text"),
        pytest.param('"{\\"a\\": 1}"', id="text-of-text"),
    ],
)
def test_an_object_may_come_as_text(value: object) -> None:
    """Trap 17: an object, its JSON text, and the JSON text of that text are read alike."""
    assert values.json_object(value, field="f", note=Notes()) == {"a": 1}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="null"),
        pytest.param("", id="no-text"),
        pytest.param("  ", id="blank-text"),
        pytest.param({}, id="empty-object"),
        pytest.param("{}", id="empty-object-in-text"),
        pytest.param("null", id="null-in-text"),
    ],
)
def test_empty_objects_are_none(value: object) -> None:
    """Null, empty text and empty objects are None and not noted."""
    notes = Notes()

    assert values.json_object(value, field="f", note=notes) is None
    assert notes.noted == []


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("{", id="truncated"),
        pytest.param("[1]", id="a-list-in-text"),
        pytest.param([1], id="a-list"),
        pytest.param(7, id="a-number"),
        pytest.param('"\\"\\\\\\"{}\\\\\\"\\""', id="wrapped-too-often"),
        pytest.param("[" * 100_000, id="nested-without-end"),
    ],
)
def test_a_value_that_is_not_an_object_is_noted(value: object) -> None:
    """Any other value is None and noted."""
    notes = Notes()

    assert values.json_object(value, field="f", note=notes) is None
    assert notes.fields == ["f"]


@given(value=anything)
def test_no_value_breaks_a_reader(value: object) -> None:
    """For any JSON value every reader returns None or a finite value, from 0 where it cannot be negative."""
    notes = Notes()
    number = values.number(value, field="f", note=notes)
    assert number is None or math.isfinite(number)
    for read in (values.quantity, values.count, values.moment, values.moment_s, values.duration):
        got = read(value, field="f", note=notes)
        assert got is None or (math.isfinite(got) and got >= 0)
    assert isinstance(values.text(value), str)
    values.json_object(value, field="f", note=notes)
