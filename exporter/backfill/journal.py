"""What a backfill has read so far, in SQLite: it survives a kill, sorts the jobs and keeps memory small."""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from exporter.domain.history import HistoricJob, HistoryPage
from exporter.domain.job import Api, Job
from exporter.domain.usage import TaskSeries

VERSION = "2"
"""Version of the tables. A journal of another version cannot be continued."""

_TABLES = """
CREATE TABLE IF NOT EXISTS parameters (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS listings (
    project TEXT NOT NULL, api TEXT NOT NULL, cursor TEXT NOT NULL, complete INTEGER NOT NULL,
    PRIMARY KEY (project, api)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (
    project TEXT NOT NULL, job_id TEXT NOT NULL, api TEXT NOT NULL,
    submitted_at REAL, started_at REAL, ended_at REAL,
    samples_read INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (project, job_id)
);
CREATE INDEX IF NOT EXISTS jobs_in_order ON jobs (project, submitted_at, job_id);
CREATE INDEX IF NOT EXISTS jobs_pending ON jobs (project, api, samples_read, job_id);
CREATE TABLE IF NOT EXISTS samples (
    project TEXT NOT NULL, job_id TEXT NOT NULL, read_at REAL NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (project, job_id)
);
"""

_JOB = msgspec.json.Decoder(Job)
_SERIES = msgspec.msgpack.Decoder(tuple[TaskSeries, ...])


class JournalInUse(Exception):
    """Another process has the journal open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """One job as it was stored."""

    job: Job
    series: tuple[TaskSeries, ...] = ()
    read_at: float = 0.0
    """When its samples were read, by our clock."""


class Journal:
    """One journal. Each method that writes is one transaction: after a kill it is complete or absent.

    All methods block for some milliseconds. The constructor raises JournalInUse if another process has the file open.
    """

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)  # it contains names of jobs and users
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.0)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("BEGIN EXCLUSIVE")  # rolls back what a killed process left
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._db.close()
            if "locked" in str(error):
                raise JournalInUse(f"{path.parent} is in use by another process") from error
            raise OSError(f"{path}: {error}") from error
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise OSError(f"{path}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def parameters(self) -> Mapping[str, str]:
        """Parameters of the run that began the journal; empty for a new one."""
        return dict(self._db.execute("SELECT key, value FROM parameters"))

    def set_parameters(self, parameters: Mapping[str, str]) -> None:
        """Store parameters of the run."""
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO parameters VALUES (?, ?)", parameters.items())

    def cursor(self, project: str, api: Api) -> tuple[str, bool]:
        """Position in a listing, and whether it has been read to its end."""
        found = self._db.execute(
            "SELECT cursor, complete FROM listings WHERE project = ? AND api = ?", (project, api.value)
        ).fetchone()
        return ("", False) if found is None else (found[0], bool(found[1]))

    def save_page(
        self, project: str, api: Api, page: HistoryPage, *, at: float, keep: Iterable[tuple[HistoricJob, bool]]
    ) -> None:
        """Store a page. `keep`: its jobs to store, and for each whether its samples still have to be requested."""
        with self._transaction():
            for historic, needs_samples in keep:
                self._write(project, api, historic, needs_samples=needs_samples, at=at)
            self._db.execute("INSERT OR REPLACE INTO listings VALUES (?, ?, ?, 0)", (project, api.value, page.cursor))

    def _write(self, project: str, api: Api, historic: HistoricJob, *, needs_samples: bool, at: float) -> None:
        job = historic.job
        self._db.execute(
            "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (project, job_id) DO UPDATE SET "
            "submitted_at = excluded.submitted_at, started_at = excluded.started_at, ended_at = excluded.ended_at, "
            "body = excluded.body",
            (
                project,
                job.job_id,
                api.value,
                job.submitted_at,
                job.started_at,
                job.ended_at,
                0 if needs_samples else 1,
                msgspec.json.encode(job),
            ),
        )
        if historic.series:
            self._db.execute(
                "INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?)",
                (project, job.job_id, at, _compress(historic.series)),
            )

    def finish_listing(self, project: str, api: Api) -> None:
        """Record that a listing has been read to its end."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO listings VALUES (?, ?, '', 1) ON CONFLICT (project, api) DO UPDATE SET complete = 1",
                (project, api.value),
            )

    def pending(self, project: str, api: Api, *, limit: int) -> Sequence[Job]:
        """Up to `limit` jobs whose samples still have to be requested."""
        found = self._db.execute(
            "SELECT body FROM jobs WHERE project = ? AND api = ? AND samples_read = 0 ORDER BY job_id LIMIT ?",
            (project, api.value, limit),
        ).fetchall()
        return [_JOB.decode(body) for (body,) in found]

    def save_samples(self, project: str, job_id: str, series: tuple[TaskSeries, ...], *, at: float) -> None:
        """Store the samples of a job, also if there are none."""
        with self._transaction():
            if series:
                self._db.execute(
                    "INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?)", (project, job_id, at, _compress(series))
                )
            self._db.execute("UPDATE jobs SET samples_read = 1 WHERE project = ? AND job_id = ?", (project, job_id))

    def count(self, project: str, *, pending: bool = False) -> int:
        """Number of jobs, or of those whose samples still have to be requested."""
        condition = " AND samples_read = 0" if pending else ""
        (number,) = self._db.execute(f"SELECT count(*) FROM jobs WHERE project = ?{condition}", (project,)).fetchone()  # noqa: S608 - no input
        return int(number)

    def jobs(self, project: str, *, samples: bool = False) -> Iterator[StoredJob]:
        """Iterate over the jobs of a project in the order of submission, with their samples if `samples`."""
        if not samples:
            for (body,) in self._db.execute(
                "SELECT body FROM jobs WHERE project = ? ORDER BY submitted_at, job_id", (project,)
            ):
                yield StoredJob(job=_JOB.decode(body))
            return
        for body, packed, read_at in self._db.execute(
            "SELECT jobs.body, samples.body, samples.read_at FROM jobs LEFT JOIN samples "
            "ON samples.project = jobs.project AND samples.job_id = jobs.job_id "
            "WHERE jobs.project = ? ORDER BY jobs.submitted_at, jobs.job_id",
            (project,),
        ):
            series = () if packed is None else _SERIES.decode(zlib.decompress(packed))
            yield StoredJob(job=_JOB.decode(body), series=series, read_at=read_at or 0.0)

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)


class _Transaction:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.execute("COMMIT" if error is None else "ROLLBACK")


def _compress(series: tuple[TaskSeries, ...]) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(series), 1)
