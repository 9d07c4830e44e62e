"""The calls of v2 we make, each with the recorded answers that pin what comes back."""

from collections.abc import Sequence

import msgspec

from exporter.cloud.http.endpoint import Endpoint, Fixture
from exporter.cloud.v2 import wire

PAGE_SIZE = 50
"""The most a search may ask for; more is refused or silently clamped (API reference §1.3, trap 2)."""

ACTIVE_PHASES = ("Creating", "Pending", "Running", "Terminating")
PHASES = (*ACTIVE_PHASES, "Completed", "Failed", "Terminated", "Abnormal")

SEARCH = Endpoint(
    name="v2_search_jobs",
    method="POST",
    path="/v2/{project_id}/training-job-searches",
    answer=wire.JobPage,
    notes=(
        "Lists full job objects, read-only although a POST. `limit` is at most 50; whether `offset` counts pages or "
        "jobs is found out by asking (reference §1.3). `workspace_id` is always sent, because leaving it out means "
        "the default workspace only, never all. The sort is sent in full, so that newest first holds whatever the "
        "default is."
    ),
    fixtures=(
        Fixture(file="search_mixed.json", why="a public GPU job, a CPU job and a dedicated Ascend job on one page"),
        Fixture(file="search_empty.json", why="no jobs: items is null, and total still counts the whole history"),
        Fixture(file="search_drifted.json", why="numbers as text, a container as JSON text, one item beyond repair"),
    ),
)

DETAIL = Endpoint(
    name="v2_get_job",
    method="GET",
    path="/v2/{project_id}/training-jobs/{job_id}",
    answer=msgspec.Raw,
    notes=(
        "Asked only for a job that left the active set, or to confirm that one was deleted: a deleted job is HTTP "
        "400 with ModelArts.2775, not 404 (reference §8). Decoded part by part, like a listing's item, so that a "
        "single drifted field does not cost the job."
    ),
    fixtures=(
        Fixture(file="detail_gpu_running.json", why="the detail of a list item: same object, more fields, secrets"),
        Fixture(file="detail_ascend_dedicated.json", why="dedicated pool: no flavor_detail, undocumented pool_info"),
        Fixture(file="detail_allocated.json", why="dedicated pool: what the main container was given, as floats"),
        Fixture(file="detail_customized.json", why="dedicated pool, waiting: only what the user asked for is known"),
        Fixture(file="detail_visual_flavor.json", why="dedicated pool: nothing but the cards in the flavor's name"),
        Fixture(file="detail_hetero.json", why="heterogeneous job: a flavor a role, nodes counted by task names"),
        Fixture(file="detail_elastic.json", why="fewer nodes than asked for, and recoveries in the running records"),
        Fixture(file="detail_failed.json", why="exit codes of failed tasks; messages stay behind"),
        Fixture(file="detail_never_started.json", why="Abnormal/CreateFailed with start 0 and records that run back"),
        Fixture(file="detail_nulls.json", why="null wherever null can stand"),
        Fixture(file="detail_bare.json", why="nothing but an id"),
    ),
)

METRICS = Endpoint(
    name="v2_get_task_metrics",
    method="GET",
    path="/v2/{project_id}/training-jobs/{job_id}/metrics/{task}",
    answer=msgspec.Raw,
    notes=(
        "Percent by the minute, without times: aligned at the end. -1 is no sample. HTTP 204, with or without a "
        "body, means that there are none yet (reference §6.2)."
    ),
    fixtures=(
        Fixture(file="metrics_gpu.json", why="head and tail are -1; the NPU series of a GPU job are wholly -1"),
        Fixture(file="metrics_npu.json", why="the NPU series count; the GPU ones are missing altogether"),
        Fixture(file="metrics_cpu.json", why="a CPU job: every accelerator series is wholly -1"),
        Fixture(file="metrics_silent.json", why="nothing sampled yet: -1 everywhere"),
        Fixture(file="metrics_drifted.json", why="numbers as text, null, over 100 by rounding, impossible values"),
    ),
    may_be_empty=True,
)

ENDPOINTS = (SEARCH, DETAIL, METRICS)


def search_body(
    *,
    workspace_id: str,
    offset: int = 0,
    limit: int = PAGE_SIZE,
    phases: Sequence[str] = (),
    order: str = "desc",
) -> dict[str, object]:
    """Say what to search for: the jobs of one workspace by submission time, of some phases or (empty) of all."""
    body: dict[str, object] = {
        "offset": offset,
        "limit": min(limit, PAGE_SIZE),
        "sort_by": "create_time",
        "order": order,
        "workspace_id": workspace_id,
    }
    if phases:
        body["filters"] = [{"key": "phase", "operator": "in", "value": list(phases)}]
    return body
