"""Durations, regular expressions and filters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.settings import Duration, Filters, Regex


@pytest.mark.parametrize(
    "text, seconds",
    [
        pytest.param("0", 0, id="bare-zero"),
        pytest.param("0s", 0, id="zero"),
        pytest.param("30s", 30, id="seconds"),
        pytest.param("5m", 300, id="minutes"),
        pytest.param("1h30m", 5400, id="mixed"),
        pytest.param("6h", 21600, id="hours"),
        pytest.param("1d", 86400, id="day"),
        pytest.param("2w", 1209600, id="weeks"),
        pytest.param("1y", 31536000, id="year"),
        pytest.param("250ms", 0.25, id="milliseconds"),
        pytest.param("1y1w1d1h1m1s1ms", 31536000 + 604800 + 86400 + 3600 + 60 + 1.001, id="all"),
        pytest.param("90m", 5400, id="more-than-an-hour"),
    ],
)
def test_durations_are_read_as_prometheus_reads_them(text: str, seconds: float) -> None:
    """Units go from large to small, and a year has 365 days."""
    assert Duration.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("30", id="no-unit"),
        pytest.param("1.5h", id="fraction"),
        pytest.param("-5m", id="negative"),
        pytest.param("5 m", id="space"),
        pytest.param("30m1h", id="order"),
        pytest.param("1h1h", id="twice"),
        pytest.param("5M", id="capital"),
        pytest.param("5min", id="word"),
        pytest.param("5m\n", id="newline"),
        pytest.param("٣s", id="other-digits"),
    ],
)
def test_anything_else_is_no_duration(text: str) -> None:
    """Fractions, signs, spaces and other units are rejected, as in Prometheus."""
    with pytest.raises(ValueError, match="must be a duration such as 30s, 5m or 1h30m"):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["293y", "9223372037s", f"{'9' * 5000}s", f"{'0' * 5000}1s"])
def test_durations_end_where_those_of_prometheus_do(text: str) -> None:
    """64-bit nanoseconds end after 9223372036 s; longer ones are rejected in every notation."""
    with pytest.raises(ValueError, match="must be shorter than 292 years"):
        Duration.parse(text)
    assert Duration.parse("9223372036s") == 9223372036.0


@given(st.integers(min_value=0, max_value=9_223_372_036_000))
def test_durations_round_trip(milliseconds: int) -> None:
    """`str` and `parse` are inverses for whole milliseconds."""
    duration = Duration(milliseconds / 1000)

    assert Duration.parse(str(duration)) == duration


def test_a_duration_counts_as_seconds() -> None:
    """It is a float for arithmetic and text for people."""
    duration = Duration.parse("1h30m")

    assert duration / 60 == 90
    assert f"{duration}" == "1h30m"
    assert str(Duration(0)) == "0s"


def test_a_regex_matches_whole_texts_only() -> None:
    """Anchored at both ends, also with alternatives and newlines."""
    assert Regex("train").matches("train")
    assert not Regex("train").matches("train-1")
    assert not Regex("a|b").matches("ab")
    assert not Regex("train").matches("train\n")
    assert Regex(".*").matches("two\nlines")


def test_regexes_compare_by_their_pattern() -> None:
    """Equal patterns are equal, and `repr` shows the pattern."""
    assert Regex("a.*") == Regex("a.*")
    assert hash(Regex("a.*")) == hash(Regex("a.*"))
    assert Regex("a.*") != Regex("a.+")
    assert Regex("a") != "a"
    assert repr(Regex("a.*")) == "Regex('a.*')"


@pytest.mark.parametrize(
    "pattern, why",
    [
        pytest.param("(", "missing \\), unterminated subpattern", id="open"),
        pytest.param("[[a]]", "nested character sets are not supported", id="nested-set"),
        pytest.param("(" * 3000 + ")" * 3000, "too large", id="deep"),
    ],
)
def test_an_invalid_pattern_says_why(pattern: str, why: str) -> None:
    """Every compiler error is a ValueError with a reason that does not contain the pattern."""
    with pytest.raises(ValueError, match=f"^{why}$"):
        Regex(pattern)


@pytest.mark.parametrize(
    "filters, shown",
    [
        pytest.param(Filters(), True, id="default-shows-all"),
        pytest.param(Filters(names=Regex("train-.*")), True, id="name"),
        pytest.param(Filters(names=Regex("train")), False, id="name-in-part"),
        pytest.param(Filters(exclude_names=Regex(".*-7")), False, id="excluded"),
        pytest.param(Filters(names=Regex("train-7"), exclude_names=Regex("train-7")), False, id="exclusion-wins"),
        pytest.param(Filters(exclude_names=Regex("train")), True, id="excluded-in-part"),
        pytest.param(Filters(pools=("pool-a", "pool-b")), True, id="pool"),
        pytest.param(Filters(pools=("",)), False, id="public-pool-only"),
        pytest.param(Filters(users=("alice",)), True, id="user"),
        pytest.param(Filters(users=("bob",)), False, id="another-user"),
        pytest.param(Filters(names=Regex("train-.*"), users=("bob",)), False, id="all-must-agree"),
    ],
)
def test_filters_show_what_every_part_admits(filters: Filters, *, shown: bool) -> None:
    """The job is "train-7" of alice in pool-a."""
    assert filters.shows(name="train-7", pool_id="pool-a", user="alice") is shown


def test_the_public_pool_can_be_asked_for() -> None:
    """The empty id is the public pool."""
    assert Filters(pools=("",)).shows(name="n", pool_id="", user="")
