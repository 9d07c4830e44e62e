"""Conversion of task metrics to samples."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cloud.v2.series import series
from exporter.domain.job import Accelerator
from exporter.domain.usage import TaskSeries, summarise
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v2.fixtures import recorded

GPU, NPU, CPU = Accelerator.GPU, Accelerator.NPU, Accelerator.CPU


def read(raw: object, *, accelerator: Accelerator | None = GPU, notes: Notes | None = None) -> TaskSeries | None:
    data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    return series(data, task="worker-0", accelerator=accelerator, note=notes if notes is not None else Notes())


def metrics(**metrics: object) -> dict[str, Any]:
    return {"metrics": [{"metric": name, "value": value} for name, value in metrics.items()]}


def test_percent_become_ratios_and_minus_one_is_none() -> None:
    """Trap 19: -1 is no sample, at either end; 97.5 % are 0.975. A GPU job has no NPU series."""
    notes = Notes()

    found = read(recorded("metrics_gpu.json"), notes=notes)

    assert found == TaskSeries(
        task="worker-0",
        cpu=[None, None, 2.43 / 100, 0.5, None],
        memory=[None, None, 0.205, 0.21, None],
        accelerator=[None, None, 0.975, 0.8825, None],
        accelerator_memory=[None, None, 0.6, 0.615, None],
    )
    assert notes.noted == []


def test_minus_one_is_not_averaged() -> None:
    """Trap 19: the mean over the run is (0.975 + 0.8825) / 2 = 0.92875, and "now" is the last complete minute."""
    found = read(recorded("metrics_gpu.json"))
    assert found is not None

    usage = summarise(found, idle_threshold=0.05)

    assert usage.accelerator_mean_ratio == pytest.approx(0.92875)
    assert (usage.cpu_ratio, usage.accelerator_ratio) == (0.5, 0.8825)


def test_an_npu_job_is_read_from_its_npu_series() -> None:
    """The NPU series of an NPU job are used; the GPU ones are missing."""
    found = read(recorded("metrics_npu.json"), accelerator=NPU)

    assert found is not None
    assert found.accelerator == [None, 0.75, 0.8]
    assert found.accelerator_memory == [None, 0.4, 0.4]


@pytest.mark.parametrize("accelerator", [pytest.param(CPU, id="known-cpu"), pytest.param(None, id="kind-unknown")])
def test_a_cpu_job_has_no_accelerator_series(accelerator: Accelerator | None) -> None:
    """Trap 20: accelerator series with only -1 are no series."""
    found = read(recorded("metrics_cpu.json"), accelerator=accelerator)

    assert found is not None
    assert (found.cpu, found.accelerator, found.accelerator_memory) == ([None, 0.99, 1.0], (), ())


def test_a_known_cpu_job_is_not_idle() -> None:
    """Trap 20: zeros for a job that is known to hold no accelerator are not an idle accelerator."""
    found = read(metrics(cpuUsage=[50], gpuUtil=[0], npuUtil=[0]), accelerator=CPU)

    assert found is not None
    assert found.accelerator == ()


@pytest.mark.parametrize("accelerator", [GPU, NPU, CPU, None])
def test_no_sample_yet_is_no_data(accelerator: Accelerator | None) -> None:
    """-1 in every series gives None, as an empty response does."""
    assert read(recorded("metrics_silent.json"), accelerator=accelerator) is None


@pytest.mark.parametrize(
    "raw",
    [{}, {"metrics": None}, {"metrics": []}, metrics(cpuUsage=[]), metrics(cpuUsage=None)],
    ids=lambda raw: str(raw)[:30],
)
def test_no_series_is_no_data(raw: object) -> None:
    """An answer without series, or with empty ones, is None and not noted."""
    notes = Notes()

    assert read(raw, notes=notes) is None
    assert notes.noted == []


def test_values_of_other_types() -> None:
    """Numbers as text are read, 100.4 and 100.9 are a rounded 100, and 101, 150, -3, true and "NaN" are None."""
    notes = Notes()

    found = read(recorded("metrics_drifted.json"), notes=notes)

    assert found is not None
    assert found.cpu == [None, 0.125, None, 1.0]
    assert found.memory == [None, None, None, 0.4]
    assert found.accelerator == [None, None, 1.0, 0.5]
    assert found.accelerator_memory == [0.1, 0.2, 0.3, 0.4]  # the list is JSON text
    assert notes.noted == [("v2.metrics.value", "NaN"), ("v2.metrics.value", 150)]  # once per series


@pytest.mark.parametrize(
    "kind,gpu,npu,expected",
    [
        pytest.param(GPU, [10], [20], [0.1], id="gpu-job-own-series-wins"),
        pytest.param(NPU, [10], [20], [0.2], id="npu-job-npu-wins"),
        pytest.param(GPU, [0], [20], [0.0], id="own-zero-is-a-measurement"),
        pytest.param(GPU, [-1], [20], [0.2], id="other-kind-has-samples"),
        pytest.param(GPU, [-1], [0], (), id="zeros-of-the-other-kind-are-no-proof"),
        pytest.param(NPU, [30], [-1], [0.3], id="other-kind-has-samples-npu"),
        pytest.param(None, [10], [-1], [0.1], id="unknown-gpu"),
        pytest.param(None, [-1], [20], [0.2], id="unknown-npu"),
        pytest.param(None, [0], [20], [0.2], id="unknown-the-busy-one"),
        pytest.param(None, [0], [-1], [0.0], id="unknown-idle"),
        pytest.param(None, [-1], [0], [0.0], id="unknown-idle-npu"),
    ],
)
def test_which_accelerator_series_is_used(
    kind: Accelerator | None, gpu: list[float], npu: list[float], expected: object
) -> None:
    """The job's kind decides if its series has a sample; else the series that is not only zeros."""
    found = read(metrics(cpuUsage=[50], gpuUtil=gpu, npuUtil=npu), accelerator=kind)

    assert found is not None
    assert found.accelerator == expected


def test_the_memory_series_is_that_of_the_same_accelerator() -> None:
    """The memory series follows the selected utilization series, even if only that memory series has a sample."""
    found = read(metrics(gpuUtil=[-1], gpuMemUsage=[60], npuUtil=[0], npuMemUsage=[0]))

    assert found is not None
    assert (found.accelerator, found.accelerator_memory) == ([None], [0.6])


def test_a_single_series() -> None:
    """Series have any order and may be missing; names are compared without case."""
    found = read(metrics(MEMUSAGE=[10]))

    assert found == TaskSeries(task="worker-0", memory=[0.1])


def test_a_bad_series_is_left_out_alone() -> None:
    """A series that is not a list, and one that is not an object, are noted; the others are read."""
    notes = Notes()

    found = read(
        {"metrics": [{"metric": "cpuUsage", "value": 7}, "gpuUtil", {"metric": "memUsage", "value": [50]}]},
        notes=notes,
    )

    assert found == TaskSeries(task="worker-0", cpu=[], memory=[0.5])
    assert notes.fields == ["v2.metrics.metrics.value", "v2.metrics.metrics"]


def test_a_value_out_of_range_keeps_the_samples_in_place() -> None:
    """A number too large for a float is a missing sample, and the samples around it keep their places."""
    raw = b'{"metrics": [{"metric": "cpuUsage", "value": [null, 10, 1e999, 30]}]}'

    found = read(raw)

    assert found == TaskSeries(task="worker-0", cpu=[None, 0.1, None, 0.3])


@pytest.mark.parametrize("raw", [b"[]", b'"text"', b"7", b"null"])
def test_an_undecodable_answer_is_no_data(raw: bytes) -> None:
    """A response that is not an object is noted and gives None."""
    notes = Notes()

    assert read(raw, notes=notes) is None
    assert notes.fields == ["v2.metrics"]


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6)
)
percents = st.lists(st.floats(min_value=-1, max_value=120) | scalars, max_size=6)
names = st.sampled_from(["cpuUsage", "memUsage", "gpuUtil", "gpuMemUsage", "npuUtil", "npuMemUsage", "other"])
entry = scalars | st.fixed_dictionaries({}, optional={"metric": names | scalars, "value": percents | scalars})


@settings(max_examples=100)
@given(metrics=st.lists(entry, max_size=7) | scalars, accelerator=st.none() | st.sampled_from(Accelerator))
def test_any_json_gives_ratios_or_nothing(metrics: object, accelerator: Accelerator | None) -> None:
    """Any JSON: no exception, every sample between 0 and 1, and no accelerator for a CPU job."""
    found = series(msgspec.json.encode({"metrics": metrics}), task="worker-0", accelerator=accelerator, note=Notes())

    if found is None:
        return
    for samples in (found.cpu, found.memory, found.accelerator, found.accelerator_memory):
        assert all(value is None or 0 <= value <= 1 for value in samples)
    if accelerator is CPU:
        assert (found.accelerator, found.accelerator_memory) == ((), ())


def twice(name: str, first: list[object], second: list[object]) -> dict[str, Any]:
    answer = metrics(memUsage=[-1, 20.0, 20.0])
    answer["metrics"] += [{"metric": name, "value": first}, {"metric": name, "value": second}]
    return answer


@pytest.mark.parametrize(
    "first, second, expected, noted",
    [
        pytest.param([-1, 10.0, 12.0], [-1, 10.0, 12.0], [None, 0.1, 0.12], 0, id="the same twice"),
        pytest.param([-1, 10.0, 12.0], [-1, -1, -1], [None, 0.1, 0.12], 0, id="the second has no sample"),
        pytest.param([-1, -1, -1], [-1, 10.0, 12.0], [None, 0.1, 0.12], 0, id="the first has no sample"),
        pytest.param([], [-1, 10.0, 12.0], [None, 0.1, 0.12], 0, id="the first is empty"),
        pytest.param([-1, 10.0, 12.0], [-1, 50.0, 60.0], [], 1, id="they differ"),
        pytest.param([-1, 50.0, 60.0], [-1, 10.0, 12.0], [], 1, id="they differ, the other way round"),
        pytest.param([-1, 10.0, 12.0], [-1, 10.0], [], 1, id="they differ in length"),
    ],
)
@pytest.mark.parametrize("name", ["cpuUsage", "gpuUtil"])
def test_two_series_of_one_name(
    name: str, first: list[object], second: list[object], expected: list[float | None], noted: int
) -> None:
    """Of two series that differ neither is known to be true: the value is absent and the case is counted."""
    notes = Notes()

    found = read(twice(name, first, second), notes=notes)

    assert found is not None
    assert list(found.cpu if name == "cpuUsage" else found.accelerator) == expected
    assert list(found.memory) == [None, 0.2, 0.2]
    assert notes.noted == [("v2.metrics.metric", name.lower())] * noted
