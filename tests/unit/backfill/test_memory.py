"""Memory grows with pools, timestamps, a page and a batch, not with the number of jobs."""

import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest

from exporter.backfill.grid import Grid
from exporter.backfill.journal import Journal
from exporter.backfill.reader import Period, Reader
from exporter.backfill.write import OutputFormat, ProjectSelection, Writer
from exporter.domain.history import HistoricJob, HistoryPage
from exporter.domain.job import Api
from exporter.domain.usage import TaskSeries
from tests.clock import ManualClock
from tests.unit.backfill.past import T0, ran

SPAN_S = 86_400.0
SERIES = (TaskSeries(task="worker-0", cpu=[0.5] * 12, accelerator=[0.25] * 12),)


@dataclass
class History:
    """This number of jobs over a day, in pages, newest first, with their samples."""

    jobs: int
    api: Api = Api.V2

    async def pages(self, *, back_to: float, cursor: str = "") -> AsyncIterator[HistoryPage]:
        del back_to, cursor
        for page in range(0, self.jobs, 50):
            numbers = range(page, min(page + 50, self.jobs))
            jobs = [
                ran(f"j{n}", begin=SPAN_S * (1 - n / self.jobs), wait=60, run=600, user=f"u{n % 9}") for n in numbers
            ]
            yield HistoryPage(jobs=tuple(HistoricJob(job=job, series=SERIES) for job in jobs), cursor=str(page))


async def peak_of(jobs: int, root: Path) -> int:
    """Peak memory of Python over a whole backfill of this number of jobs."""
    folder = Path(mkdtemp(dir=root))
    tracemalloc.start()
    with Journal(folder / "journal") as journal:
        reader = Reader(
            project="vision",
            journal=journal,
            period=Period(since=T0, until=T0 + SPAN_S, back_to=T0),
            retention_s=3600.0,
            wants_samples=lambda _: True,
            is_transient=lambda _: False,
            clock=ManualClock(T0 + SPAN_S),
            progress=lambda *_, **__: None,
        )
        await reader.read_jobs(History(jobs))
        form = OutputFormat(grid=Grid.covering(T0, T0 + SPAN_S, step=300), retention_s=3600.0)
        writer = Writer(form, journal=journal, spool=folder / "spool")
        written = writer.write(folder / "history.om", [ProjectSelection(project="vision")])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert written.samples > jobs * 24
    return peak


@pytest.mark.endurance
async def test_five_times_the_history_needs_the_same_memory(tmp_path: Path) -> None:
    """The additional peak memory of 2000 jobs over 400 is under 300 bytes per job, for a whole backfill."""
    await peak_of(100, tmp_path)  # what is made once: decoders, label memories
    few = await peak_of(400, tmp_path)
    many = await peak_of(2000, tmp_path)

    assert many - few < 1600 * 300, (few, many)
