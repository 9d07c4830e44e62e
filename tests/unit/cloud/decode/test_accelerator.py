"""The kind of accelerator by flavor type and by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cloud.decode.accelerator import by_flavor_type, by_name
from exporter.domain.job import Accelerator

GPU, NPU = Accelerator.GPU, Accelerator.NPU


@pytest.mark.parametrize(
    "flavor_type,expected",
    [
        pytest.param("GPU", GPU, id="gpu"),
        pytest.param("Ascend", NPU, id="ascend"),
        pytest.param("ascend", NPU, id="case-does-not-matter"),
        pytest.param("NPU", NPU, id="npu"),
        pytest.param("CPU", Accelerator.CPU, id="cpu"),
        pytest.param("TPU", None, id="unknown"),
        pytest.param("", None, id="missing"),
    ],
)
def test_the_flavor_type_names_the_kind(flavor_type: str, expected: Accelerator | None) -> None:
    """GPU, Ascend and CPU are the documented flavor types."""
    assert by_flavor_type(flavor_type) is expected


@pytest.mark.parametrize(
    "name",
    [
        "nvidia-a100-nv80",
        "nvidia-v100-pcie",
        "GP-Vnt1",
        "Pnt1",
        "modelarts.bm.8ant8",
        "modelarts.vm.pnt1.large.eco",
        "modelarts.vm.gpu.1v100NV32.pub",
        "modelarts.p1.2xlarge",
        "p2v.2xlarge",
        "Tesla T4",
        "H800",
        "L40S",
        "nvidia.com/gpu",
    ],
)
def test_gpus_by_name(name: str) -> None:
    """Names of GPUs in products, flavors and resource keys."""
    assert by_name(name) is GPU


@pytest.mark.parametrize(
    "name", ["ascend-Snt9b", "Snt9", "modelarts.kat1.8snt9b", "D910B", "huawei.com/ascend-1980", "modelarts.npu.8"]
)
def test_npus_by_name(name: str) -> None:
    """Names of NPUs in products, flavors and resource keys."""
    assert by_name(name) is NPU


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("tnt004", id="masked-in-documents"),
        pytest.param("modelarts.vm.cpu.8u", id="cpu-flavor"),
        pytest.param("modelarts.pool.visual.8xlarge", id="sold-for-both"),
        pytest.param("kunpeng.v1", id="a-version-is-no-v100"),
        pytest.param("t6.large", id="a-general-purpose-ecs"),
        pytest.param("input-node", id="npu-inside-a-word"),
        pytest.param("giant2", id="ant2-inside-a-word"),
    ],
)
def test_an_ambiguous_name_has_no_kind(name: str) -> None:
    """A masked or neutral name gives None."""
    assert by_name(name) is None


@given(name=st.text())
def test_no_name_is_a_cpu(name: str) -> None:
    """No name means `cpu`, which would claim that there is no accelerator; any text is accepted."""
    assert by_name(name) in (GPU, NPU, None)


@pytest.mark.parametrize(
    "name",
    [
        "modelarts.kat1.8xlarge", "modelarts.kat1.1snt9", "modelarts.kat2.xlarge", "snt9", "Snt9b23", "ascend-snt3",
        "modelarts.vm.ai1.a310", "modelarts.vm.ai1.2xlarge", "kai1s.large", "a310", "D910B", "huawei.com/Ascend310P",
    ],
)  # fmt: skip
def test_names_of_npus(name: str) -> None:
    """Fact 50: every product line of Ascend 910 and 310 is recognised."""
    assert by_name(name) is Accelerator.NPU


@pytest.mark.parametrize("name", ["modelarts.vm.gpu.a100", "a800", "nvidia-a30", "modelarts.vm.cpu.ai-team"])
def test_names_that_are_not_npus(name: str) -> None:
    """Similar names of GPUs, and words."""
    assert by_name(name) is not Accelerator.NPU
