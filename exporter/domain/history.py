"""The protocol by which a backfill reads what is long over, a page at a time."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from exporter.domain.job import Api, Job
from exporter.domain.usage import TaskSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoricJob:
    """One job as the archive tells it."""

    job: Job
    series: tuple[TaskSeries, ...] | None = None
    """The minutes of its tasks, where they came along; None: they have to be asked for, task by task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """One page of an archive. A job may stand on several, when the listing moved meanwhile; the last is newest."""

    jobs: tuple[HistoricJob, ...]
    cursor: str
    """Where to go on after this page; only the archive that gave it can read it."""


class JobHistory(Protocol):
    """Every job that one API generation of one project still lists."""

    @property
    def api(self) -> Api:
        """The generation it speaks."""
        ...

    def pages(self, *, back_to: float, cursor: str = "") -> AsyncIterator[HistoryPage]:
        """Walk every job submitted since then, and the active ones however old; begin after a bookmark.

        Holds a few pages at a time, however long the history. Raises SourceError at the first call that fails, after
        which a new walk can begin at the last bookmark.
        """
        ...
