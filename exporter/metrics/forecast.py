"""How many series a job has, by arithmetic, and how many there will be once the retention is full of finished jobs.

The table in docs/metrics.md is this module in words; a test holds it against what is really rendered.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean

from exporter.domain.job import Api, Job, JobStatus
from exporter.domain.snapshot import TrackedJob
from exporter.metrics.families.job import MEASURES, MOST_EXIT_CODES, accelerator_labels

_NEWEST = 50
"""Jobs by whose submissions the rate is told: what one page of a listing brings."""

RULES: Sequence[tuple[str, str]] = (
    ("every job", "2: info, status"),
    ("what the cloud tells of it", "1 each: reason, submission, start, end, wait, run, nodes asked for"),
    ("nodes held", "1, unless the status is unknown or nobody says"),
    ("accelerators", "1 for those asked for, 1 for those held"),
    ("holding nodes, with a reading", "1 for each ratio or rate that was read: at most 4, and 4 rates in v1"),
    ("the same, running, with accelerators", "3: idle, flat, suspected hang"),
    ("accelerators that were ever read", "1: the mean over the run, which stays"),
    ("v2, active, with running records", "1: crash loop"),
    ("after a fault", "1 for each policy, each policy that was downgraded, each scenario; 1 for the last recovery"),
    ("v1, evaluated", "1 for each of 4 measures"),
    ("failed tasks", "1 each, at most 8"),
    ("metrics.per_task, holding nodes", "1 for each ratio of each task: at most 4"),
)
"""What a job has series for, and how many."""


def job_series(tracked: TrackedJob, *, per_task: bool) -> int:
    """Count the series of one job that is shown; exact."""
    job = tracked.job
    accelerated = accelerator_labels(tracked) is not None
    told = (
        job.reason or None,
        job.submitted_at,
        job.started_at,
        job.ended_at,
        job.queue_duration_s,
        job.run_duration_s,
        job.spec_nodes,
        job.status_nodes,
        *((job.spec_accelerators, job.status_accelerators) if accelerated else ()),
        job.last_recovery_at,
        job.crash_loop_runs if job.status.active else None,
    )
    words = (job.recoveries, job.degraded_recoveries, job.faults)
    return (
        2
        + _present(told)
        + sum(len(counted or ()) for counted in words)
        + sum(measure in job.quality for measure in MEASURES)
        + min(len(job.task_exit_codes), MOST_EXIT_CODES)
        + _of_usage(tracked, accelerated=accelerated)
        + (_of_tasks(tracked, accelerated=accelerated) if per_task else 0)
    )


def growth(jobs: Iterable[TrackedJob], *, per_task: bool, retention_s: float) -> int:
    """Estimate how many more series the jobs of a project will have once its retention is full of finished ones.

    Active jobs stay as they are; finished ones come at the rate at which the newest jobs were submitted, and cost as
    much as those that are known do.
    """
    shown = [tracked for tracked in jobs if tracked.shown]
    finished = [job_series(tracked, per_task=per_task) for tracked in shown if tracked.job.status.finished]
    kept = _rate(tracked.job for tracked in shown) * retention_s
    cost = fmean(finished) if finished else 0.0
    return max(0, round(kept * cost) - sum(finished))


def _of_usage(tracked: TrackedJob, *, accelerated: bool) -> int:
    usage, job = tracked.usage, tracked.job
    if usage is None:
        return 0
    count = int(accelerated and usage.accelerator_mean_ratio is not None)
    if not job.status.holds_nodes:
        return count
    count += _present((usage.cpu_ratio, usage.memory_ratio))
    count += _present(
        (
            usage.disk_read_bytes_per_second,
            usage.disk_written_bytes_per_second,
            usage.network_received_bytes_per_second,
            usage.network_transmitted_bytes_per_second,
        )
    )
    if accelerated:
        count += _present((usage.accelerator_ratio, usage.accelerator_min_ratio, usage.accelerator_memory_ratio))
        if job.status is JobStatus.RUNNING:
            count += _present((usage.idle_s, usage.flat_s, usage.suspected_hang))
    return count


def _of_tasks(tracked: TrackedJob, *, accelerated: bool) -> int:
    if tracked.usage is None or not tracked.job.status.holds_nodes:
        return 0
    return sum(
        _present((task.cpu_ratio, task.memory_ratio))
        + (_present((task.accelerator_ratio, task.accelerator_memory_ratio)) if accelerated else 0)
        for task in tracked.usage.tasks
        if task.task
    )


def _present(values: Iterable[object]) -> int:
    return sum(value is not None for value in values)


def _rate(jobs: Iterable[Job]) -> float:
    """Jobs submitted a second, by the newest ones of each generation; 0 when there are too few to tell."""
    rate = 0.0
    listed = list(jobs)
    for api in Api:
        times = sorted((job.submitted_at for job in listed if job.api is api and job.submitted_at), reverse=True)
        newest = times[:_NEWEST]
        if len(newest) > 1 and newest[0] > newest[-1]:
            rate += (len(newest) - 1) / (newest[0] - newest[-1])
    return rate
