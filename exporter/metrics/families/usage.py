"""Families of the resource usage of a job and of its tasks."""

from collections.abc import Callable, Iterable

from exporter.domain.job import JobStatus
from exporter.domain.snapshot import TrackedJob
from exporter.domain.usage import JobUsage, TaskUsage
from exporter.metrics.exposition.family import Family, Label, Sample, Stability, Type
from exporter.metrics.exposition.single import SingleSample
from exporter.metrics.families.job import ACCELERATOR, accelerator_labels, natural_order

TASK = Label(name="task", help="Task id, such as worker-0.")


def current_usage(tracked: TrackedJob) -> JobUsage | None:
    """Return the current usage; None when the job holds no nodes, because the last reading is outdated then."""
    return tracked.usage if tracked.job.status.holds_nodes else None


def _value(value: Callable[[JobUsage], float | None]) -> SingleSample[TrackedJob, JobUsage]:
    """Build at most one sample without labels."""
    return SingleSample(part=current_usage, value=value)


def _by_accelerator(
    value: Callable[[JobUsage], float | None],
    *,
    of: Callable[[TrackedJob], JobUsage | None] = current_usage,
) -> SingleSample[TrackedJob, JobUsage]:
    """Build at most one sample with the kind of accelerator; none for CPU jobs (padding, trap 20)."""
    return SingleSample(part=of, value=value, labels=accelerator_labels)


def _usage_while_running(tracked: TrackedJob) -> JobUsage | None:
    running = tracked.job.status is JobStatus.RUNNING and accelerator_labels(tracked) is not None
    return tracked.usage if running else None


def _named_tasks(tracked: TrackedJob) -> list[TaskUsage]:
    """Return the tasks in natural order, without the unnamed task of v1, which stands for the job itself."""
    usage = current_usage(tracked)
    tasks = () if usage is None else usage.tasks
    return sorted((task for task in tasks if task.task), key=lambda task: natural_order(task.task))


def _per_task(value: Callable[[TaskUsage], float | None]) -> Callable[[TrackedJob], Iterable[Sample]]:
    """Build one sample for each task that has a reading."""

    def samples(tracked: TrackedJob) -> Iterable[Sample]:
        for task in _named_tasks(tracked):
            reading = value(task)
            if reading is not None:
                yield {TASK.name: task.task}, reading

    return samples


def _per_task_and_accelerator(value: Callable[[TaskUsage], float | None]) -> Callable[[TrackedJob], Iterable[Sample]]:
    """Build one sample for each task that has a reading, with the job's kind of accelerator."""
    each = _per_task(value)

    def samples(tracked: TrackedJob) -> Iterable[Sample]:
        accelerator = accelerator_labels(tracked)
        if accelerator is not None:
            for labels, reading in each(tracked):
                yield {**labels, **accelerator}, reading

    return samples


CPU_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_cpu_utilization_ratio",
    help=(
        "CPU utilisation of the job, mean over its tasks, in the newest sampled minute. "
        "Absent without a current reading and when the job holds no nodes."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.cpuUsage`; v2: task metric `cpuUsage`",
    unit="ratio",
    samples=_value(lambda usage: usage.cpu_ratio),
)

MEMORY_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_memory_utilization_ratio",
    help=(
        "Memory utilisation of the job, mean over its tasks, in the newest sampled minute. "
        "Absent without a current reading and when the job holds no nodes."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.memUsage`; v2: task metric `memUsage`",
    unit="ratio",
    samples=_value(lambda usage: usage.memory_ratio),
)

ACCELERATOR_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_accelerator_utilization_ratio",
    help=(
        "Accelerator utilisation of the job, mean over its tasks, in the newest sampled minute. Absent for CPU jobs, "
        "without a current reading and when no nodes are held. For a mean over jobs, weight it by held accelerators."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.gpuUtil` or `npuUtil`; v2: task metric `gpuUtil` or `npuUtil`",
    labels=(ACCELERATOR,),
    unit="ratio",
    samples=_by_accelerator(lambda usage: usage.accelerator_ratio),
)

ACCELERATOR_UTILIZATION_MIN: Family[TrackedJob] = Family(
    name="modelarts_training_job_accelerator_utilization_min_ratio",
    help=(
        "Accelerator utilisation of the task with the lowest value, in the newest sampled minute. Far below the "
        "mean, a straggler or hung task delays the job. Absent like the mean."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: as the mean (v1 has one series per job); v2: task metric `gpuUtil` or `npuUtil`, lowest task",
    labels=(ACCELERATOR,),
    unit="ratio",
    samples=_by_accelerator(lambda usage: usage.accelerator_min_ratio),
)

ACCELERATOR_MEMORY_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_accelerator_memory_utilization_ratio",
    help=(
        "Utilisation of accelerator memory, mean over the tasks of the job, in the newest sampled minute. "
        "Absent for CPU jobs, without a current reading and when the job holds no nodes."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.gpuMemUsage` or `npuMemUsage`; v2: task metric `gpuMemUsage` or `npuMemUsage`",
    labels=(ACCELERATOR,),
    unit="ratio",
    samples=_by_accelerator(lambda usage: usage.accelerator_memory_ratio),
)

ACCELERATOR_UTILIZATION_MEAN: Family[TrackedJob] = Family(
    name="modelarts_training_job_accelerator_utilization_mean_ratio",
    help=(
        "Accelerator utilisation over the whole run, mean over tasks and over the minutes that the API still has. "
        "Kept after the end of the job. Absent for CPU jobs and before the first reading."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.gpuUtil` or `npuUtil`; v2: task metric `gpuUtil` or `npuUtil`, every minute",
    labels=(ACCELERATOR,),
    unit="ratio",
    samples=_by_accelerator(lambda usage: usage.accelerator_mean_ratio, of=lambda tracked: tracked.usage),
)

DISK_READ: Family[TrackedJob] = Family(
    name="modelarts_training_job_disk_read_bytes_per_second",
    help=(
        "Disk read throughput of the job, sum over its tasks, in the newest sampled minute. v1 only. "
        "Absent without a current reading and when the job holds no nodes."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.diskReadRate`; v2: none",
    samples=_value(lambda usage: usage.disk_read_bytes_per_second),
)

DISK_WRITTEN: Family[TrackedJob] = Family(
    name="modelarts_training_job_disk_written_bytes_per_second",
    help=(
        "Disk write throughput of the job, sum over its tasks, in the newest sampled minute. v1 only. "
        "Absent without a current reading and when the job holds no nodes."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.diskWriteRate`; v2: none",
    samples=_value(lambda usage: usage.disk_written_bytes_per_second),
)

NETWORK_RECEIVED: Family[TrackedJob] = Family(
    name="modelarts_training_job_network_received_bytes_per_second",
    help=(
        "Network receive throughput of the job, sum over its tasks, in the newest sampled minute. v1 only. "
        "Absent without a current reading and when the job holds no nodes."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.recvBytesRate`; v2: none",
    samples=_value(lambda usage: usage.network_received_bytes_per_second),
)

NETWORK_TRANSMITTED: Family[TrackedJob] = Family(
    name="modelarts_training_job_network_transmitted_bytes_per_second",
    help=(
        "Network transmit throughput of the job, sum over its tasks, in the newest sampled minute. v1 only. "
        "Absent without a current reading and when the job holds no nodes."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.sendBytesRate`; v2: none",
    samples=_value(lambda usage: usage.network_transmitted_bytes_per_second),
)

IDLE: Family[TrackedJob] = Family(
    name="modelarts_training_job_idle_seconds",
    help=(
        "Time, up to the newest reading, for which the accelerators of every task are below metrics.idle_threshold; "
        "0 while any is busy. Only for running jobs with accelerators and a current reading."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.gpuUtil` or `npuUtil`; v2: task metric `gpuUtil` or `npuUtil`, by minutes",
    unit="seconds",
    samples=SingleSample(part=_usage_while_running, value=lambda usage: usage.idle_s),
)

FLAT: Family[TrackedJob] = Family(
    name="modelarts_training_job_flat_seconds",
    help=(
        "Time, up to the newest reading, for which no usage series of any task has changed by more than half a "
        "percentage point; evidence of a hang. Only for running jobs with accelerators and a current reading."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list`; v2: task metrics; CPU, memory, accelerators and their memory, by minutes",
    unit="seconds",
    samples=SingleSample(part=_usage_while_running, value=lambda usage: usage.flat_s),
)

SUSPECTED_HANG: Family[TrackedJob] = Family(
    name="modelarts_training_job_suspected_hang",
    help=(
        "1 when the accelerators of the job were busy before and no usage series has changed for metrics.hang_after, "
        "else 0. The evidence is modelarts_training_job_flat_seconds. Absent like that."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: as modelarts_training_job_flat_seconds, and earlier `gpuUtil` or `npuUtil`; v2: likewise by task",
    samples=SingleSample(
        part=_usage_while_running,
        value=lambda usage: None if usage.suspected_hang is None else float(usage.suspected_hang),
    ),
)

USAGE_TIMESTAMP: Family[TrackedJob] = Family(
    name="modelarts_training_job_usage_timestamp_seconds",
    help=(
        "Time of the newest usage sample of any task. When more than ten one-minute slots follow it, usage is old "
        "and the current values are absent. Only while the job holds nodes and its usage is read."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list`, v2: task metrics; derived from the start time and the position of the sample",
    unit="seconds",
    samples=_value(lambda usage: usage.sampled_at),
)

FAMILIES: tuple[Family[TrackedJob], ...] = (
    CPU_UTILIZATION,
    MEMORY_UTILIZATION,
    ACCELERATOR_UTILIZATION,
    ACCELERATOR_UTILIZATION_MIN,
    ACCELERATOR_MEMORY_UTILIZATION,
    ACCELERATOR_UTILIZATION_MEAN,
    DISK_READ,
    DISK_WRITTEN,
    NETWORK_RECEIVED,
    NETWORK_TRANSMITTED,
    IDLE,
    FLAT,
    SUSPECTED_HANG,
    USAGE_TIMESTAMP,
)
"""Rendered for each visible job, when it has changed."""

TASK_CPU_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_task_cpu_utilization_ratio",
    help=(
        "CPU utilisation of one task in the newest sampled minute. Only with metrics.per_task. "
        "Absent for v1, which has no series per task, and without a current reading."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: task metric `cpuUsage`",
    labels=(TASK,),
    unit="ratio",
    stability=Stability.EXPERIMENTAL,
    samples=_per_task(lambda task: task.cpu_ratio),
)

TASK_MEMORY_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_task_memory_utilization_ratio",
    help=(
        "Memory utilisation of one task in the newest sampled minute. Only with metrics.per_task. "
        "Absent for v1, which has no series per task, and without a current reading."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: task metric `memUsage`",
    labels=(TASK,),
    unit="ratio",
    stability=Stability.EXPERIMENTAL,
    samples=_per_task(lambda task: task.memory_ratio),
)

TASK_ACCELERATOR_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_task_accelerator_utilization_ratio",
    help=(
        "Accelerator utilisation of one task in the newest sampled minute; bottomk() over it finds stragglers. "
        "Only with metrics.per_task. Absent for v1, for CPU jobs and without a current reading."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: task metric `gpuUtil` or `npuUtil`",
    labels=(TASK, ACCELERATOR),
    unit="ratio",
    stability=Stability.EXPERIMENTAL,
    samples=_per_task_and_accelerator(lambda task: task.accelerator_ratio),
)

TASK_ACCELERATOR_MEMORY_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_task_accelerator_memory_utilization_ratio",
    help=(
        "Utilisation of accelerator memory of one task in the newest sampled minute. Only with metrics.per_task. "
        "Absent for v1, for CPU jobs and without a current reading."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: task metric `gpuMemUsage` or `npuMemUsage`",
    labels=(TASK, ACCELERATOR),
    unit="ratio",
    stability=Stability.EXPERIMENTAL,
    samples=_per_task_and_accelerator(lambda task: task.accelerator_memory_ratio),
)

TASK_FAMILIES: tuple[Family[TrackedJob], ...] = (
    TASK_CPU_UTILIZATION,
    TASK_MEMORY_UTILIZATION,
    TASK_ACCELERATOR_UTILIZATION,
    TASK_ACCELERATOR_MEMORY_UTILIZATION,
)
"""Rendered only with `metrics.per_task`."""
