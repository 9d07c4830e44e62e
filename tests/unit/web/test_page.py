"""The status page: its content, and that names are text on it, never markup."""

import re
from typing import Any

import pytest

from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.snapshot import CollectorState, ProjectSnapshot, Snapshot, TrackedJob
from exporter.web.page import MAX_RUNNING, Link, Page, duration

NOW = 1_700_000_000.0
SEEN = CollectorState(name="jobs", ok=True, last_success_at=NOW - 42, duration_s=1.0)


def job(job_id: str = "j1", *, shown: bool = True, **facts: Any) -> TrackedJob:
    """A running job."""
    text: dict[str, Any] = {"status": JobStatus.RUNNING, "started_at": NOW - 3600} | facts
    return TrackedJob(project="vision", job=Job(job_id=job_id, api=Api.V2, **text), shown=shown)


def project(*jobs: TrackedJob, **facts: Any) -> Snapshot:
    """One project with these jobs, polled 42 seconds ago."""
    text = {
        "project": "vision",
        "jobs": {tracked.job.job_id: tracked for tracked in jobs},
        "collectors": (SEEN,),
    } | facts
    return Snapshot(taken_at=NOW, projects=(ProjectSnapshot(**text),))


@pytest.fixture
def page() -> Page:
    return Page(version="1.2.3", links=(Link(text="Metrics", href="./metrics"),))


def words(page: Page, snapshot: Snapshot | None) -> str:
    """The visible text of the page."""
    html = page.render(snapshot, now=NOW).partition("</head>")[2]
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_targets_are_shown(page: Page) -> None:
    """A target shows its state, its location, the age of its data and its jobs by status."""
    snapshot = project(job("a"), job("b"), job("c", status=JobStatus.QUEUED), cloud="otc", region="eu-de")

    text = words(page, snapshot)

    assert "vision up otc eu-de · last complete poll 42 s ago 1 queued 2 running" in text


@pytest.mark.parametrize(
    "facts, expected",
    [
        pytest.param({"collectors": ()}, "vision waiting no complete poll yet", id="first poll under way"),
        pytest.param(
            {"collectors": (CollectorState(name="jobs", ok=False, last_success_at=NOW - 600, duration_s=1.0),)},
            "vision down last complete poll 10 min 0 s ago",
            id="down",
        ),
        pytest.param({"jobs": None}, "Jobs are not shown", id="withdrawn"),
        pytest.param({"jobs": {}}, "No jobs.", id="no jobs"),
    ],
)
def test_state_of_a_target(page: Page, facts: dict[str, Any], expected: str) -> None:
    """Waiting, down, withdrawn and empty targets have different texts."""
    assert expected in words(page, project(**facts))


def test_before_the_first_snapshot(page: Page) -> None:
    """Before the first snapshot the page says so."""
    assert "The first poll has not ended yet." in words(page, None)


def test_running_jobs_are_shown(page: Page) -> None:
    """A running job shows its name, id, user, pool, accelerators and run time."""
    full = job(
        "id-1",
        name="resnet",
        user="ada",
        pool_id="p1",
        accelerator=Accelerator.NPU,
        spec_nodes=2,
        spec_accelerators=16,
    )

    assert "resnet id-1 vision ada p1 16 NPU 1 h 0 min" in words(page, project(full))


def test_unknown_values_of_a_running_job_are_left_out(page: Page) -> None:
    """A job with few known values shows its id and the public pool, and no invented values."""
    assert words(page, project(job("id-1", started_at=None))).endswith("Running for id-1 id-1 vision public")


def test_only_shown_running_jobs_are_listed(page: Page) -> None:
    """Queued jobs and filtered jobs are counted but not listed."""
    text = words(page, project(job("waits", status=JobStatus.QUEUED), job("hidden", shown=False)))

    assert "waits" not in text
    assert "hidden" not in text
    assert "None." in text


def test_long_list_is_truncated(page: Page) -> None:
    """Of many running jobs the most recently started are listed, with the total number."""
    jobs = [job(f"j{number:03}", started_at=NOW - number) for number in range(MAX_RUNNING + 10)]

    text = words(page, project(*jobs))

    assert "j049" in text
    assert "j050" not in text
    assert "The 50 most recently started of 60." in text


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\ud800"


def test_names_are_escaped(page: Page) -> None:
    """Names of jobs, pools and users are text on the page, never markup."""
    html = page.render(
        project(job(HOSTILE, name=HOSTILE, user=HOSTILE, pool_id=HOSTILE), project=HOSTILE, region=HOSTILE), now=NOW
    )

    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    "seconds, expected",
    [
        pytest.param(-5, "0 s", id="clocks that disagree"),
        pytest.param(59.9, "59 s", id="seconds"),
        pytest.param(200, "3 min 20 s", id="minutes"),
        pytest.param(18_120, "5 h 2 min", id="hours"),
        pytest.param(1_051_200, "12 d 4 h", id="days"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    """A duration is shown in its two largest units."""
    assert duration(seconds) == expected
