"""Kubernetes quantities: every suffix, both exponents, and invalid ones."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cloud.decode.quantity import kubernetes_quantity
from tests.unit.cloud.recorded_unknowns import Notes

DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


@pytest.mark.parametrize(
    "raw, expected",
    [
        pytest.param("1073m", 1.073, id="milli"),
        pytest.param("15548Mi", 15548 * 1024**2, id="mebi"),
        pytest.param("64Gi", 64 * 1024**3, id="gibi"),
        pytest.param("100n", 1e-7, id="nano"),
        pytest.param("250u", 0.00025, id="micro"),
        pytest.param("2k", 2000.0, id="kilo"),
        pytest.param("1.5Gi", 1.5 * 1024**3, id="fraction of gibi"),
        pytest.param(".5", 0.5, id="no leading digit"),
        pytest.param("5.", 5.0, id="no trailing digit"),
        pytest.param("+3", 3.0, id="plus sign"),
        pytest.param("12e6", 12e6, id="exponent"),
        pytest.param("12E6", 12e6, id="capital exponent"),
        pytest.param("12E", 12e18, id="exa, not an exponent"),
        pytest.param("12Ei", 12 * 2.0**60, id="exbi"),
        pytest.param("1e-3", 0.001, id="negative exponent"),
        pytest.param(" 7 ", 7.0, id="blanks around"),
        pytest.param("0" * 62 + "12", 12.0, id="as long as a quantity can be"),
        pytest.param("0", 0.0, id="zero"),
        pytest.param(2, 2.0, id="int"),
        pytest.param(0.5, 0.5, id="float"),
        pytest.param(0, 0.0, id="int zero"),
    ],
)
def test_quantities_are_read_in_their_base_unit(raw: object, expected: float) -> None:
    """Trap 36: cores, bytes and cards with any suffix."""
    notes = Notes()

    assert kubernetes_quantity(raw, field="f", note=notes) == expected
    assert notes.noted == []


@pytest.mark.parametrize("raw", [None, ""], ids=["null", "empty"])
def test_an_absent_quantity_is_none(raw: object) -> None:
    """Null and empty text mean that the cloud gives no value; they are None and not noted."""
    notes = Notes()

    assert kubernetes_quantity(raw, field="f", note=notes) is None
    assert notes.noted == []


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("6.52 GiB", id="the other notation"),
        pytest.param("1 Cores", id="words"),
        pytest.param("64gi", id="suffix in lower case"),
        pytest.param("64K", id="capital kilo"),
        pytest.param("1e3Mi", id="exponent and suffix"),
        pytest.param("-5", id="negative"),
        pytest.param(-5, id="negative number"),
        pytest.param(".", id="no digits"),
        pytest.param("1_000", id="underscore"),
        pytest.param("٣", id="digits of another script"),
        pytest.param("NaN", id="nan"),
        pytest.param("Infinity", id="infinity"),
        pytest.param("1e999", id="beyond a float"),
        pytest.param("9" * 65, id="longer than any quantity"),
        pytest.param(float("nan"), id="nan as a number"),
        pytest.param(float("inf"), id="infinity as a number"),
        pytest.param(10**400, id="beyond a float as a number"),
        pytest.param(True, id="boolean"),
        pytest.param(["1"], id="list"),
        pytest.param({"value": 1}, id="object"),
    ],
)
def test_an_invalid_quantity_is_noted(raw: object) -> None:
    """An invalid quantity is None and noted."""
    notes = Notes()

    assert kubernetes_quantity(raw, field="f", note=notes) is None
    assert [(field, value is raw) for field, value in notes.noted] == [("f", True)]


@given(
    number=st.decimals(min_value=0, max_value=10**6, places=3, allow_nan=False),
    suffix=st.sampled_from([*DECIMAL, *BINARY]),
)
def test_a_suffix_multiplies_exactly(number: Decimal, suffix: str) -> None:
    """For any number and suffix the float nearest to the exact product is read."""
    factor = Decimal(10) ** DECIMAL[suffix] if suffix in DECIMAL else Decimal(2) ** BINARY[suffix]

    assert kubernetes_quantity(f"{number}{suffix}", field="f", note=Notes()) == float(number * factor)


@given(whole=st.integers(0, 10**9), power=st.integers(-9, 18))
def test_an_exponent_is_the_suffix_of_its_power(whole: int, power: int) -> None:
    """`5e3` and `5k` are the same quantity."""
    by_exponent = kubernetes_quantity(f"{whole}e{power}", field="f", note=Notes())

    for suffix, expected in DECIMAL.items():
        if expected == power:
            assert by_exponent == kubernetes_quantity(f"{whole}{suffix}", field="f", note=Notes())
    assert by_exponent == float(Decimal(whole).scaleb(power))


@given(
    st.one_of(
        st.text(),
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.from_regex(r"\A[+-]?[0-9.]{0,6}[eE]?[+-]?[0-9]{0,4}[numkKMGTPEi]{0,3}\Z"),
    )
)
def test_any_value_is_a_quantity_or_none(raw: object) -> None:
    """Any value is read without an exception as a finite quantity from 0, as absent, or is noted."""
    notes = Notes()

    read = kubernetes_quantity(raw, field="f", note=notes)

    assert read is None or 0 <= read < float("inf")
    assert (read is None) == (raw is None or raw == "" or bool(notes.noted))
