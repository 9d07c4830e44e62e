"""Finished jobs of the past, created in their final state without simulating their lifecycle."""

import random
import uuid
from collections.abc import Iterator

from exporter.simulator.options import Options
from exporter.simulator.world.job import Exit, Job, JobState, Record, V1Job
from exporter.simulator.world.job_script import MESSAGES, draft, draw_exit_code, draw_outcome, draw_run_s
from exporter.simulator.world.project import Project

SPAN_S = 90 * 86_400.0
"""Age of the oldest job."""


def add_history(
    project: Project, options: Options, *, numbers: Iterator[int], rng: random.Random, until: float, created_at: float
) -> None:
    """Add `options.history` finished jobs, spread evenly from 90 days before `until` to `until`.

    A run that would end after `created_at` ends at `created_at`.
    """
    capacity = project.capacity()
    v1_job: V1Job | None = None
    for index in range(options.history):
        drawn = draft(rng, v1_share=options.v1_share, capacity=capacity)
        submitted_at = round(until - SPAN_S + SPAN_S * (index + rng.random()) / options.history, 3)
        wait_s = rng.expovariate(1 / (600 / options.pace)) + 20 / options.pace
        started_at = round(submitted_at + wait_s, 3)
        ended_at = round(started_at + draw_run_s(rng) / options.pace, 3)
        end = draw_outcome(rng)
        started = end is not JobState.CREATE_FAILED and started_at < created_at
        number = next(numbers)
        v1 = drawn.api == "v1"
        job = Job(
            project=project.options.id,
            api=drawn.api,
            number=number,
            id=str(number) if v1 else str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            name=drawn.name,
            user=drawn.user,
            workspace=project.options.workspaces[-1 if drawn.second_workspace else 0][0],
            pool=drawn.pool,
            accelerator_field=project.pool(drawn.pool).accelerator_field,
            flavor=drawn.flavor,
            nodes=drawn.nodes,
            submitted_at=submitted_at,
            seed=rng.getrandbits(30),
            engine=drawn.engine,
            kind=drawn.kind,
            priority=drawn.priority,
            roles=drawn.roles,
            state=end if started else JobState.CREATE_FAILED,
            started_at=started_at if started else None,
            ended_at=min(created_at, ended_at if started else submitted_at + wait_s),
        )
        if started:
            _set_end(job, rng, ended_at=min(created_at, ended_at))
        if v1:
            if v1_job is None or not drawn.new_version:
                v1_job = project.add_v1_job(
                    V1Job(
                        id=number - 1_000,
                        name=drawn.name,
                        description="",
                        workspace=job.workspace,
                        user=job.user,
                        created_at=submitted_at,
                    )
                )
            job.v1_job, job.name, job.workspace = v1_job, v1_job.name, v1_job.workspace
            v1_job.versions.append(job)
        project.job_index(drawn.api).add(job)


def _set_end(job: Job, rng: random.Random, *, ended_at: float) -> None:
    started_at = job.started_at or 0.0
    job.node_counts = ((started_at, job.nodes), (ended_at, 0))
    reason = "job completed" if job.state is JobState.COMPLETED else "job stopped"
    task = ""
    if job.state is JobState.FAILED:
        code = draw_exit_code(rng)
        task = "learner-0" if job.roles else "worker-0"
        job.exits = (Exit(task=task, code=code, message=MESSAGES[code]),)
        reason = f"exit with {code}"
    job.records = (Record(started_at=started_at, ended_at=ended_at, reason=reason, task=task),)
