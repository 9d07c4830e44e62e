"""The state file: what is remembered comes back, and what cannot be understood is set aside, never lost."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.polling.memory import (
    AccountMemory,
    CountsMemory,
    EntryMemory,
    FinishedCount,
    IdleMemory,
    LedgerMemory,
    ProjectMemory,
    RunCount,
    UsedCount,
    WaitCount,
)
from exporter.polling.statefile import VERSION, StateFile

JOB = Job(
    job_id="a",
    api=Api.V2,
    name='odd "name"\n\u2028',
    status=JobStatus.RUNNING,
    accelerator=Accelerator.NPU,
    submitted_at=1_700_000_000.123,
    node_steps=((1_700_000_000.123, 2), (1_700_000_060.0, 1)),
    recoveries={"pod_reschedule": 2},
    task_exit_codes={"worker-0": 137},
    tasks=("worker-0", "worker-1"),
)
MEMORY = ProjectMemory(
    origin="https://cloud/p1",
    counts=CountsMemory(
        submitted={"": 3},
        started={"": 2},
        finished=(FinishedCount(pool_id="", status=JobStatus.FAILED, count=1),),
        waits=(WaitCount(pool_id="", counts=(0, 2), sum_s=90.5),),
        runs=(RunCount(pool_id="", status=JobStatus.LOST, counts=(1, 0), sum_s=1.25),),
        used=(UsedCount(pool_id="", user="ann", accelerator=None, held_s=3.5, idle_s=2.5, lost_s=1.5),),
        recoveries={"pod_reschedule": 2},
    ),
    ledgers={
        "v2": LedgerMemory(
            seeded=True,
            swept=True,
            watermark=1_700_000_000.0,
            seen={"a": 1_700_000_000.123, "undated": None},
            lost={"gone": 1_700_000_000.25},
            looks=3,
            incomplete=("a",),
            entries=(
                EntryMemory(
                    job=JOB,
                    seen_at=1_700_000_001.5,
                    started=True,
                    finished=False,
                    mean_ratio=0.5,
                    account=AccountMemory(
                        since_s=10.0,
                        waited=True,
                        held_s=20.5,
                        lost_s=0.5,
                        recoveries={"pod_reschedule": 2},
                        idle=IdleMemory(settled=7, streak=3, pending_s=180.0),
                    ),
                ),
            ),
        )
    },
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_what_was_saved_comes_back(path: Path) -> None:
    """Every field survives, odd characters, undated jobs and fractions of seconds included."""
    StateFile(path).save({"vision": MEMORY})

    assert StateFile(path).load() == ({"vision": MEMORY}, "")


def test_no_file_is_a_first_start(path: Path) -> None:
    """A missing file is no reason for a warning."""
    assert StateFile(path).load() == ({}, "")


@pytest.mark.parametrize(
    "content, reason",
    [
        pytest.param(b"", "truncated", id="empty"),
        pytest.param(b'{"version":1,"proj', "truncated", id="truncated"),
        pytest.param(b"\x00\xff not json", "malformed", id="rubbish"),
        pytest.param(b'{"version":1,"projects":{"a":{"origin":7}}}', "$.projects[...].origin", id="wrong-type"),
        pytest.param(b"[]", "object", id="list"),
        pytest.param(b'{"projects":{}}', "version", id="no-version"),
        pytest.param(json.dumps({"version": VERSION + 1, "new": 1}).encode(), "format", id="newer"),
    ],
)
def test_what_cannot_be_understood_is_set_aside(path: Path, content: bytes, reason: str) -> None:
    """A file that is truncated, wrong or newer is kept under another name, and the sentence says so and why."""
    path.write_bytes(content)
    projects, warning = StateFile(path).load()

    assert projects == {}
    assert reason in warning
    assert "set aside as" in warning
    assert not path.exists()
    aside = [other for other in path.parent.iterdir() if other.name.startswith("state.json.set-aside-")]
    assert [other.read_bytes() for other in aside] == [content]


def test_a_file_of_an_exporter_without_accounts_is_read(path: Path) -> None:
    """Format 1 is understood: its totals go on, and its jobs have no accounts yet."""
    path.write_bytes(
        json.dumps(
            {
                "version": 1,
                "projects": {
                    "vision": {
                        "origin": "here",
                        "counts": {"submitted": {"": 3}, "started": {}, "finished": []},
                        "ledgers": {
                            "v2": {
                                "seeded": True,
                                "entries": [
                                    {
                                        "job": {
                                            "job_id": "a",
                                            "api": "v2",
                                            "status": "running",
                                            "run_duration_s": 9.0,
                                        },
                                        "seen_at": 1.0,
                                        "started": True,
                                        "finished": False,
                                    }
                                ],
                            }
                        },
                    }
                },
            }
        ).encode()
    )
    projects, warning = StateFile(path).load()

    assert warning == ""
    assert projects["vision"].counts.submitted == {"": 3}
    assert [entry.account for entry in projects["vision"].ledgers["v2"].entries] == [None]


def test_a_file_that_cannot_be_read_stops_the_start(path: Path) -> None:
    """What is there and cannot be read must not be overwritten later: the start ends instead."""
    path.mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        StateFile(path).load()


def test_saving_replaces_the_file_whole(path: Path) -> None:
    """The old document stays readable through an open handle: the file is replaced, never written in place."""
    state = StateFile(path)
    state.save({"vision": MEMORY})
    with path.open("rb") as old:
        state.save({"vision": replace(MEMORY, origin="elsewhere")})
        assert b"https://cloud/p1" in old.read()
    assert state.load()[0]["vision"].origin == "elsewhere"
    assert [other.name for other in path.parent.iterdir()] == ["state.json"]


def test_a_full_disk_leaves_the_old_document(path: Path) -> None:
    """When the draft cannot be written the error is raised, and the last good document stays."""
    state = StateFile(path)
    state.save({"vision": MEMORY})
    draft = path.with_name(".state.json.draft")
    draft.mkdir()
    with pytest.raises(OSError, match="directory"):
        state.save({})
    assert state.load() == ({"vision": MEMORY}, "")


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    """Names of jobs and users are nobody else's business."""
    StateFile(path).save({"vision": MEMORY})

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@given(content=st.binary(max_size=200))
@settings(max_examples=60)
def test_no_content_is_ever_lost_or_raises(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever bytes a file holds, loading gives memory or sets the very bytes aside."""
    path = tmp_path_factory.mktemp("state") / "state.json"
    path.write_bytes(content)
    projects, warning = StateFile(path).load()

    assert projects == {}
    assert warning
    assert [other.read_bytes() for other in path.parent.iterdir()] == [content]
