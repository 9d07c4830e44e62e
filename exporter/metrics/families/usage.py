"""The families of one job that say how busy it is, as a whole and task by task."""

from collections.abc import Callable, Iterable

from exporter.domain.job import JobStatus
from exporter.domain.snapshot import TrackedJob
from exporter.domain.usage import JobUsage, TaskUsage
from exporter.metrics.exposition.family import Family, Label, Sample, Stability, Type
from exporter.metrics.exposition.single import SingleSample
from exporter.metrics.families.job import ACCELERATOR, accelerator_labels, natural_order

TASK = Label(name="task", help="Task id such as worker-0.")


def current_usage(tracked: TrackedJob) -> JobUsage | None:
    """Usage that tells of now: None once the job holds no nodes, because the last reading is history then."""
    return tracked.usage if tracked.job.status.holds_nodes else None


def _one(value: Callable[[JobUsage], float | None]) -> SingleSample[TrackedJob, JobUsage]:
    """Build one sample without labels, or none."""
    return SingleSample(part=current_usage, value=value)


def _by_accelerator(
    value: Callable[[JobUsage], float | None],
    *,
    of: Callable[[TrackedJob], JobUsage | None] = current_usage,
) -> SingleSample[TrackedJob, JobUsage]:
    """Build one sample with the kind of accelerator, or none: the series of a CPU job hold padding (trap 20)."""
    return SingleSample(part=of, value=value, labels=accelerator_labels)


def _of_a_running_job(tracked: TrackedJob) -> JobUsage | None:
    running = tracked.job.status is JobStatus.RUNNING and accelerator_labels(tracked) is not None
    return tracked.usage if running else None


def _named_tasks(tracked: TrackedJob) -> list[TaskUsage]:
    """Tasks in natural order, without the nameless one by which v1 tells its only series: that is the job's own."""
    usage = current_usage(tracked)
    tasks = () if usage is None else usage.tasks
    return sorted((task for task in tasks if task.task), key=lambda task: natural_order(task.task))


def _each_task(value: Callable[[TaskUsage], float | None]) -> Callable[[TrackedJob], Iterable[Sample]]:
    """Build one sample for each task that has a reading."""

    def samples(tracked: TrackedJob) -> Iterable[Sample]:
        for task in _named_tasks(tracked):
            read = value(task)
            if read is not None:
                yield {TASK.name: task.task}, read

    return samples


def _each_task_by_accelerator(value: Callable[[TaskUsage], float | None]) -> Callable[[TrackedJob], Iterable[Sample]]:
    """Build one sample for each task that has a reading, with the job's kind of accelerator."""
    each = _each_task(value)

    def samples(tracked: TrackedJob) -> Iterable[Sample]:
        accelerator = accelerator_labels(tracked)
        if accelerator is not None:
            for labels, read in each(tracked):
                yield {**labels, **accelerator}, read

    return samples


CPU_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_cpu_utilization_ratio",
    help=(
        "Share of its CPUs the job uses, mean over its tasks, in the newest minute the cloud has. "
        "Absent without a fresh reading and once the job holds no nodes."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.cpuUsage`; v2: task metric `cpuUsage`",
    unit="ratio",
    samples=_one(lambda usage: usage.cpu_ratio),
)

MEMORY_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_memory_utilization_ratio",
    help=(
        "Share of its main memory the job uses, mean over its tasks, in the newest minute the cloud has. "
        "Absent without a fresh reading and once the job holds no nodes."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.memUsage`; v2: task metric `memUsage`",
    unit="ratio",
    samples=_one(lambda usage: usage.memory_ratio),
)

ACCELERATOR_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_accelerator_utilization_ratio",
    help=(
        "How busy the job's accelerators are, mean over its tasks, in the newest minute the cloud has. "
        "Absent for CPU jobs, without a fresh reading and once the job holds no nodes; "
        "weigh it with the accelerators held before averaging over jobs."
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
        "How busy the accelerators of the slowest task are, in the newest minute the cloud has. Far below the mean: "
        "a straggler or a hung task holds the others up. Absent as the mean is."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: as the mean (v1 has one series a job); v2: task metric `gpuUtil` or `npuUtil`, lowest task",
    labels=(ACCELERATOR,),
    unit="ratio",
    samples=_by_accelerator(lambda usage: usage.accelerator_min_ratio),
)

ACCELERATOR_MEMORY_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_accelerator_memory_utilization_ratio",
    help=(
        "Share of the accelerators' own memory in use, mean over the job's tasks, in the newest minute the cloud "
        "has. Absent for CPU jobs, without a fresh reading and once the job holds no nodes."
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
        "How busy the accelerators have been over the whole run so far, mean over the minutes the cloud still has "
        "and over tasks. Stays when the job has ended. Absent for CPU jobs and before the first reading."
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
        "How fast the job reads from disk, summed over its tasks, in the newest minute the cloud has. "
        "v1 only. Absent without a fresh reading and once the job holds no nodes."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.diskReadRate`; v2: none",
    samples=_one(lambda usage: usage.disk_read_bytes_per_second),
)

DISK_WRITTEN: Family[TrackedJob] = Family(
    name="modelarts_training_job_disk_written_bytes_per_second",
    help=(
        "How fast the job writes to disk, summed over its tasks, in the newest minute the cloud has. "
        "v1 only. Absent without a fresh reading and once the job holds no nodes."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.diskWriteRate`; v2: none",
    samples=_one(lambda usage: usage.disk_written_bytes_per_second),
)

NETWORK_RECEIVED: Family[TrackedJob] = Family(
    name="modelarts_training_job_network_received_bytes_per_second",
    help=(
        "How fast the job receives from the network, summed over its tasks, in the newest minute the cloud has. "
        "v1 only. Absent without a fresh reading and once the job holds no nodes."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.recvBytesRate`; v2: none",
    samples=_one(lambda usage: usage.network_received_bytes_per_second),
)

NETWORK_TRANSMITTED: Family[TrackedJob] = Family(
    name="modelarts_training_job_network_transmitted_bytes_per_second",
    help=(
        "How fast the job sends to the network, summed over its tasks, in the newest minute the cloud has. "
        "v1 only. Absent without a fresh reading and once the job holds no nodes."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.sendBytesRate`; v2: none",
    samples=_one(lambda usage: usage.network_transmitted_bytes_per_second),
)

IDLE: Family[TrackedJob] = Family(
    name="modelarts_training_job_idle_seconds",
    help=(
        "For how long, up to the newest reading, the accelerators of every task have been below the setting "
        "metrics.idle_threshold; 0 while any is busy. Only for running jobs with accelerators and a fresh reading."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list.gpuUtil` or `npuUtil`; v2: task metric `gpuUtil` or `npuUtil`, by minutes",
    unit="seconds",
    samples=SingleSample(part=_of_a_running_job, value=lambda usage: usage.idle_s),
)

FLAT: Family[TrackedJob] = Family(
    name="modelarts_training_job_flat_seconds",
    help=(
        "For how long, up to the newest reading, nothing the cloud samples of any task has moved by more than half a "
        "percentage point: the evidence for a suspected hang. Only for running jobs with accelerators and a fresh "
        "reading."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `system_metric_list`; v2: task metrics; CPU, memory, accelerators and their memory, by minutes",
    unit="seconds",
    samples=SingleSample(part=_of_a_running_job, value=lambda usage: usage.flat_s),
)

SUSPECTED_HANG: Family[TrackedJob] = Family(
    name="modelarts_training_job_suspected_hang",
    help=(
        "1 when the job's accelerators were busy once and nothing of it has moved for the setting "
        "metrics.hang_after, else 0. A suspicion, of which modelarts_training_job_flat_seconds is the evidence. "
        "Absent as that is."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: as the flat seconds, and `gpuUtil` or `npuUtil` before; v2: likewise, task by task",
    samples=SingleSample(
        part=_of_a_running_job,
        value=lambda usage: None if usage.suspected_hang is None else float(usage.suspected_hang),
    ),
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
)
"""Rendered for each visible job, when it has changed."""

TASK_CPU_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_task_cpu_utilization_ratio",
    help=(
        "Share of its CPUs one task uses, in the newest minute the cloud has. Only with metrics.per_task; absent for "
        "v1, which tells of the job as a whole, and without a fresh reading."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: task metric `cpuUsage`",
    labels=(TASK,),
    unit="ratio",
    stability=Stability.EXPERIMENTAL,
    samples=_each_task(lambda task: task.cpu_ratio),
)

TASK_MEMORY_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_task_memory_utilization_ratio",
    help=(
        "Share of its main memory one task uses, in the newest minute the cloud has. Only with metrics.per_task; "
        "absent for v1, which tells of the job as a whole, and without a fresh reading."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: task metric `memUsage`",
    labels=(TASK,),
    unit="ratio",
    stability=Stability.EXPERIMENTAL,
    samples=_each_task(lambda task: task.memory_ratio),
)

TASK_ACCELERATOR_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_task_accelerator_utilization_ratio",
    help=(
        "How busy the accelerators of one task are, in the newest minute the cloud has: bottomk() over it names the "
        "stragglers. Only with metrics.per_task; absent for v1, CPU jobs and without a fresh reading."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: task metric `gpuUtil` or `npuUtil`",
    labels=(TASK, ACCELERATOR),
    unit="ratio",
    stability=Stability.EXPERIMENTAL,
    samples=_each_task_by_accelerator(lambda task: task.accelerator_ratio),
)

TASK_ACCELERATOR_MEMORY_UTILIZATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_task_accelerator_memory_utilization_ratio",
    help=(
        "Share of the accelerators' own memory one task uses, in the newest minute the cloud has. Only with "
        "metrics.per_task; absent for v1, CPU jobs and without a fresh reading."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: task metric `gpuMemUsage` or `npuMemUsage`",
    labels=(TASK, ACCELERATOR),
    unit="ratio",
    stability=Stability.EXPERIMENTAL,
    samples=_each_task_by_accelerator(lambda task: task.accelerator_memory_ratio),
)

TASK_FAMILIES: tuple[Family[TrackedJob], ...] = (
    TASK_CPU_UTILIZATION,
    TASK_MEMORY_UTILIZATION,
    TASK_ACCELERATOR_UTILIZATION,
    TASK_ACCELERATOR_MEMORY_UTILIZATION,
)
"""Rendered only with `metrics.per_task`."""
