"""The status page: the state of each target, the age of its data, and its running jobs."""

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import jinja2

from exporter.domain.job import Job, JobStatus
from exporter.domain.snapshot import ProjectSnapshot, Snapshot

MAX_RUNNING = 50
"""Running jobs shown. Grafana shows all of them."""

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link of the page. `href` may be relative."""

    text: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    project: str
    state: str
    """`up`, `down` or `waiting` (first poll in progress)."""
    location: str
    age: str
    """Time since the last complete jobs poll; empty before the first."""
    counts: tuple[tuple[str, int], ...] | None
    """Jobs by status; None while the job series are withdrawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    project: str
    name: str
    job_id: str
    user: str
    pool: str
    accelerators: str
    running_for: str


class Page:
    """Renders the page as HTML. `policy` is its Content-Security-Policy, which allows only the page's style."""

    def __init__(self, *, version: str, links: tuple[Link, ...]) -> None:
        package = files("exporter.web")
        style = package.joinpath("page.css").read_text(encoding="utf-8")
        environment = jinja2.Environment(
            autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
        )
        self._template = environment.from_string(package.joinpath("page.html").read_text(encoding="utf-8"))
        self._constants = {"version": version, "links": links, "style": style, "max_running": MAX_RUNNING}
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self.policy: Final = "; ".join(
            (
                "default-src 'none'",
                f"style-src 'sha256-{digest}'",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        )

    def render(self, snapshot: Snapshot | None, *, now: float) -> str:
        """Render the page. `now` in seconds since the epoch; `snapshot` is None before the first."""
        projects = () if snapshot is None else snapshot.projects
        running = [
            (project.project, tracked.job)
            for project in projects
            for tracked in (project.jobs or {}).values()
            if tracked.shown and tracked.job.status is JobStatus.RUNNING
        ]
        running.sort(key=lambda entry: (-(entry[1].started_at or 0.0), entry[1].job_id))
        return self._template.render(
            self._constants,
            targets=[_target(project, now=now) for project in projects],
            running=[_running(project, job, now=now) for project, job in running[:MAX_RUNNING]],
            running_count=len(running),
        )


def _target(project: ProjectSnapshot, *, now: float) -> _Target:
    last_success_at = next((state.last_success_at for state in project.collectors if state.name == "jobs"), None)
    counts: tuple[tuple[str, int], ...] | None = None
    if project.jobs is not None:
        by_status = Counter(tracked.job.status for tracked in project.jobs.values())
        counts = tuple((status.value, by_status[status]) for status in JobStatus if by_status[status])
    return _Target(
        project=project.project,
        state="up" if project.up else "down" if project.settled else "waiting",
        location=" ".join(part for part in (project.cloud, project.region) if part),
        age="" if last_success_at is None else duration(now - last_success_at),
        counts=counts,
    )


def _running(project: str, job: Job, *, now: float) -> _Running:
    accelerators = job.status_accelerators
    kind = "" if job.accelerator is None else job.accelerator.value.upper()
    return _Running(
        project=project,
        name=job.name or job.job_id,
        job_id=job.job_id,
        user=job.user,
        pool=job.pool_id or "public",
        accelerators=f"{accelerators:g} {kind}".strip() if accelerators else "",
        running_for="" if job.started_at is None else duration(now - job.started_at),
    )


def duration(seconds: float) -> str:
    """Format a duration in its two largest units: `45 s`, `3 min 20 s`, `5 h 2 min`, `12 d 4 h`. Negative: `0 s`."""
    total_s = max(0, int(seconds))
    if total_s < _MINUTE_S:
        return f"{total_s} s"
    if total_s < _HOUR_S:
        return f"{total_s // _MINUTE_S} min {total_s % _MINUTE_S} s"
    if total_s < _DAY_S:
        return f"{total_s // _HOUR_S} h {total_s % _HOUR_S // _MINUTE_S} min"
    return f"{total_s // _DAY_S} d {total_s % _DAY_S // _HOUR_S} h"
