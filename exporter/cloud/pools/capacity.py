"""How the accelerators of one resource name divide: allocated, free, and out of reach on abnormal nodes. Pure.

The runtime call tells allocated and capacity; how many nodes are abnormal tells the listing; how many cards such a
node has tells its flavor. The first of them does not say whether its capacity has the abnormal nodes in it. Both
readings are met: where it equals what the available nodes have, the abnormal ones are added (docs/adr/0007).
"""

from dataclasses import dataclass

from exporter.domain.job import Accelerator
from exporter.domain.pool import PoolAccelerators


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCards:
    """Cards on the nodes of a pool that are of one resource; each None when some flavor's cards are not known."""

    available: float | None
    abnormal: float | None
    """0 when no node is abnormal, whatever the flavors."""


def split_capacity(
    *,
    resource: str,
    accelerator: Accelerator | None,
    capacity: float,
    allocated: float | None,
    cards: NodeCards,
) -> PoolAccelerators:
    """Divide a capacity as told by the cloud so that the parts sum up to the whole.

    An abnormal node may still run what it ran, and nothing tells how much: what is allocated counts as that first.
    So `unavailable` is what abnormal nodes have, but no more than what is left. It is None where the cards of an
    abnormal node are not known, and where more is allocated than there is: then the figures are not of one moment.
    """
    whole, unavailable = capacity, cards.abnormal
    if unavailable and cards.available is not None and capacity == cards.available:
        whole = capacity + unavailable
    if unavailable and allocated is None:
        unavailable = min(unavailable, whole)
    elif unavailable is not None and allocated is not None:
        unavailable = min(unavailable, whole - allocated) if allocated <= whole else None
    return PoolAccelerators(
        resource=resource, accelerator=accelerator, capacity=whole, allocated=allocated, unavailable=unavailable
    )
