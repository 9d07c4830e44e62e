"""The calls about pools and quotas, each with the recorded responses that its decoding is tested with."""

from exporter.cloud.http.endpoint import Endpoint, Fixture
from exporter.cloud.pools import wire

WORKLOADS_PAGE = 500
"""The maximum page size of workloads (API reference §1.2)."""

POOLS = Endpoint(
    name="v2_list_pools",
    method="GET",
    path="/v2/{project_id}/pools",
    answer=wire.PoolList,
    optional=True,
    notes=(
        "Pools with their nodes by state. Not paged. `workspaceId` is always sent, because without it only the "
        "default workspace is listed, as with jobs (trap 4). If it is refused (404, 403), pools are off, which is no "
        "failure, and it is requested again every hour."
    ),
    fixtures=(
        Fixture(
            file="pools.json", why="arrays of nodes by flavor, one of them abnormal; a logical pool; scope texts"
        ),
        Fixture(file="pools_objects.json", why="trap 37: one object where an array is documented; counts as text"),
        Fixture(
            file="pools_drifted.json",
            why="null, unknown phase, an id that is not valid in a path, an undecodable item",
        ),
        Fixture(file="pools_none.json", why="no pools: items is null"),
    ),
)

USAGE = Endpoint(
    name="v2_get_pool_usage",
    method="GET",
    path="/v2/{project_id}/metrics/runtime/pools",
    answer=wire.UsageList,
    optional=True,
    notes=(
        "Allocated resources and capacity of every pool in one call, as Kubernetes quantities by resource name. Any "
        "name is accepted: `nvidia.com/gpu`, `huawei.com/ascend-…`, or masked ones such as `tnt004` (trap 36)."
    ),
    fixtures=(
        Fixture(
            file="usage.json", why="1073m, 15548Mi and 64Gi beside plain numbers; two kinds of cards, one masked"
        ),
        Fixture(file="usage_drifted.json", why="invalid quantities, names of other devices, no capacity"),
    ),
)

STATISTICS = Endpoint(
    name="v2_get_pool_statistics",
    method="GET",
    path="/v2/{project_id}/statistics/pools/{pool}/workloads",
    answer=wire.Statistics,
    optional=True,
    notes=(
        "Workloads of one pool by kind and status, in one small response: one call per pool, for at most twenty "
        "pools a poll, in turns. A pool that was deleted meanwhile is 404 with ModelArts.50015001."
    ),
    fixtures=(
        Fixture(file="statistics.json", why="the sample's shape: statistics, numbers, an undocumented kind"),
        Fixture(file="statistics_statics.json", why="trap 37: the table's shape: statics, counts as text"),
    ),
)

WORKLOADS = Endpoint(
    name="v2_list_pool_workloads",
    method="GET",
    path="/v2/{project_id}/pools/{pool}/workloads",
    answer=wire.WorkloadList,
    optional=True,
    notes=(
        "Used only where the statistics are refused: lists the workloads, at most ten pages of 500. `offset` is "
        "documented as text and counts workloads; a page without new workloads is the last one."
    ),
    fixtures=(
        Fixture(file="workloads.json", why="training and notebook, isDeleted as text, an item without a status"),
    ),
)

FLAVORS = Endpoint(
    name="v1_list_node_flavors",
    method="GET",
    path="/v1/{project_id}/resourceflavors",
    answer=wire.FlavorList,
    optional=True,
    notes=(
        "Number and kind of the cards of a node of each flavor: needed for the cards of abnormal nodes, and for the "
        "kind of a masked resource name. Requested once an hour; paged by an opaque `continue`."
    ),
    fixtures=(
        Fixture(file="flavors.json", why="size as text and as a number, one NPU flavor, one without accelerators"),
    ),
    in_band_failure=True,
)

QUOTAS = Endpoint(
    name="v1_get_quotas",
    method="GET",
    path="/v1/{project_id}/quotas",
    answer=wire.Quotas,
    optional=True,
    notes="Quotas of pools and networks, every five minutes; documented as text and sampled as numbers (trap 37).",
    fixtures=(
        Fixture(file="quotas.json", why="pool and network, one of them as text, and one without a limit (-1)"),
    ),
    in_band_failure=True,
)

TRAINING_QUOTAS = Endpoint(
    name="v2_get_training_quotas",
    method="GET",
    path="/v2/{project_id}/training-quotas",
    answer=wire.Quotas,
    optional=True,
    notes="Quotas of training, such as the number of jobs. Found only in the vendor's SDK, so it may not exist.",
    fixtures=(
        Fixture(file="training_quotas.json", why="the quotas are a bare list, with another name for the resource"),
    ),
)

ENDPOINTS = (POOLS, USAGE, STATISTICS, WORKLOADS, FLAVORS, QUOTAS, TRAINING_QUOTAS)
