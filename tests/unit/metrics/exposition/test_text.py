"""Exposition text, piece by piece: what stands above the samples, and how values and labels are written."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics.exposition.family import Family, Type
from exporter.metrics.exposition.text import (
    head_openmetrics,
    head_text,
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
    """Backslash, quote and newline are escaped; what UTF-8 cannot say is replaced; all else stands."""
    assert label_value(value) == expected


@given(st.text(st.characters(), max_size=30))
def test_label_value_reads_back(value: str) -> None:
    """Both of prometheus-client's parsers read back the very value that was written, whatever it holds."""
    line = f"x{{{labels([('y', value)])}}} 1\n"

    (text,) = parse_text(line.encode().decode())
    (openmetrics,) = parse_openmetrics(line + "# EOF\n")  # type: ignore[no-untyped-call]  # prometheus-client left it out

    assert text.samples[0].labels == openmetrics.samples[0].labels == {"y": replace_surrogates(value)}


@given(st.lists(st.floats()))
def test_numbers_read_back(values: list[float]) -> None:
    """Every float reads back as exactly itself, infinities and not-a-number included."""
    told = numbers(values)

    assert [float(text) for text in told] == pytest.approx(values, rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    "value, expected",
    [
        pytest.param(1.0, "1", id="whole"),
        pytest.param(0.0, "0", id="zero"),
        pytest.param(1_700_000_000.0, "1700000000", id="timestamp"),
        pytest.param(1_700_000_000.25, "1700000000.25", id="timestamp with fraction"),
        pytest.param(0.1, "0.1", id="tenth"),
        pytest.param(100.0, "100", id="zeros before the point stay"),
        pytest.param(math.inf, "+Inf", id="infinite"),
        pytest.param(-math.inf, "-Inf", id="infinitely negative"),
        pytest.param(math.nan, "NaN", id="not a number"),
        pytest.param(7, "7", id="integer"),
        pytest.param(True, "1", id="true"),
        pytest.param(False, "0", id="false"),
        pytest.param(None, "", id="absent"),
    ],
)
def test_number_is_written_without_noise(value: float | None, expected: str) -> None:
    """Whole numbers have no fraction and non-finite ones are spelled as Go spells them, whatever stands beside."""
    assert numbers([0.5, value, 2.0]) == ["0.5", expected, "2"]


@pytest.mark.parametrize("value", [pytest.param(v, id=type(v).__name__) for v in ("1", [1.0], {"1": 1.0}, b"1")])
def test_what_is_no_number_is_refused(value: Any) -> None:
    """Anything else raises, so that it never stands where a number belongs."""
    with pytest.raises(TypeError, match="not all are numbers"):
        numbers([0.5, value])


def test_no_numbers() -> None:
    """Nothing to write gives nothing."""
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
def test_heads(declared: Family[None], text: str, openmetrics: str) -> None:
    """Text 0.0.4 names what is exposed and knows no info and no unit; OpenMetrics names the family and tells both."""
    assert (head_text(declared), head_openmetrics(declared)) == (text, openmetrics)


def test_labels_are_told_in_order() -> None:
    """Own labels follow a comma each, in the declared order, escaped."""
    tell = label_writer(["pool_id", "status"])

    assert tell({"pool_id": 'p"1', "status": "failed"}) == ',pool_id="p\\"1",status="failed"'


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
    """A sample with other labels than its family declared is an error, never a line with wrong labels."""
    with pytest.raises(ValueError, match=r"declared|unpack"):
        label_writer(declared)(given)


def test_memory_for_label_values_is_bounded() -> None:
    """However many values pass by, each is written rightly, remembered or not."""
    tell = label_writer(["task"])

    assert all(tell({"task": str(number)}) == f',task="{number}"' for number in range(10_000))
    assert tell({"task": "0"}) == ',task="0"'
