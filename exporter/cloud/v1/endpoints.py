"""Every v1 call in use, with the reason for its parameters (API reference §1.1). All of them read only.

The documentation titles the parameters of these GET calls "Request Body"; they are query parameters (trap 6). No sort
parameter is sent: its name and default differ from page to page (trap 7), so the client sorts.
"""

from typing import Any

from exporter.cloud.http.endpoint import Endpoint, Fixture
from exporter.cloud.v1 import wire

_IN_BAND = "A failure may come with any HTTP status, 200 included, as `is_success: false` (§8.1, trap 8)."

OVERVIEW = Endpoint(
    name="v1_list_overview",
    method="GET",
    path="/v1/{project_id}/training-jobs/versions",
    answer=wire.OverviewPage,
    notes=(
        "All versions of a workspace in one call: here `limit=0` means everything, and no `offset` is sent, because "
        "nobody says what it counts (§1.1.1, trap 5). The call left the documents in 2022 and may be missing: then "
        "the job list and the versions call stand in. `status` takes one value as far as the text shows, so we "
        "filter for ourselves. Its rows have no job id, user or node count; `gpu_num` and `npu_num` are taken for "
        "the whole job's, until records of jobs on several nodes show otherwise (§5.1). " + _IN_BAND
    ),
    fixtures=(
        Fixture(file="overview.json", why="the published row, made valid, beside one that waits: zeros for times"),
        Fixture(file="overview_drift.json", why="numbers as text, nulls, an unknown status, items that are no rows"),
        Fixture(file="refused.json", why="failure in-band, its text under `error_message`"),
        Fixture(file="refused_msg.json", why="the same under `error_msg`, as other pages and fixtures have it"),
    ),
    in_band_failure=True,
)

JOB_LIST = Endpoint(
    name="v1_list_jobs",
    method="GET",
    path="/v1/{project_id}/training-jobs",
    answer=wire.JobPage,
    notes=(
        "Maps versions to jobs, and stands in for a missing overview. `per_page` is 1000 at most and pages start at "
        "1 (§1.1.2); the total is a hint only. `workspace_id` is always sent: its default is the default workspace, "
        "not all (trap 4). `search_content` narrows it to one name where that saves pages. Also the probe for v1 "
        "(§10), with `per_page=1`. " + _IN_BAND
    ),
    fixtures=(
        Fixture(file="job_list.json", why="a job with one version, and one with three: the list names the newest"),
        Fixture(file="job_list_strings.json", why="ids, status and time as text, as in the create call's sample"),
    ),
    in_band_failure=True,
)

VERSIONS = Endpoint(
    name="v1_list_versions",
    method="GET",
    path="/v1/{project_id}/training-jobs/{job_id}/versions",
    answer=wire.VersionPage,
    notes=(
        "Full records of every version of a job. Without `page` its paging is off (§1.1, trap 5); when fewer "
        "versions come than `version_count` says, it is asked again page by page. Cards are counted per node (§5.1, "
        "trap 24); `cpu` is memory and `core` the cores, so neither is read (trap 22). " + _IN_BAND
    ),
    fixtures=(
        Fixture(file="versions.json", why="metric lists as JSON text, a flavor told in full, secrets in parameters"),
        Fixture(file="versions_npu.json", why="NPUs, which only the flavor tells; several nodes; a null usage list"),
    ),
    in_band_failure=True,
)

VERSION = Endpoint(
    name="v1_get_version",
    method="GET",
    path="/v1/{project_id}/training-jobs/{job_id}/versions/{version_id}",
    answer=wire.VersionRecord,
    notes=(
        "One version's record and its minutes of usage. The job id must be known: the version id does not do (trap "
        "27). Percentages become ratios; network rates are bytes a second; disk rates are KB a second, taken as "
        "1000 bytes, because nobody says and 1000 is what the symbol means (§6.1, trap 21). A bare `0` in every "
        "series at once is padding (trap 18). " + _IN_BAND
    ),
    fixtures=(
        Fixture(file="version.json", why="the flat answer; usage as an object, padded at head and tail"),
        Fixture(file="version_cpu.json", why="no cards: their series are wholly bare zeros (trap 20)"),
        Fixture(file="version_numbers.json", why="usage as numbers in text of text; quality totals as an array"),
    ),
    in_band_failure=True,
)

WORKSPACES = Endpoint(
    name="v1_list_workspaces",
    method="GET",
    path="/v1/{project_id}/workspaces",
    answer=wire.WorkspacePage,
    notes=(
        "Both generations list one workspace at a time and take `0` for the default one only (trap 4), so "
        "`workspaces: all` needs this list. Asked in pages of 1000, the default (§1.1). " + _IN_BAND
    ),
    fixtures=(Fixture(file="workspaces.json", why="the default workspace and a named one"),),
    in_band_failure=True,
)

ENDPOINTS: tuple[Endpoint[Any], ...] = (OVERVIEW, JOB_LIST, VERSIONS, VERSION, WORKSPACES)
"""Every call of v1; `docs/endpoints.md` is generated from it."""
