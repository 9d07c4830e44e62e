"""The v2 calls in use, each with the recorded responses that its decoding is tested with."""

from collections.abc import Sequence

import msgspec

from exporter.cloud.http.endpoint import Endpoint, Fixture
from exporter.cloud.v2 import wire

PAGE_SIZE = 50
"""The maximum page size of a search; a larger one is refused or silently reduced (API reference §1.3, trap 2)."""

ACTIVE_PHASES = ("Creating", "Pending", "Running", "Terminating")
PHASES = (*ACTIVE_PHASES, "Completed", "Failed", "Terminated", "Abnormal")

SEARCH = Endpoint(
    name="v2_search_jobs",
    method="POST",
    path="/v2/{project_id}/training-job-searches",
    answer=wire.JobPage,
    notes=(
        "Lists full job objects; a POST that only reads. `limit` is at most 50; a probe detects whether `offset` "
        "counts pages or jobs (reference §1.3). `workspace_id` is always sent, because without it only the default "
        "workspace is listed. The complete sort is sent, so that jobs come newest first whatever the default is. "
        "`unified_jobs` lists fine-tuning jobs together with custom ones; where it is refused, it is left out for an "
        "hour."
    ),
    fixtures=(
        Fixture(file="search_mixed.json", why="a public GPU job, a CPU job and a dedicated Ascend job on one page"),
        Fixture(file="search_empty.json", why="no jobs: items is null, and total still counts the whole history"),
        Fixture(file="search_drifted.json", why="numbers as text, a container as JSON text, one undecodable item"),
    ),
)

DETAIL = Endpoint(
    name="v2_get_job",
    method="GET",
    path="/v2/{project_id}/training-jobs/{job_id}",
    answer=msgspec.Raw,
    notes=(
        "Requested only for a job that is no longer listed as active, or to confirm that one was deleted: a deleted "
        "job is HTTP 400 with ModelArts.2775, not 404 (reference §8). Decoded part by part, like a listing's item, "
        "so that one unexpected field does not lose the job."
    ),
    fixtures=(
        Fixture(file="detail_gpu_running.json", why="the detail of a list item: same object, more fields, secrets"),
        Fixture(file="detail_ascend_dedicated.json", why="dedicated pool: no flavor_detail, undocumented pool_info"),
        Fixture(file="detail_allocated.json", why="dedicated pool: resources of the main container, as floats"),
        Fixture(file="detail_customized.json", why="dedicated pool, waiting: only the requested resources are known"),
        Fixture(
            file="detail_visual_flavor.json", why="dedicated pool: only the flavor's name has the number of cards"
        ),
        Fixture(file="detail_hetero.json", why="heterogeneous job: one flavor per role, nodes counted by task names"),
        Fixture(file="detail_elastic.json", why="fewer nodes than requested, and recoveries in the running records"),
        Fixture(file="detail_failed.json", why="exit codes of failed tasks; messages are not read"),
        Fixture(
            file="detail_never_started.json",
            why="Abnormal/CreateFailed with start 0 and records that end before they start",
        ),
        Fixture(file="detail_nulls.json", why="null in every field that can be null"),
        Fixture(file="detail_bare.json", why="no field but the id"),
    ),
)

METRICS = Endpoint(
    name="v2_get_task_metrics",
    method="GET",
    path="/v2/{project_id}/training-jobs/{job_id}/metrics/{task}",
    answer=msgspec.Raw,
    optional=True,
    notes=(
        "Percent, one value a minute, without times: the last value is the newest. -1 is no sample. HTTP 204, with "
        "or without a body, means that there is none yet (reference §6.2)."
    ),
    fixtures=(
        Fixture(
            file="metrics_gpu.json", why="first and last values are -1; the NPU series of a GPU job hold only -1"
        ),
        Fixture(file="metrics_npu.json", why="the NPU series have samples; the GPU ones are missing"),
        Fixture(file="metrics_cpu.json", why="a CPU job: every accelerator series holds only -1"),
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
    unified_jobs: bool = True,
) -> dict[str, object]:
    """Build the body of a search: jobs of one workspace by submission time; `phases` empty means all phases.

    `unified_jobs`: fine-tuning jobs too. Without it a search has custom jobs only (API reference §13, fact 42).
    """
    body: dict[str, object] = {
        "offset": offset,
        "limit": min(limit, PAGE_SIZE),
        "sort_by": "create_time",
        "order": order,
        "workspace_id": workspace_id,
    }
    if unified_jobs:
        body["unified_jobs"] = True
    if phases:
        body["filters"] = [{"key": "phase", "operator": "in", "value": list(phases)}]
    return body
