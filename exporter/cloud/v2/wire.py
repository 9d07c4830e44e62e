"""What v2 writes, reduced to what we use (API reference §2.4, §6.2, §7).

Scalars are `Any`: each may be missing, null, or of another type than documented, and is read through `cloud.values`.
Whatever has no field here is skipped by the decoder and never becomes an object of ours: parameters, environments,
commands, endpoints with their tokens, messages (traps 23 and 28).
"""

from typing import Any

import msgspec


class Metadata(msgspec.Struct):
    """Who and when. `create_time` is in ms."""

    id: Any = None
    name: Any = None
    create_time: Any = None
    workspace_id: Any = None
    user_name: Any = None


class TaskStatus(msgspec.Struct):
    """How one task failed. Its message is free text and stays behind."""

    task: Any = None
    exit_code: Any = None


class RunningRecord(msgspec.Struct):
    """One (re)start. Its times are in seconds, unlike every other time of v2 (trap 13)."""

    start_at: Any = None
    end_at: Any = None
    end_recover: Any = None
    end_recover_before_downgrade: Any = None


class RecoverRecord(msgspec.Struct):
    """One fault and what was done about it. Its reason is free text and stays behind."""

    fault_scenario: Any = None


class Status(msgspec.Struct):
    """Where the job stands. `start_time` and `duration` are in ms; a start of 0 means "not yet"."""

    phase: Any = None
    secondary_phase: Any = None
    duration: Any = None
    start_time: Any = None
    node_count_metrics: list[Any] | None = None
    """Pairs of [ms, nodes], a step function whose values repeat around changes."""
    tasks: list[Any] | None = None
    task_statuses: list[TaskStatus] | None = None
    running_records: list[RunningRecord] | None = None
    recover_records: list[RecoverRecord] | None = None


class Engine(msgspec.Struct):
    """The framework; all empty for a custom image."""

    engine_name: Any = None
    engine_version: Any = None


class Algorithm(msgspec.Struct):
    """What is run, of which only the engine is ours to know."""

    engine: Engine | None = None


class Card(msgspec.Struct):
    """Accelerators of one node. `unit_num` is documented as text for NPUs and seen as a number (trap 16)."""

    unit_num: Any = None
    product_name: Any = None


class FlavorInfo(msgspec.Struct):
    """One node's hardware; a flavor without accelerators has neither object."""

    cpu: Any = None
    gpu: Card | None = None
    npu: Card | None = None


class Flavor(msgspec.Struct):
    """A flavor as public pools and heterogeneous tasks tell it. Its `billing.unit_num` counts no cards (trap 23)."""

    flavor_id: Any = None
    flavor_type: Any = None
    flavor_info: FlavorInfo | None = None


class Container(msgspec.Struct):
    """What one node's main container gets or asks for. The cores have two names in two places."""

    accelerator_num: Any = None
    accelerator_type: Any = None
    cpu_core_num: Any = None
    core_num: Any = None
    mem_size: Any = None
    pool_resource_flavor: Any = None


class Resource(msgspec.Struct):
    """What the job asks for, per node, and on how many nodes."""

    flavor_id: Any = None
    node_count: Any = None
    pool_id: Any = None
    flavor_detail: Flavor | None = None
    main_container_allocated_resources: Container | None = None
    pool_info: Container | None = None
    main_container_customized_flavor: Container | None = None


class Spec(msgspec.Struct):
    """The job as asked for."""

    resource: Resource | None = None


class Role(msgspec.Struct):
    """One role of a heterogeneous job, with the flavor of each of its nodes."""

    role: Any = None
    task_resource: Flavor | None = None


class Job(msgspec.Struct):
    """A job, as a listing's item or as a detail: the same object (API reference §2.4)."""

    kind: Any = None
    metadata: Metadata | None = None
    status: Status | None = None
    algorithm: Algorithm | None = None
    tasks: list[Role] | None = None
    spec: Spec | None = None


class JobPage(msgspec.Struct):
    """One page of a search. Its `total`, `count`, `limit` and `offset` are hearsay and not even read (trap 3).

    `items` has no default: an answer without it is no listing, and must not pass for "no jobs". null is an empty one.
    The items stay bytes, so that each can be bad for itself.
    """

    items: list[msgspec.Raw] | None


class Metric(msgspec.Struct):
    """One series, a value a minute, in percent; -1 is no sample."""

    metric: Any = None
    value: list[Any] | None = None


class TaskMetrics(msgspec.Struct):
    """Every series of one task."""

    metrics: list[Metric] | None = None
