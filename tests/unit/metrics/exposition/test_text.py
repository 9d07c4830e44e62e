"""Exposition text of headers, labels and values."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics.exposition.family import Family, Type
from exporter.metrics.exposition.text import (
    header_openmetrics,
    header_text,
    label_value,
    label_writer,
    labels,
    numbers,
    replace_surrogates,
)


def family(kind: Type, **facts: str) -> Family[None]:
    """A family of one type."""
    return Family(
        **{"name": "x_seconds", "help": "Says.", "subject": "project", "source": "own"} | facts,  # type: ignore[arg-type]
        type=kind,
    )


@pytest.mark.parametrize(
    "value, expected",
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("", "", id="empty"),
        pytest.param("a\\b", "a\\\\b", id="backslash"),
        pytest.param('say "hi"', 'say \\"hi\\"', id="quote"),
        pytest.param("one\ntwo", "one\\ntwo", id="newline"),
        pytest.param("\\n", "\\\\n", id="backslash before an n is not a newline"),
        pytest.param("任务-ü-🚀", "任务-ü-🚀", id="other alphabets"),
        pytest.param("tab\tcr\rnul\0", "tab\tcr\rnul\0", id="control characters"),
        pytest.param("a\ud800b", "a\ufffdb", id="lone surrogate"),
        pytest.param('\udfff"', '\ufffd\\"', id="lone surrogate beside a quote"),
    ],
)
def test_label_value_is_escaped(value: str, expected: str) -> None:
    """Backslash, quote and newline are escaped, lone surrogates are replaced, and nothing else changes."""
    assert label_value(value) == expected


@given(st.text(st.characters(), max_size=30))
def test_label_value_is_parsed_back(value: str) -> None:
    """Both parsers of prometheus-client return the value that was written, whatever it contains."""
    line = f"x{{{labels([('y', value)])}}} 1\n"

    (text,) = parse_text(line.encode().decode())
    (openmetrics,) = parse_openmetrics(line + "# EOF\n")  # type: ignore[no-untyped-call]  # prometheus-client left it out

    assert text.samples[0].labels == openmetrics.samples[0].labels == {"y": replace_surrogates(value)}


@given(st.lists(st.floats()))
def test_numbers_are_parsed_back(values: list[float]) -> None:
    """Every float is parsed back to the same float, infinities and NaN included."""
    written = numbers(values)

    assert [float(text) for text in written] == pytest.approx(values, rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    "value, expected",
    [
        pytest.param(1.0, "1", id="whole"),
        pytest.param(0.0, "0", id="zero"),
        pytest.param(1_700_000_000.0, "1700000000", id="timestamp"),
        pytest.param(1_700_000_000.25, "1700000000.25", id="timestamp with fraction"),
        pytest.param(0.1, "0.1", id="tenth"),
        pytest.param(100.0, "100", id="zeros before the decimal point"),
        pytest.param(math.inf, "+Inf", id="infinite"),
        pytest.param(-math.inf, "-Inf", id="minus infinity"),
        pytest.param(math.nan, "NaN", id="not a number"),
        pytest.param(7, "7", id="integer"),
        pytest.param(True, "1", id="true"),
        pytest.param(False, "0", id="false"),
        pytest.param(None, "", id="absent"),
    ],
)
def test_number_has_its_shortest_form(value: float | None, expected: str) -> None:
    """Integers have no fraction, and non-finite values are spelled as in Go, in a list with any other values."""
    assert numbers([0.5, value, 2.0]) == ["0.5", expected, "2"]


@pytest.mark.parametrize("value", [pytest.param(v, id=type(v).__name__) for v in ("1", [1.0], {"1": 1.0}, b"1")])
def test_other_types_are_refused(value: Any) -> None:
    """A value of any other type raises and never becomes part of a line."""
    with pytest.raises(TypeError, match="not all are numbers"):
        numbers([0.5, value])


def test_no_numbers() -> None:
    """An empty list gives an empty list."""
    assert numbers([]) == []


@pytest.mark.parametrize(
    "declared, text, openmetrics",
    [
        pytest.param(
            family(Type.GAUGE, unit="seconds"),
            "# HELP x_seconds Says.\n# TYPE x_seconds gauge\n",
            "# HELP x_seconds Says.\n# TYPE x_seconds gauge\n# UNIT x_seconds seconds\n",
            id="gauge with a unit",
        ),
        pytest.param(
            family(Type.COUNTER, name="xs"),
            "# HELP xs_total Says.\n# TYPE xs_total counter\n",
            "# HELP xs Says.\n# TYPE xs counter\n",
            id="counter",
        ),
        pytest.param(
            family(Type.INFO, name="xs"),
            "# HELP xs_info Says.\n# TYPE xs_info gauge\n",
            "# HELP xs Says.\n# TYPE xs info\n",
            id="info",
        ),
        pytest.param(
            family(Type.GAUGE, help='A \\ and a "b"\nand c.'),
            '# HELP x_seconds A \\\\ and a "b"\\nand c.\n# TYPE x_seconds gauge\n',
            '# HELP x_seconds A \\\\ and a \\"b\\"\\nand c.\n# TYPE x_seconds gauge\n',
            id="help with everything that is escaped",
        ),
    ],
)
def test_headers(declared: Family[None], text: str, openmetrics: str) -> None:
    """Text 0.0.4 has the exposed name, no info type and no unit; OpenMetrics has the family name and both."""
    assert (header_text(declared), header_openmetrics(declared)) == (text, openmetrics)


def test_labels_are_written_in_order() -> None:
    """Labels of the family each follow a comma, in the declared order, escaped."""
    write = label_writer(["pool_id", "status"])

    assert write({"pool_id": 'p"1', "status": "failed"}) == ',pool_id="p\\"1",status="failed"'


@pytest.mark.parametrize(
    "declared, given",
    [
        pytest.param(["a"], {"b": "1"}, id="another"),
        pytest.param(["a"], {}, id="missing"),
        pytest.param(["a"], {"a": "1", "b": "2"}, id="one too many"),
        pytest.param([], {"a": "1"}, id="none declared"),
        pytest.param(["a", "b"], {"b": "1", "a": "2"}, id="swapped"),
    ],
)
def test_undeclared_labels_are_refused(declared: list[str], given: dict[str, str]) -> None:
    """A sample with other labels than its family declares is an error, never a line with wrong labels."""
    with pytest.raises(ValueError, match=r"declared|unpack"):
        label_writer(declared)(given)


def test_values_beyond_the_label_cache_are_written() -> None:
    """Each of 10,000 values is written correctly, in the cache or not."""
    write = label_writer(["task"])

    assert all(write({"task": str(number)}) == f',task="{number}"' for number in range(10_000))
    assert write({"task": "0"}) == ',task="0"'
