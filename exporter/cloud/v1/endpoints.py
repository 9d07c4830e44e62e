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
        "what it counts is not documented (§1.1.1, trap 5). The call was removed from the documentation in 2022 and "
        "may be missing; the job list and the versions call replace it. `status` takes a single value, so the "
        "exporter filters the rows itself. The rows have no job id, user or node count. `gpu_num` and `npu_num` are "
        "taken as the whole job's, unless records of jobs on several nodes show otherwise (§5.1). It may be one "
        "user's view: a version that runs in the job list and is missing here ends its use in that workspace for six "
        "hours (§13, fact 46). " + _IN_BAND
    ),
    fixtures=(
        Fixture(file="overview.json", why="the published row, made valid, and a waiting one with zeros for times"),
        Fixture(file="overview_drift.json", why="numbers as text, nulls, an unknown status, items of other types"),
        Fixture(file="refused.json", why="a failure in-band with its text in `error_message`"),
        Fixture(
            file="refused_msg.json", why="the same with `error_msg`, the name on other pages of the documentation"
        ),
    ),
    in_band_failure=True,
)

JOB_LIST = Endpoint(
    name="v1_list_jobs",
    method="GET",
    path="/v1/{project_id}/training-jobs",
    answer=wire.JobPage,
    notes=(
        "Maps versions to jobs, and replaces a missing overview. `per_page` is at most 1000 and pages start at 1 "
        "(§1.1.2); the total is only a hint. `workspace_id` is always sent: without it the call lists the default "
        "workspace, not all (trap 4). `search_content` limits it to one name where that saves pages. Also the probe "
        "for v1 (§10), with `per_page=1`. " + _IN_BAND
    ),
    fixtures=(
        Fixture(
            file="job_list.json", why="a job with one version, and one with three, of which the list has the newest"
        ),
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
        "Full records of every version of a job. Without `page` its paging is off (§1.1, trap 5); if the response "
        "has fewer versions than `version_count`, they are requested page by page. Cards are counted per node (§5.1, "
        "trap 24). `cpu` is the memory and `core` the number of cores, so neither is read (trap 22). " + _IN_BAND
    ),
    fixtures=(
        Fixture(file="versions.json", why="metric lists as JSON text, a complete flavor, secrets in parameters"),
        Fixture(
            file="versions_npu.json", why="NPUs, which only the flavor contains; several nodes; a null usage list"
        ),
    ),
    in_band_failure=True,
)

VERSION = Endpoint(
    name="v1_get_version",
    method="GET",
    path="/v1/{project_id}/training-jobs/{job_id}/versions/{version_id}",
    answer=wire.VersionRecord,
    notes=(
        "One version's record and its usage samples, one a minute. The address needs the job id beside the version "
        "id (trap 27). Percentages become ratios; network rates are bytes a second; disk rates are KB a second, "
        "taken as 1000 bytes, the meaning of the symbol, because the factor is not documented (§6.1, trap 21). A "
        "bare `0` in every series of a minute is padding (trap 18). " + _IN_BAND
    ),
    fixtures=(
        Fixture(file="version.json", why="the flat response; usage as an object, padded at head and tail"),
        Fixture(file="version_cpu.json", why="no cards: their series hold only bare zeros (trap 20)"),
        Fixture(file="version_numbers.json", why="usage as numbers in text of text; quality totals as an array"),
    ),
    in_band_failure=True,
)

WORKSPACES = Endpoint(
    name="v1_list_workspaces",
    method="GET",
    path="/v1/{project_id}/workspaces",
    answer=wire.WorkspacePage,
    optional=True,
    notes=(
        "Both generations list one workspace per call, and `0` is only the default one (trap 4), so "
        "`workspaces: all` needs this list. Requested in pages of 1000, the default (§1.1). `filter_accessible` "
        "leaves out those that the credential may not enter; where it is refused, it is not sent for an hour. A "
        "workspace with another status than NORMAL, or whose listing is refused while others are answered, is set "
        "aside and asked for again every hour (§13, fact 43). " + _IN_BAND
    ),
    fixtures=(Fixture(file="workspaces.json", why="the default workspace and a named one"),),
    in_band_failure=True,
)

ENDPOINTS: tuple[Endpoint[Any], ...] = (OVERVIEW, JOB_LIST, VERSIONS, VERSION, WORKSPACES)
"""Every call of v1; `docs/endpoints.md` is generated from it."""
