"""Divides the accelerators of one resource name: allocated, free, and unavailable on abnormal nodes. Pure.

The usage call has allocated and capacity, the listing has the number of abnormal nodes, and a flavor has the cards of
such a node. Whether capacity includes abnormal nodes is not documented, and both cases are handled: if capacity
equals the cards of the available nodes, the cards of the abnormal ones are added (docs/adr/0007).
"""

from dataclasses import dataclass

from exporter.domain.job import Accelerator
from exporter.domain.pool import PoolAccelerators


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCards:
    """Cards of one resource on the nodes of a pool; None when the number of cards of some flavor is unknown."""

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
    """Divide a capacity so that its parts add up to the whole.

    An abnormal node may still run workloads, and how many is unknown, so allocated cards are subtracted first.
    `unavailable` is the cards of abnormal nodes, but at most what is left. It is None where the number of cards of an
    abnormal node is unknown, and where more is allocated than there is: the numbers are then of different moments.
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
