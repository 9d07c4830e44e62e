"""The protocol by which a backfill reads finished jobs, a page at a time."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from exporter.domain.job import Api, Job
from exporter.domain.usage import TaskSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoricJob:
    """One job of the history."""

    job: Job
    series: tuple[TaskSeries, ...] | None = None
    """The samples of its tasks, if the page contains them; None: to be requested per task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """One page of a history. A job may be on several pages if the listing moves meanwhile; the last one is newest."""

    jobs: tuple[HistoricJob, ...]
    cursor: str
    """Position after this page. Only the history that returned it can read it."""


class JobHistory(Protocol):
    """Every job that one API generation of one project still lists."""

    @property
    def api(self) -> Api:
        """Its API generation."""
        ...

    def pages(self, *, back_to: float, cursor: str = "") -> AsyncIterator[HistoryPage]:
        """Read every job submitted since then, and every active job; start after `cursor`.

        Holds a few pages in memory, whatever the length of the history. Raises SourceError at the first failed call;
        a new iteration can start at the last cursor.
        """
        ...
