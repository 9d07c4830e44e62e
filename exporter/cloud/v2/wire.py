"""The fields of v2 responses in use (API reference §2.4, §6.2, §7).

Scalars are `Any`: each may be missing, null, or of another type than documented; `exporter.cloud.decode.values` reads
them. The decoder skips every other field, so parameters, environments, commands, endpoints with their tokens and
messages (traps 23 and 28) are never stored.
"""

from typing import Any

import msgspec


class Metadata(msgspec.Struct):
    """Identity and submission time. `create_time` is in ms."""

    id: Any = None
    name: Any = None
    create_time: Any = None
    workspace_id: Any = None
    user_name: Any = None


class TaskStatus(msgspec.Struct):
    """Failure of one task. Its message is free text and not read."""

    task: Any = None
    exit_code: Any = None


class RecoverRecord(msgspec.Struct):
    """One fault and its recovery. Its times are in seconds, its reason is free text and not read."""

    recover_start_at: Any = None
    recover_end_at: Any = None
    """0 while the recovery goes on."""
    recover: Any = None
    fault_scenario: Any = None
    related_task: Any = None
    recover_result: Any = None


class RunningRecord(msgspec.Struct):
    """One (re)start. Its times are in seconds, unlike every other time of v2 (trap 13)."""

    start_at: Any = None
    end_at: Any = None
    end_recover: Any = None
    end_recover_before_downgrade: Any = None
    end_related_task: Any = None
    recover_records: list[RecoverRecord] | None = None


class Status(msgspec.Struct):
    """Status and times. `start_time` and `duration` are in ms; a start of 0 means "not yet"."""

    phase: Any = None
    secondary_phase: Any = None
    duration: Any = None
    start_time: Any = None
    node_count_metrics: list[Any] | None = None
    """Pairs of [ms, nodes], a step function whose values repeat around changes."""
    tasks: list[Any] | None = None
    task_statuses: list[TaskStatus] | None = None
    running_records: list[RunningRecord] | None = None


class Engine(msgspec.Struct):
    """The framework; all empty for a custom image."""

    engine_name: Any = None
    engine_version: Any = None


class Algorithm(msgspec.Struct):
    """The algorithm, of which only the engine is read."""

    engine: Engine | None = None


class Card(msgspec.Struct):
    """Accelerators of one node. `unit_num` is documented as text for NPUs and seen as a number (trap 16)."""

    unit_num: Any = None
    npu: Any = None
    """In place of `unit_num`, as documented elsewhere (fact 50)."""
    product_name: Any = None


class FlavorInfo(msgspec.Struct):
    """Hardware of one node; a flavor without accelerators has neither `gpu` nor `npu`."""

    cpu: Any = None
    gpu: Card | None = None
    npu: Card | None = None


class Flavor(msgspec.Struct):
    """A flavor in public pools and heterogeneous tasks. Its `billing.unit_num` does not count cards (trap 23)."""

    flavor_id: Any = None
    flavor_type: Any = None
    flavor_info: FlavorInfo | None = None


class Container(msgspec.Struct):
    """Resources of one node's main container. The number of cores has different names in two places."""

    accelerator_num: Any = None
    accelerator_type: Any = None
    cpu_core_num: Any = None
    core_num: Any = None
    mem_size: Any = None
    pool_resource_flavor: Any = None


class Resource(msgspec.Struct):
    """Requested resources per node, and the number of nodes."""

    flavor_id: Any = None
    node_count: Any = None
    pool_id: Any = None
    pool_group_id: Any = None
    """The pool group of a federated job, which may have no `pool_id` (fact 47)."""
    flavor_detail: Flavor | None = None
    main_container_allocated_resources: Container | None = None
    pool_info: Container | None = None
    main_container_customized_flavor: Container | None = None


class SchedulePolicy(msgspec.Struct):
    """Scheduling in a dedicated pool."""

    priority: Any = None
    preemptible: Any = None


class Spec(msgspec.Struct):
    """The requested job."""

    resource: Resource | None = None
    runtime_type: Any = None
    schedule_policy: SchedulePolicy | None = None


class Role(msgspec.Struct):
    """One role of a heterogeneous job, with the flavor of each of its nodes."""

    role: Any = None
    task_resource: Flavor | None = None


class Job(msgspec.Struct):
    """A job; an item of a listing and a detail are the same object (API reference §2.4)."""

    kind: Any = None
    metadata: Metadata | None = None
    status: Status | None = None
    algorithm: Algorithm | None = None
    tasks: list[Role] | None = None
    ftjob_config: Any = None
    """Fine-tuning jobs only."""
    spec: Spec | None = None


class JobPage(msgspec.Struct):
    """One page of a search. `total`, `count`, `limit` and `offset` are unreliable and not read (trap 3).

    `items` has no default, because an answer without it is not an empty listing; null is one. The items stay bytes,
    so that a bad one does not affect the others.
    """

    items: list[msgspec.Raw] | None


class Metric(msgspec.Struct):
    """One series with one value a minute, in percent; -1 is no sample."""

    metric: Any = None
    value: list[Any] | None = None


class TaskMetrics(msgspec.Struct):
    """Every series of one task."""

    metrics: list[Metric] | None = None
