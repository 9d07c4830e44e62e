"""The state file: saved state comes back, and a file that cannot be used is set aside, never lost."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.domain.accounting import QUEUE_BUCKETS_S, RUN_BUCKETS_S, RUN_STATUSES, Distribution, Holder
from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.recovery import BUCKETS_S
from exporter.domain.snapshot import Totals
from exporter.polling.accounting import AccountsState, AccountState, StretchState, Used
from exporter.polling.idle import IdleState
from exporter.polling.ledger import Counts, CountsState, EntryState, Ledger, LedgerState
from exporter.polling.poller import ProjectState
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
STATE = ProjectState(
    origin="https://cloud/p1",
    counts=CountsState(
        submitted={"": 3},
        started={"": 2},
        finished={"": {JobStatus.FAILED: 1}},
        accounts=AccountsState(
            waits={"": Distribution.empty(QUEUE_BUCKETS_S).with_one(90.5)},
            runs={"": {JobStatus.LOST: Distribution.empty(RUN_BUCKETS_S).with_one(1.25)}},
            used=[Used(Holder("", "ann", None), held_s=3.5, idle_s=2.5, lost_s=1.5)],
            recoveries={"pod_reschedule": 2},
            faults={"": {"node_fault": {"success": 2}}},
            recovery_times={"pod_reschedule": Distribution.empty(BUCKETS_S).with_one(60.0)},
        ),
    ),
    ledgers={
        "v2": LedgerState(
            bootstrapping=False,
            swept=True,
            watermark=1_700_000_000.0,
            seen={"a": 1_700_000_000.123},
            undated={"undated": 1_700_000_000.5},
            deleted={"gone": 1_700_000_000.25},
            polls=3,
            incomplete=frozenset({"a"}),
            entries=[
                EntryState(
                    job=JOB,
                    seen_at=1_700_000_001.5,
                    submitted=False,
                    started=True,
                    finished=True,
                    finished_seen_at=1_700_000_002.5,
                    gone=True,
                    mean_ratio=0.5,
                    account=AccountState(
                        since_s=10.0,
                        past=True,
                        waited=True,
                        ran=True,
                        nameless_polls=4,
                        poolless_polls=3,
                        held_s=20.5,
                        booked_s=19.5,
                        stretch=StretchState(
                            since_s=1.5,
                            before_s=2.5,
                            accelerators=8.0,
                            spec_nodes=2,
                            started_at=1_700_000_000.5,
                            run_s=7.5,
                        ),
                        lost_s=0.5,
                        recoveries={"pod_reschedule": 2},
                        faults={"node_fault": {"success": 2}},
                        recovery_times={"pod_reschedule": 1},
                        idle=IdleState(settled=7, streak=3, pending_s=180.0),
                        idle_over=True,
                    ),
                ),
            ],
        )
    },
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_saved_state_comes_back(path: Path) -> None:
    """Every field survives, odd characters, undated jobs and fractions of seconds included."""
    StateFile(path).save({"vision": STATE})

    assert StateFile(path).load() == ({"vision": STATE}, "")


def structs(value: object) -> Iterator[msgspec.Struct]:
    """Every struct in a state."""
    if isinstance(value, msgspec.Struct):
        yield value
        value = [getattr(value, name) for name in value.__struct_fields__]
    if isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from structs(inner)


def defaults(state: ProjectState) -> set[str]:
    """Fields of the structs in a state that have their default, and so would come back without being saved."""
    return {
        f"{type(struct).__name__}.{field.name}"
        for struct in structs(state)
        for field in msgspec.structs.fields(struct)
        if getattr(struct, field.name)
        == (field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory())
    }


def test_the_example_has_no_default_value() -> None:
    """The tests below prove that a field survives only if its value differs from the default: add new ones here."""
    assert defaults(STATE) == set()


def test_no_field_is_lost_between_two_processes(path: Path) -> None:
    """A field that the file, a `restore` or a `dump` forgets comes back as its default: then it is named here."""
    StateFile(path).save({"vision": STATE})
    state = StateFile(path).load()[0]["vision"]
    counts = Counts(max_users=10)
    counts.restore(state.counts)
    ledger = Ledger(counts=counts, retention_s=1.0, linger_s=1.0)
    ledger.restore(state.ledgers["v2"])
    again = ProjectState(origin=state.origin, counts=counts.dump(), ledgers={"v2": ledger.dump(means={})})

    assert defaults(again) == set()
    assert again.ledgers == STATE.ledgers
    restored = Counts(max_users=10)
    restored.restore(again.counts)
    assert restored.dump() == counts.dump()


def test_every_total_is_published() -> None:
    """Each field of `Totals` is filled from the state: one that is dropped on the way is empty."""
    counts = Counts(max_users=10)
    counts.restore(STATE.counts)
    totals = counts.freeze()

    assert [name for name in Totals.__dataclass_fields__ if not getattr(totals, name)] == []
    assert totals.finished["", JobStatus.FAILED] == 1
    assert sum(totals.runs["", JobStatus.LOST].counts) == 1


def test_state_that_is_dumped_does_not_change() -> None:
    """What a thread writes is a copy: later events change neither it nor the state that was restored from."""
    counts = Counts(max_users=10)
    counts.restore(STATE.counts)
    dumped = counts.dump()
    before = msgspec.json.encode(dumped), msgspec.json.encode(STATE.counts)
    counts.submitted(JOB)
    counts.started(JOB)
    counts.finished(JOB, JobStatus.FAILED)
    counts.accounts.observe_wait("", 1.0)
    counts.accounts.observe_run("", JobStatus.FAILED, 1.0)
    counts.accounts.recovered("pod_reschedule", 1)
    counts.accounts.failed("", "node_fault", "success", 1)
    counts.accounts.observe_recovery("pod_reschedule", 1.0)
    counts.accounts.use(Holder("", "ann", None), held_s=1.0)

    assert (msgspec.json.encode(dumped), msgspec.json.encode(STATE.counts)) == before


def test_other_buckets_start_at_zero() -> None:
    """Distributions with other buckets than today's cannot continue: they start at zero."""
    old = Distribution(bounds_s=(1.0, 2.0), counts=(3, 4, 5), sum_s=6.0)
    counts = Counts(max_users=10)
    counts.restore(CountsState(accounts=AccountsState(waits={"p": old}, runs={"p": {JobStatus.FAILED: old}})))
    totals = counts.freeze()

    assert totals.waits["p"] == Distribution.empty(QUEUE_BUCKETS_S)
    assert [totals.runs["p", status] for status in RUN_STATUSES] == [Distribution.empty(RUN_BUCKETS_S)] * 4


def test_a_large_list_is_written_whole(path: Path) -> None:
    """Lists are encoded in chunks: their borders lose and repeat nothing."""
    entry = STATE.ledgers["v2"].entries[0]
    entries = [
        msgspec.structs.replace(entry, job=Job(job_id=str(number), api=Api.V2)) for number in range(2 * 250 + 1)
    ]
    state = ProjectState(origin="here", ledgers={"v2": LedgerState(entries=entries)})
    StateFile(path).save({"vision": state})

    assert StateFile(path).load() == ({"vision": state}, "")


def test_no_file_is_a_first_start(path: Path) -> None:
    """A missing file is no reason for a warning."""
    assert StateFile(path).load() == ({}, "")


def document(version: int, **fields: Any) -> bytes:
    return json.dumps({"version": version, **fields}).encode()


@pytest.mark.parametrize(
    "content, reason",
    [
        pytest.param(b"", "truncated", id="empty"),
        pytest.param(b'{"version":1,"proj', "truncated", id="truncated"),
        pytest.param(b"\x00\xff not json", "malformed", id="rubbish"),
        pytest.param(document(VERSION, projects={"a": {"origin": 7}}), "$.projects[...].origin", id="wrong-type"),
        pytest.param(b"[]", "object", id="list"),
        pytest.param(b'{"projects":{}}', "version", id="no-version"),
        pytest.param(document(VERSION + 1, new=1), f"format {VERSION + 1}", id="newer"),
        pytest.param(document(VERSION - 1, projects={}), f"format {VERSION - 1}", id="older"),
    ],
)
def test_a_file_that_cannot_be_used_is_set_aside(path: Path, content: bytes, reason: str) -> None:
    """A file that is truncated, invalid or of another format is renamed and kept; a sentence gives the reason."""
    path.write_bytes(content)
    projects, warning = StateFile(path).load()

    assert projects == {}
    assert reason in warning
    assert "set aside as" in warning
    assert not path.exists()
    aside = [other for other in path.parent.iterdir() if other.name.startswith("state.json.set-aside-")]
    assert [other.read_bytes() for other in aside] == [content]


def test_a_file_that_cannot_be_read_stops_the_start(path: Path) -> None:
    """A file that exists and cannot be read must not be overwritten later: the start fails instead."""
    path.mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        StateFile(path).load()


def test_saving_replaces_the_file_whole(path: Path) -> None:
    """The old document stays readable through an open handle: the file is replaced, never written in place."""
    state = StateFile(path)
    state.save({"vision": STATE})
    with path.open("rb") as old:
        state.save({"vision": msgspec.structs.replace(STATE, origin="elsewhere")})
        assert b"https://cloud/p1" in old.read()
    assert state.load()[0]["vision"].origin == "elsewhere"
    assert [other.name for other in path.parent.iterdir()] == ["state.json"]


def test_a_full_disk_leaves_the_old_document(path: Path) -> None:
    """When the draft cannot be written the error is raised, and the last good document stays."""
    state = StateFile(path)
    state.save({"vision": STATE})
    draft = path.with_name(".state.json.draft")
    draft.mkdir()
    with pytest.raises(OSError, match="directory"):
        state.save({})
    assert state.load() == ({"vision": STATE}, "")


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    """The names of jobs and users are not for other users of the machine."""
    StateFile(path).save({"vision": STATE})

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@given(content=st.binary(max_size=200))
@settings(max_examples=60)
def test_no_content_is_ever_lost_or_raises(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever bytes a file holds, loading returns state or sets exactly these bytes aside."""
    path = tmp_path_factory.mktemp("state") / "state.json"
    path.write_bytes(content)
    projects, warning = StateFile(path).load()

    assert projects == {}
    assert warning
    assert [other.read_bytes() for other in path.parent.iterdir()] == [content]
