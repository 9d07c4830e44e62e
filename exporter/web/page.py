"""The page for people: is each target seen, how old is what is known of it, and what runs."""

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import jinja2

from exporter.domain.job import Job, JobStatus
from exporter.domain.snapshot import ProjectSnapshot, Snapshot

MOST_RUNNING = 50
"""Running jobs shown; whoever wants all of them has Grafana."""

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where to go from the page; `href` may be relative to it."""

    text: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    project: str
    state: str
    """`up`, `down` or `waiting` (for the end of the first poll)."""
    place: str
    age: str
    """Since the last wholly good look at the jobs; empty before the first."""
    counts: tuple[tuple[str, int], ...] | None
    """Jobs by status; None while they are withdrawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    project: str
    name: str
    job_id: str
    user: str
    pool: str
    accelerators: str
    ran: str


class Page:
    """The page as HTML, and the policy under which a browser may show it: this style, and nothing else at all."""

    def __init__(self, *, version: str, links: tuple[Link, ...]) -> None:
        here = files("exporter.web")
        style = here.joinpath("page.css").read_text(encoding="utf-8")
        environment = jinja2.Environment(
            autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
        )
        self._template = environment.from_string(here.joinpath("page.html").read_text(encoding="utf-8"))
        self._fixed = {"version": version, "links": links, "style": style, "most": MOST_RUNNING}
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
        """Write the page; `now` in seconds since the epoch, `snapshot` None before the first."""
        projects = () if snapshot is None else snapshot.projects
        running = [
            (project.project, tracked.job)
            for project in projects
            for tracked in (project.jobs or {}).values()
            if tracked.shown and tracked.job.status is JobStatus.RUNNING
        ]
        running.sort(key=lambda entry: (-(entry[1].started_at or 0.0), entry[1].job_id))
        return self._template.render(
            self._fixed,
            targets=[_target(project, now=now) for project in projects],
            running=[_running(project, job, now=now) for project, job in running[:MOST_RUNNING]],
            running_count=len(running),
        )


def _target(project: ProjectSnapshot, *, now: float) -> _Target:
    seen_at = next((state.last_success_at for state in project.collectors if state.name == "jobs"), None)
    counts: tuple[tuple[str, int], ...] | None = None
    if project.jobs is not None:
        by_status = Counter(tracked.job.status for tracked in project.jobs.values())
        counts = tuple((status.value, by_status[status]) for status in JobStatus if by_status[status])
    return _Target(
        project=project.project,
        state="up" if project.up else "down" if project.settled else "waiting",
        place=" ".join(part for part in (project.cloud, project.region) if part),
        age="" if seen_at is None else duration(now - seen_at),
        counts=counts,
    )


def _running(project: str, job: Job, *, now: float) -> _Running:
    held = job.status_accelerators
    kind = "" if job.accelerator is None else job.accelerator.value.upper()
    return _Running(
        project=project,
        name=job.name or job.job_id,
        job_id=job.job_id,
        user=job.user,
        pool=job.pool_id or "public",
        accelerators=f"{held:g} {kind}".strip() if held else "",
        ran="" if job.started_at is None else duration(now - job.started_at),
    )


def duration(seconds: float) -> str:
    """Say how long, in the two units that matter: `45 s`, `3 min 20 s`, `5 h 2 min`, `12 d 4 h`; never negative."""
    whole = max(0, int(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"
