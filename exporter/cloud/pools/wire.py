"""The fields of responses about pools in use (API reference §7).

Scalars are `Any`: each may be missing, null, or of another type than documented. So are lists that are documented as
arrays in one place and as objects in another (trap 37). Items stay bytes, so that a bad one does not affect the
others.
"""

from typing import Any

import msgspec

Rows = list[msgspec.Raw] | None
"""Items of a listing. A field of this type has no default: an answer without it is no listing. null is an empty one.
"""


class PoolList(msgspec.Struct):
    """The pools of one workspace, not paged."""

    items: Rows


class PoolMetadata(msgspec.Struct):
    """Identity: `name` is the pool's id; its display name is a label."""

    name: Any = None
    labels: Any = None


class PoolSpec(msgspec.Struct):
    """The requested pool."""

    type: Any = None
    scope: Any = None
    resources: Any = None


class NodeCounts(msgspec.Struct):
    """Nodes by state: each a list of `{flavor, count}`, or one such object."""

    creating: Any = None
    available: Any = None
    abnormal: Any = None
    deleting: Any = None


class PoolStatus(msgspec.Struct):
    """The current state of the pool."""

    phase: Any = None
    resources: NodeCounts | None = None


class Pool(msgspec.Struct):
    """One pool."""

    metadata: PoolMetadata | None = None
    spec: PoolSpec | None = None
    status: PoolStatus | None = None


class UsageList(msgspec.Struct):
    """Usage of every pool of the project."""

    items: Rows


class UsageMetadata(msgspec.Struct):
    """The pool's id."""

    name: Any = None


class Amounts(msgspec.Struct):
    """Kubernetes quantities by resource name. `maxValue`, the limit of an elastic pool, is not read."""

    value: Any = None


class UsageTable(msgspec.Struct):
    """Allocated resources and capacity."""

    allocated: Amounts | None = None
    capacity: Amounts | None = None


class Usage(msgspec.Struct):
    """One pool's usage of its resources over the last minute."""

    metadata: UsageMetadata | None = None
    table: UsageTable | None = None


class Statistics(msgspec.Struct):
    """Workload counts of one pool. The documentation's table has `statics`, its sample `statistics`."""

    statistics: Any = None
    statics: Any = None


class WorkloadList(msgspec.Struct):
    """A page of a pool's workloads."""

    items: Rows


class Workload(msgspec.Struct):
    """One workload."""

    type: Any = None
    name: Any = None
    status: Any = None
    isDeleted: Any = None  # noqa: N815 - the API's spelling


class Continuation(msgspec.Struct):
    """Position of the next page of a Kubernetes-style listing; absent or empty at its end."""

    # Not named `continue`, which is a Python keyword.
    token: Any = msgspec.field(name="continue", default=None)


class FlavorList(msgspec.Struct):
    """A page of node flavors."""

    items: Rows
    metadata: Continuation | None = None


class FlavorMetadata(msgspec.Struct):
    """The flavor's name, as pools refer to it."""

    name: Any = None


class Cards(msgspec.Struct):
    """Accelerators of one node. `size` is documented as text."""

    type: Any = None
    size: Any = None


class FlavorSpec(msgspec.Struct):
    """Accelerators of a node of the flavor; neither for a flavor without."""

    gpu: Cards | None = None
    npu: Cards | None = None


class Flavor(msgspec.Struct):
    """One node flavor."""

    metadata: FlavorMetadata | None = None
    spec: FlavorSpec | None = None


class Quotas(msgspec.Struct):
    """Quotas: a list (training), or an object with the list as `resources` (pools and networks)."""

    quotas: Any


class Quota(msgspec.Struct):
    """One quota; its resource is `type` in one call and `resource` in the other."""

    type: Any = None
    resource: Any = None
    quota: Any = None
    used: Any = None
