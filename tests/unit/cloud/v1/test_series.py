import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cloud.v1.series import KILOBYTE, series
from exporter.cloud.v1.wire import NOTHING
from exporter.domain.job import Accelerator
from exporter.domain.usage import TaskSeries, summarise
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v1.fixtures import raw

SAMPLED = {
    "cpuUsage": ["0", "55.20", "61.05", "0"],
    "memUsage": ["0", "40.00", "41.50", "0"],
    "gpuUtil": ["0", "94.11", "88.00", "0"],
    "gpuMemUsage": ["0", "70.00", "0.00", "0"],
    "diskReadRate": ["0", "42159.50", "9.00", "0"],
    "diskWriteRate": ["0", "0.00", "12.50", "0"],
    "recvBytesRate": ["0", "5761229.00", "1024.00", "0"],
    "sendBytesRate": ["0", "18311.75", "2048.00", "0"],
    "interval": 1,
}
AS_NUMBERS = {
    key: [float(token) for token in tokens] if isinstance(tokens, list) else tokens for key, tokens in SAMPLED.items()
}


def read(value: Any, *, accelerator: Accelerator | None = Accelerator.GPU) -> tuple[TaskSeries | None, Notes]:
    notes = Notes()
    return series(raw(value), accelerator=accelerator, note=notes), notes


def found(value: Any, *, accelerator: Accelerator | None = Accelerator.GPU) -> TaskSeries:
    read_series, notes = read(value, accelerator=accelerator)
    assert read_series is not None
    assert notes.noted == []
    return read_series


def values(samples: Any) -> list[float | None]:
    return [None if value is None else round(value, 6) for value in samples]


def test_the_lists_end_at_the_last_sampled_minute() -> None:
    """Trap 18: bare zeros at both ends are padding, so they are no values and not the newest minute."""
    read_series = found(SAMPLED)

    assert read_series.task == ""
    assert values(read_series.cpu) == [None, 0.552, 0.6105]
    assert values(read_series.memory) == [None, 0.4, 0.415]
    assert values(read_series.accelerator) == [None, 0.9411, 0.88]
    assert values(read_series.accelerator_memory) == [None, 0.7, 0.0]


def test_disk_rates_are_kilobytes_and_network_rates_bytes() -> None:
    """Trap 21: 9 KB/s read are 9000 B/s, and 1024 B/s received are 1024 B/s."""
    read_series = found(SAMPLED)

    assert KILOBYTE == 1000
    assert values(read_series.disk_read) == [None, 42_159_500.0, 9000.0]
    assert values(read_series.disk_written) == [None, 0.0, 12_500.0]
    assert values(read_series.network_received) == [None, 5_761_229.0, 1024.0]
    assert values(read_series.network_transmitted) == [None, 18_311.75, 2048.0]


@pytest.mark.parametrize(
    "shape",
    [
        SAMPLED,
        json.dumps(SAMPLED),
        json.dumps(json.dumps(SAMPLED)),
        [SAMPLED],
        [json.dumps(SAMPLED)],
        AS_NUMBERS,
        f"  {json.dumps(SAMPLED)}\n",
    ],
    ids=["object", "text", "text in text", "list", "text in a list", "numbers", "text with spaces around"],
)
def test_every_form_of_the_list_gives_the_same_series(shape: object) -> None:
    """Trap 17: an object, its JSON text, text of that, and a list around it are equal."""
    assert found(shape) == found(SAMPLED)


@pytest.mark.parametrize("shape", [None, "", "  ", {}, "{}", '"{}"', [], "[]", "null"], ids=repr)
def test_an_empty_list_is_no_series(shape: object) -> None:
    """null, empty text and an empty object mean "no samples yet" and are not noted."""
    read_series, notes = read(shape)

    assert read_series is None
    assert notes.noted == []


def test_a_missing_list_is_no_series() -> None:
    """A record without the field has no samples."""
    assert series(NOTHING, accelerator=None, note=Notes()) is None


@pytest.mark.parametrize(
    "shape",
    ["not json", 17, True, "17", json.dumps(json.dumps(json.dumps(json.dumps({})))), '{"cpuUsage": [1e999]}'],
    ids=["text", "number", "boolean", "text of a number", "too many wrappings", "number out of range"],
)
def test_an_undecodable_list_is_noted(shape: object) -> None:
    """Anything that cannot be read is counted as unknown, and only the usage is missing."""
    read_series, notes = read(shape)

    assert read_series is None
    assert notes.fields == ["v1.system_metric_list"]


def test_only_padding_is_no_series() -> None:
    """If every series holds only bare zeros, nothing was sampled: absent, not 0."""
    read_series, notes = read({"cpuUsage": ["0", 0, None, ""], "memUsage": ["0", 0, -1, 0.0], "gpuUtil": ["0"] * 4})

    assert read_series is None
    assert notes.noted == []


def test_a_bare_zero_in_a_sampled_minute_is_a_true_zero() -> None:
    """Trap 18: the GPU was idle in the second and third minute, because CPU and memory have samples there."""
    read_series = found(
        {
            "cpuUsage": ["0", "5.00", "4.00", "0"],
            "memUsage": ["0", "40.00", "40.00", "0"],
            "gpuUtil": ["0", "0", "0", "0"],
        }
    )

    assert values(read_series.accelerator) == [None, 0.0, 0.0]
    assert summarise(read_series, idle_threshold=0.05).idle_s == 120.0  # two sampled minutes of 60 s, both idle


def test_a_cpu_job_has_no_accelerator_series() -> None:
    """Trap 20: the GPU series of a CPU job holds only bare zeros, which is not a GPU at 0 %."""
    silent = {"gpuUtil": ["0"] * 4, "gpuMemUsage": ["0"] * 4}

    read_series = found(SAMPLED | silent, accelerator=Accelerator.CPU)

    assert list(read_series.accelerator) == []
    assert list(read_series.accelerator_memory) == []
    assert values(read_series.cpu) == [None, 0.552, 0.6105]


def test_an_unknown_kind_uses_the_series_with_samples() -> None:
    """A version of unknown kind uses the card series that has samples; none if all hold only bare zeros."""
    silent = {"gpuUtil": ["0"] * 4, "gpuMemUsage": ["0"] * 4}
    npu = {"npuUtil": ["0", "50.00", "40.00", "0"], "npuMemUsage": ["0", "20.00", "20.00", "0"]}

    assert values(found(SAMPLED, accelerator=None).accelerator) == [None, 0.9411, 0.88]
    assert values(found(SAMPLED | silent | npu, accelerator=None).accelerator) == [None, 0.5, 0.4]
    assert list(found(SAMPLED | silent, accelerator=None).accelerator) == []


def test_an_npu_job_uses_the_npu_series() -> None:
    """The utilization of a version on NPUs is that of its NPUs, whatever the GPU series contains."""
    npu = {"npuUtil": ["0", "50.00", "40.00", "0"], "npuMemUsage": ["0", "20.00", "25.00", "0"]}

    read_series = found(SAMPLED | npu, accelerator=Accelerator.NPU)

    assert values(read_series.accelerator) == [None, 0.5, 0.4]
    assert values(read_series.accelerator_memory) == [None, 0.2, 0.25]


def test_a_gap_in_the_middle_is_no_sample() -> None:
    """A minute with bare zeros in every series was not sampled, so it is not idle."""
    read_series = found({"cpuUsage": ["5.00", "0", "7.00"], "gpuUtil": ["0.00", "0", "0.00"]})

    assert values(read_series.cpu) == [0.05, None, 0.07]
    assert values(read_series.accelerator) == [0.0, None, 0.0]


def test_a_shorter_series_lacks_its_newest_minutes() -> None:
    """All series begin at the same time, so a short one ends with None."""
    read_series = found({"cpuUsage": ["5.00", "6.00"], "memUsage": ["1.00"], "gpuUtil": []})

    assert values(read_series.memory) == [0.01, None]
    assert list(read_series.accelerator) == []


def test_impossible_values_are_left_out_and_noted_once_per_series() -> None:
    """A percentage is at most 100, slightly more by rounding; a word is no number. The other values are kept."""
    read_series, notes = read(
        {"cpuUsage": ["100.40", "250.00", "3000.00", "10.00"], "memUsage": ["x", {}, "1.00", "nan"]}
    )

    assert read_series is not None
    assert values(read_series.cpu) == [1.0, None, None, 0.1]
    assert values(read_series.memory) == [None, None, 0.01, None]
    assert notes.noted == [("v1.system_metric_list", 3000.0), ("v1.system_metric_list", "x")]


def test_a_series_that_is_not_a_list_is_left_out() -> None:
    """One bad series does not affect the others."""
    read_series, notes = read({"cpuUsage": ["5.00"], "memUsage": "5.00"})

    assert read_series is not None
    assert values(read_series.cpu) == [0.05]
    assert list(read_series.memory) == []
    assert notes.noted == [("v1.system_metric_list", "str")]


def test_an_interval_other_than_a_minute_is_noted() -> None:
    """1 is a minute; another value was never seen, and would make idle times wrong."""
    _, notes = read({"cpuUsage": ["5.00"], "interval": 5})

    assert notes.noted == [("v1.system_metric_list.interval", 5.0)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
TOKEN = st.sampled_from(["0", "0.00", "5.00", "-1", "nan", "inf", "1e400", 0, -1, 7, 0.5, None, ""]) | JSON
NAMES = ["cpuUsage", "memUsage", "gpuUtil", "gpuMemUsage", "npuUtil", "diskReadRate", "recvBytesRate", "interval"]


@settings(max_examples=60)
@given(
    value=st.dictionaries(st.sampled_from(NAMES), st.lists(TOKEN, max_size=6) | JSON) | JSON,
    accelerator=st.sampled_from([None, *Accelerator]),
    wrapped=st.booleans(),
)
def test_any_decodable_list_is_read_safely(value: Any, accelerator: Accelerator | None, *, wrapped: bool) -> None:
    """Any JSON gives a series or None: no error, no negative value, no ratio above 1."""
    read_series, _ = read(json.dumps(value) if wrapped else value, accelerator=accelerator)

    if read_series is None:
        return
    ratios = (read_series.cpu, read_series.memory, read_series.accelerator, read_series.accelerator_memory)
    assert all(value is None or 0 <= value <= 1 for samples in ratios for value in samples)
    rates = (read_series.disk_read, read_series.disk_written, read_series.network_received)
    assert all(value is None or value >= 0 for samples in rates for value in samples)
    everything = [len(samples) for samples in (*ratios, *rates) if samples]
    assert len(set(everything)) <= 1
