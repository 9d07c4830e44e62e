"""What the calls about pools write, reduced to what we use (API reference §7).

Scalars are `Any`, as everywhere: each may be missing, null, or of another type than documented. So are the lists that
are documented as arrays in one place and as objects in another (trap 37). Items stay bytes, so that each can be bad
for itself.
"""

from typing import Any

import msgspec

Rows = list[msgspec.Raw] | None
"""Items of a listing. No default where it stands: an answer without them is no listing. null is an empty one."""


class PoolList(msgspec.Struct):
    """The pools of one workspace, not paged."""

    items: Rows


class PoolMetadata(msgspec.Struct):
    """Who: `name` is the pool's id, what people call it stands in a label."""

    name: Any = None
    labels: Any = None


class PoolSpec(msgspec.Struct):
    """The pool as asked for."""

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
    """The pool as it is."""

    phase: Any = None
    resources: NodeCounts | None = None


class Pool(msgspec.Struct):
    """One pool."""

    metadata: PoolMetadata | None = None
    spec: PoolSpec | None = None
    status: PoolStatus | None = None


class UsageList(msgspec.Struct):
    """What is allocated in every pool of the project."""

    items: Rows


class UsageMetadata(msgspec.Struct):
    """Which pool: its id."""

    name: Any = None


class Amounts(msgspec.Struct):
    """Kubernetes quantities by resource name. Its `maxValue` is what an elastic pool could grow to, and not read."""

    value: Any = None


class UsageTable(msgspec.Struct):
    """What is allocated, of how much."""

    allocated: Amounts | None = None
    capacity: Amounts | None = None


class Usage(msgspec.Struct):
    """One pool's use of its resources, over the last minute."""

    metadata: UsageMetadata | None = None
    table: UsageTable | None = None


class Statistics(msgspec.Struct):
    """Workloads of one pool, counted. The table of the documents says `statics`, their sample `statistics`."""

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
    isDeleted: Any = None  # noqa: N815 - theirs


class Continuation(msgspec.Struct):
    """Where a Kubernetes-style listing goes on; absent or empty at its end."""

    # Not called `continue` here, which is a word of Python's.
    token: Any = msgspec.field(name="continue", default=None)


class FlavorList(msgspec.Struct):
    """A page of node flavors."""

    items: Rows
    metadata: Continuation | None = None


class FlavorMetadata(msgspec.Struct):
    """Which flavor: the name that pools use."""

    name: Any = None


class Cards(msgspec.Struct):
    """Accelerators of one node. `size` is documented as text."""

    type: Any = None
    size: Any = None


class FlavorSpec(msgspec.Struct):
    """What a node of the flavor has; a flavor without accelerators has neither."""

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
    """One quota; its resource is called `type` by one call and `resource` by the other."""

    type: Any = None
    resource: Any = None
    quota: Any = None
    used: Any = None
