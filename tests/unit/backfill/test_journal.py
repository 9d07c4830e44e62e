"""The journal: writes are atomic, and one process at a time has it open."""

import asyncio
import sys
from pathlib import Path

import pytest

from exporter.backfill.journal import Journal, JournalInUse
from exporter.domain.history import HistoricJob, HistoryPage
from exporter.domain.job import Api, Job
from exporter.domain.usage import TaskSeries
from tests.unit.backfill.past import T0, ran

SERIES = TaskSeries(task="worker-0", cpu=[None, 0.5], accelerator=[0.25, None])


def page(*jobs: Job, cursor: str = "page 1") -> HistoryPage:
    return HistoryPage(jobs=tuple(HistoricJob(job=job) for job in jobs), cursor=cursor)


def taken(journal: Journal, page: HistoryPage, *, ask: bool = True) -> None:
    journal.save_page("vision", Api.V2, page, at=T0, keep=[(past, ask) for past in page.jobs])


def test_jobs_come_back_in_the_order_of_submission(tmp_path: Path) -> None:
    """The order of the output does not depend on the order of the listing."""
    late, early = ran("late", begin=50, run=10), ran("early", begin=0, run=10, quality={"f1": 0.5})
    with Journal(tmp_path / "journal") as journal:
        taken(journal, page(late, early))

        assert [entry.job for entry in journal.jobs("vision", samples=True)] == [early, late]
        assert list(journal.jobs("speech")) == []


def test_a_job_listed_twice_is_stored_once(tmp_path: Path) -> None:
    """Pages shift while jobs are added: the newer version is kept, and its samples are not requested again."""
    with Journal(tmp_path / "journal") as journal:
        taken(journal, page(ran("j1", begin=0, run=10)))
        journal.save_samples("vision", "j1", (SERIES,), at=T0 + 99)
        taken(journal, page(ran("j1", begin=0, run=20), cursor="page 2"))

        (entry,) = journal.jobs("vision", samples=True)
        assert (entry.job.ended_at, entry.read_at) == (T0 + 20, T0 + 99)
        assert [(each.task, each.cpu, each.accelerator) for each in entry.series] == [
            ("worker-0", [None, 0.5], [0.25, None])
        ]
        assert journal.pending("vision", Api.V2, limit=10) == []
        assert journal.cursor("vision", Api.V2) == ("page 2", False)


def test_a_job_without_samples_is_requested_once(tmp_path: Path) -> None:
    """An empty response counts as a response."""
    with Journal(tmp_path / "journal") as journal:
        taken(journal, page(ran("j1", begin=0, run=10), ran("j2", begin=1, run=10)))
        journal.save_samples("vision", "j1", (), at=T0)

        assert [job.job_id for job in journal.pending("vision", Api.V2, limit=10)] == ["j2"]
        assert (journal.count("vision"), journal.count("vision", pending=True)) == (2, 1)


def test_everything_is_stored(tmp_path: Path) -> None:
    """A second process finds the parameters, the cursor, and that a listing is complete."""
    with Journal(tmp_path / "journal") as journal:
        journal.set_parameters({"--since": "30d"})
        taken(journal, page(ran(begin=0, run=10)))
        journal.finish_listing("vision", Api.V2)

    with Journal(tmp_path / "journal") as journal:
        assert journal.parameters() == {"--since": "30d"}
        assert journal.cursor("vision", Api.V2) == ("page 1", True)
        assert journal.cursor("vision", Api.V1) == ("", False)
        assert journal.count("vision") == 1


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    """The second process that opens a journal gets an error and changes nothing."""
    code = (
        "import sys; from pathlib import Path; from exporter.backfill.journal import Journal\n"
        "with Journal(Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()"
    )
    other = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        tmp_path / "journal",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert other.stdout is not None
        assert await asyncio.wait_for(other.stdout.readline(), 30) == b"open\n"
        with pytest.raises(JournalInUse, match="in use by another process"):
            Journal(tmp_path / "journal")
    finally:
        await other.communicate(b"")
    with Journal(tmp_path / "journal") as journal:
        assert journal.parameters() == {}


def test_another_file_is_rejected(tmp_path: Path) -> None:
    """Another file in its place is an OSError, not a traceback."""
    (tmp_path / "journal").write_bytes(b"not a database, and long enough to be read as one" * 50)

    with pytest.raises(OSError, match="journal"):
        Journal(tmp_path / "journal")
