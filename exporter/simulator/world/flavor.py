"""Resource specifications and engines of jobs."""

from dataclasses import dataclass
from functools import cache

V100 = "GP-Vnt1"
A100 = "nvidia-a100-nv80"
SNT9 = "ascend-Snt9b"

_GB = {V100: 32, A100: 80, SNT9: 64, "": 0}
_POOL_SIZE = {1: "xlarge", 2: "2xlarge", 4: "4xlarge", 8: "8xlarge", 16: "16xlarge"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """A resource specification, per node."""

    id: str
    name: str
    accelerator: str
    """`gpu`, `npu` or `cpu`."""
    cards: int
    """Accelerators in each node; 0 for `cpu`."""
    model: str
    """Product name of the accelerator; "" for `cpu`."""
    cores: int
    memory_gb: int
    max_nodes: int = 64
    public: bool = True

    @property
    def type(self) -> str:
        """The API's value: CPU, GPU or Ascend."""
        return {"gpu": "GPU", "npu": "Ascend"}.get(self.accelerator, "CPU")

    @property
    def card_memory_gb(self) -> int:
        """Memory of one accelerator, in GB."""
        return _GB.get(self.model, 32)

    @property
    def slots(self) -> int:
        """Slots of a node that one node of the job takes: its cards, or 1 without cards."""
        return self.cards or 1


@cache
def flavor(accelerator: str, cards: int, *, public: bool = True, model: str | None = None) -> Flavor:
    """Return the flavor with that many cards per node, named as the API names such flavors."""
    if accelerator not in {"gpu", "npu", "cpu"}:
        raise ValueError(f"accelerator is gpu, npu or cpu, not {accelerator!r}")
    if accelerator == "cpu":
        cards = 0
    chip = {"gpu": V100, "npu": SNT9, "cpu": ""}[accelerator] if model is None else model
    if not public:
        size = _POOL_SIZE.get(cards, f"{cards}cards") if cards else "cpu"
        name = f"modelarts.pool.visual.{size}" if cards else "modelarts.pool.cpu.8u"
        return Flavor(
            id=name,
            name=f"{cards} cards" if cards else "8 vCPUs",
            accelerator=accelerator,
            cards=cards,
            model=chip,
            cores=max(8, 12 * cards),
            memory_gb=max(32, 96 * cards),
            public=False,
        )
    code = {
        "gpu": f"modelarts.vm.gpu.{cards}v100NV32",
        "npu": f"modelarts.kat1.{cards}snt9",
        "cpu": "modelarts.vm.cpu.8u",
    }[accelerator]
    label = {"gpu": f"GPU: {cards}*{chip}(32GB)", "npu": f"Ascend: {cards}*{chip}(64GB)", "cpu": "CPU: 8 vCPUs 32GB"}
    return Flavor(
        id=code,
        name=label[accelerator],
        accelerator=accelerator,
        cards=cards,
        model=chip,
        cores=8 * max(1, cards),
        memory_gb=(64 if cards else 32) * max(1, cards),
        max_nodes=64 if cards == 8 else 1,  # noqa: PLR2004 -- only whole nodes are networked for distributed training
    )


PUBLIC = (*(flavor(kind, cards) for kind in ("gpu", "npu") for cards in (1, 2, 4, 8)), flavor("cpu", 0))
"""The flavors in the responses of the catalogue calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Software of a job; all fields but `image` are empty for a custom image."""

    name: str = ""
    version: str = ""
    id: str = ""
    image: str = ""


ENGINES = (
    Engine(name="PyTorch", version="pytorch_2.1.0-cuda_12.1-py_3.10", id="pytorch_2.1.0-cuda_12.1-py_3.10"),
    Engine(name="TensorFlow", version="TF-2.12.0-python3.9", id="tensorflow_2.12.0-python3.9"),
    Engine(name="MindSpore", version="mindspore_2.3.0-cann_8.0", id="mindspore_2.3.0-cann_8.0-py_3.9"),
    Engine(name="Ascend-Powered-Engine", version="pytorch_2.1-cann_8.0", id="ascend-pytorch_2.1-cann_8.0"),
    Engine(image="swr.example.invalid/training/base:2.4"),
)
