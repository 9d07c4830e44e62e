"""The kind of accelerator, from the names that the cloud uses (API reference §5.2, "kind by name")."""

import re

from exporter.domain.job import Accelerator

_NPU = re.compile(
    r"ascend|atlas|snt\d|(?<![a-z])npu|vnpu"
    r"|(?<![a-z])kat\d"  # modelarts.kat1.*: Ascend 910
    r"|(?<![a-z])k?ai\d"  # vm.ai1.*, kai1s: Ascend 310
    r"|\b[ad](?:310|9\d0)[a-z]?(?![a-z\d])",  # a310, D910B
    re.IGNORECASE,
)
_GPU = re.compile(
    r"nvidia|^gp-|tesla|gpu"
    r"|(?<![a-z])[apv]nt\d"  # masked product names: Pnt1, GP-Vnt1, 8ant8
    r"|[avh]100"
    r"|\b(?:[avh]\d{2,3}|t4|p\d{1,3}[nsv]?|l(?:4|20|40s?))(?![a-z\d])",  # H800, p1, P40; a bare v1 is a version
    re.IGNORECASE,
)
_FLAVOR_TYPES = {"GPU": Accelerator.GPU, "ASCEND": Accelerator.NPU, "NPU": Accelerator.NPU, "CPU": Accelerator.CPU}


def by_flavor_type(flavor_type: str) -> Accelerator | None:
    """Read `flavor_type` (GPU, Ascend, CPU), which takes precedence over names; None for other values."""
    return _FLAVOR_TYPES.get(flavor_type.upper())


def by_name(name: str) -> Accelerator | None:
    """Recognise a product, flavor or resource name; None for masked and unknown names ("tnt004")."""
    if _NPU.search(name):
        return Accelerator.NPU
    if _GPU.search(name):
        return Accelerator.GPU
    return None
