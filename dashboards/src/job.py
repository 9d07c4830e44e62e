"""Job: one training job from submission to end: status, utilisation, throughput, faults and recoveries."""

from . import annotation, link, palette
from .board import Board, Row
from .palette import IDLE_S, NEUTRAL, UTILISATION, WAIT_S, Thresholds
from .panel import Column, PanelOptions, Query, stat_panel, state_timeline_panel, table_panel, time_series_panel
from .promql import INFO, JOB, Scope, status_code
from .variable import variables

SCOPE = Scope(frozenset({"project", "pool", "user", "training_job"}))
"""Variables of the board. Pool and user only shorten the list of jobs: the job is selected by its id."""

JOB_SCOPE = Scope(frozenset({"project", "training_job"}))

_COMMON_LABELS = ("cluster", "project", "job_id")
"""Labels that are equal in all rows, because there is one job."""
JOB_INFO = JOB_SCOPE.dedup(
    INFO,
    "job_name",
    "version",
    "user",
    "workspace_id",
    "pool_id",
    "flavor",
    "accelerator",
    "accelerator_model",
    "engine",
    "kind",
    "api",
)


def _by_kind(metric: str) -> str:
    """Return one series: a job has one kind of accelerator."""
    return JOB_SCOPE.dedup(metric, "accelerator")


def _of_tasks(metric: str) -> str:
    """Return one series for each task."""
    return JOB_SCOPE.dedup(metric, "task", "accelerator")


OVERVIEW = Row(
    "Overview",
    (
        table_panel(
            PanelOptions(
                title="Job details",
                description="What the API reports about the job. An empty field is not reported, or not before the "
                "start.",
                unit="none",
                width=24,
                height=3,
            ),
            {
                "A": f'label_replace(topk by ({JOB}) (1, {JOB_INFO}), "pool_id", "public", "pool_id", "")',
            },
            (
                Column(title="Name", label="job_name"),
                Column(title="Version", label="version"),
                Column(
                    title="User",
                    label="user",
                    link=link.to_board("Jobs of this user", link.JOBS, user="${__data.fields.User}"),
                ),
                Column(title="Project", label="project"),
                Column(title="Pool", label="pool_id"),
                Column(title="Workspace", label="workspace_id"),
                Column(title="Flavor", label="flavor"),
                Column(title="Accelerator", label="accelerator"),
                Column(title="Model", label="accelerator_model"),
                Column(title="Engine", label="engine"),
                Column(title="Kind", label="kind"),
                Column(title="API", label="api"),
                Column(title="ID", label="job_id"),
            ),
            sort_by="Name",
        ),
        stat_panel(
            PanelOptions(
                title="Status",
                description="Current status, with the same values for both API generations.",
                unit="none",
                width=4,
                height=4,
                no_value="no data",
            ),
            Query(status_code(JOB_SCOPE, palette.CODES)),
            mappings=palette.status_mapping(),
        ),
        stat_panel(
            PanelOptions(
                title="Queue time",
                description="Time from submission to the first start; until now for a job that has not started. "
                "Yellow from half an hour, orange from two hours, red from a day.",
                unit="s",
                width=4,
                height=4,
                thresholds=WAIT_S,
                decimals=1,
                no_value="unknown",
            ),
            Query(
                f"{JOB_SCOPE.dedup('modelarts_training_job_queue_duration_seconds')}\nor\n"
                + JOB_SCOPE.in_status(
                    f"(time() - {JOB_SCOPE.dedup('modelarts_training_job_waiting_since_timestamp_seconds')})",
                    "initializing",
                    "queued",
                )
            ),
        ),
        stat_panel(
            PanelOptions(
                title="Run time",
                description="Run time as the API reports it: until now, or from start to end.",
                unit="s",
                width=4,
                height=4,
                decimals=1,
                no_value="not started",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_run_duration_seconds")),
        ),
        stat_panel(
            PanelOptions(
                title="Utilisation of the run",
                description="Accelerator utilisation over the whole run: the mean over its tasks and over the "
                "minutes for which the API still has samples.",
                unit="percentunit",
                width=4,
                height=4,
                thresholds=UTILISATION,
                decimals=0,
                no_value="no samples",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_accelerator_utilization_mean_ratio")),
        ),
        stat_panel(
            PanelOptions(
                title="Idle for",
                description="Time for which the accelerators of all tasks have been below the exporter's idle "
                "threshold. Yellow from ten minutes, red from an hour. Only while the job runs.",
                unit="s",
                width=4,
                height=4,
                thresholds=IDLE_S,
                decimals=0,
                no_value="no samples",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_idle_seconds")),
        ),
        stat_panel(
            PanelOptions(
                title="Recoveries so far",
                description="How often the cloud has recovered the job from a fault so far, by any policy. Only the "
                "v2 API reports it.",
                unit="none",
                width=4,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.YELLOW), (5, palette.RED))),
                no_value="none",
            ),
            Query(f"sum({JOB_SCOPE.dedup('modelarts_training_job_recoveries', 'policy')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Suspected hang",
                description="Whether the job is suspected to hang: its accelerators were busy before, and no "
                "sampled value of its tasks has changed for the exporter's setting metrics.hang_after. Only while "
                "the job runs.",
                unit="none",
                width=4,
                height=4,
                no_value="no samples",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_suspected_hang")),
            mappings=palette.value_mappings({0: ("no", palette.GREEN), 1: ("SUSPECTED", palette.RED)}),
        ),
        stat_panel(
            PanelOptions(
                title="No change for",
                description="Time for which no sampled value of any task (CPU, memory, accelerators and their "
                "memory) has changed by more than half a percentage point. A long time points to a hang. Yellow "
                "from ten minutes, red from an hour.",
                unit="s",
                width=4,
                height=4,
                thresholds=IDLE_S,
                decimals=0,
                no_value="no samples",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_flat_seconds")),
        ),
        stat_panel(
            PanelOptions(
                title="Faults so far",
                description="Faults that the cloud has found in the job so far, of any kind; by kind below. Only "
                "the v2 API reports them.",
                unit="none",
                width=4,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.YELLOW), (5, palette.RED))),
                no_value="none",
            ),
            Query(f"sum({JOB_SCOPE.dedup('modelarts_training_job_faults', 'scenario')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Degraded recoveries",
                description="Recoveries in which the first policy was not sufficient: for example, a restart in "
                "place takes seconds, but scheduling the job again takes minutes.",
                unit="none",
                width=4,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
                no_value="none",
            ),
            Query(f"sum({JOB_SCOPE.dedup('modelarts_training_job_degraded_recoveries', 'policy')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Crash loop",
                description="Number of the newest runs in a row that each failed within ten minutes of their start "
                "and were recovered. From two on the job makes no progress; 0 after a run that lasted longer.",
                unit="none",
                width=4,
                height=4,
                thresholds=palette.CRASH_LOOP,
                no_value="not reported",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_crash_loop_runs")),
        ),
        stat_panel(
            PanelOptions(
                title="Time since last recovery",
                description="Time since the job started to run again after a fault. Negative: a recovery is in "
                "progress.",
                unit="s",
                width=4,
                height=4,
                decimals=1,
                no_value="none",
            ),
            Query(f"time() - {JOB_SCOPE.dedup('modelarts_training_job_last_recovery_timestamp_seconds')}"),
        ),
    ),
)

LIFECYCLE = Row(
    "Lifecycle",
    (
        state_timeline_panel(
            PanelOptions(
                title="Status over time",
                description="Status of the job in the selected time range, as seen by the exporter.",
                unit="none",
                width=16,
                height=5,
            ),
            Query(status_code(JOB_SCOPE, palette.CODES), "status"),
        ),
        table_panel(
            PanelOptions(
                title="Lifecycle times",
                description="Times of submission, first start and end. A row is missing while its time is unknown.",
                unit="none",
                width=8,
                height=5,
            ),
            {
                "A": "\nor\n".join(
                    f"label_replace(1000 * {JOB_SCOPE.dedup(f'modelarts_training_job_{when}_timestamp_seconds')}, "
                    f'"event", "{word}", "", "")'
                    for when, word in (("submitted", "submitted"), ("start", "started"), ("end", "ended"))
                ),
            },
            (
                Column(title="Event", label="event", width=110),
                Column(title="Time", value="A", unit="dateTimeAsIso"),
            ),
            sort_by="Time",
            descending=False,
            drop=_COMMON_LABELS,
        ),
        time_series_panel(
            PanelOptions(
                title="Nodes and accelerators",
                description="Held now and requested (dashed). Held below requested: the job waits, or runs with "
                "fewer nodes.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_status_nodes"), "nodes held"),
            Query(JOB_SCOPE.dedup("modelarts_training_job_spec_nodes"), "nodes requested"),
            Query(_by_kind("modelarts_training_job_status_accelerators"), "{{accelerator}}s held"),
            Query(_by_kind("modelarts_training_job_spec_accelerators"), "{{accelerator}}s requested"),
            dashed="/requested$/",
        ),
        time_series_panel(
            PanelOptions(
                title="Recoveries",
                description="Recoveries from faults so far, by the policy that was used. A step is a fault; several "
                "in a row point to a faulty node or a bug. Dashed: recoveries in which this policy was tried first "
                "and was not sufficient.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                thresholds=NEUTRAL,
                no_value="no recoveries",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_recoveries", "policy"), "{{policy}}"),
            Query(
                JOB_SCOPE.dedup("modelarts_training_job_degraded_recoveries", "policy"), "{{policy}} not sufficient"
            ),
            dashed="/ not sufficient$/",
        ),
        time_series_panel(
            PanelOptions(
                title="Faults by kind",
                description="Faults that the cloud has found in the job so far, by kind. Faults of a chip or a node "
                "are hardware faults; a failed or hung job usually has its cause in the job.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                thresholds=NEUTRAL,
                no_value="no faults",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_faults", "scenario"), "{{scenario}}"),
        ),
    ),
)

USAGE = Row(
    "Usage",
    (
        time_series_panel(
            PanelOptions(
                title="Accelerator utilisation",
                description="Accelerator utilisation: the mean over the tasks, and the slowest task. A slowest task "
                "far below the mean slows down the others. Regular drops to zero are often checkpoints or data "
                "loading.",
                unit="percentunit",
                width=12,
                height=8,
                thresholds=UTILISATION,
                decimals=0,
                no_value="no samples",
            ),
            Query(_by_kind("modelarts_training_job_accelerator_utilization_ratio"), "mean"),
            Query(_by_kind("modelarts_training_job_accelerator_utilization_min_ratio"), "slowest task"),
            colours={"mean": palette.GREEN, "slowest task": palette.ORANGE},
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Memory",
                description="Used share of accelerator memory and of main memory, mean over the tasks. Close to 100 "
                "% before an exit code 137: the job ran out of memory.",
                unit="percentunit",
                width=12,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((0.9, palette.RED),)),
                decimals=0,
                no_value="no samples",
            ),
            Query(_by_kind("modelarts_training_job_accelerator_memory_utilization_ratio"), "accelerator memory"),
            Query(JOB_SCOPE.dedup("modelarts_training_job_memory_utilization_ratio"), "main memory"),
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="CPU utilisation",
                description="CPU utilisation, mean over the tasks. High while accelerator utilisation is low: data "
                "loading is the bottleneck.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((0.9, palette.RED),)),
                decimals=0,
                no_value="no samples",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_cpu_utilization_ratio"), "CPU"),
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Disk throughput",
                description="Bytes read and written per second, sum over the tasks. Only the v1 API reports it.",
                unit="Bps",
                width=8,
                height=8,
                no_value="v1 jobs only",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_disk_read_bytes_per_second"), "read"),
            Query(JOB_SCOPE.dedup("modelarts_training_job_disk_written_bytes_per_second"), "written"),
        ),
        time_series_panel(
            PanelOptions(
                title="Network throughput",
                description="Bytes received and sent per second, sum over the tasks. Only the v1 API reports it.",
                unit="Bps",
                width=8,
                height=8,
                no_value="v1 jobs only",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_network_received_bytes_per_second"), "received"),
            Query(JOB_SCOPE.dedup("modelarts_training_job_network_transmitted_bytes_per_second"), "sent"),
        ),
    ),
)

RESULT = Row(
    "Result",
    (
        table_panel(
            PanelOptions(
                title="Exit codes",
                description="Exit code of each failed task, the first eight by name. 137 often means out of memory, "
                "139 a crash in native code. Absent for jobs that did not fail, and for v1.",
                unit="none",
                width=8,
                height=6,
            ),
            {"A": JOB_SCOPE.dedup("modelarts_training_job_task_exit_code", "task")},
            (
                Column(title="Task", label="task"),
                Column(title="Exit code", value="A", unit="none", thresholds=Thresholds(palette.ORANGE)),
            ),
            sort_by="Task",
            descending=False,
            drop=_COMMON_LABELS,
        ),
        table_panel(
            PanelOptions(
                title="Reason",
                description="The reason that the API reports for the status, such as the step at which the job "
                "failed.",
                unit="none",
                width=8,
                height=6,
            ),
            {"A": JOB_SCOPE.dedup("modelarts_training_job_status_reason", "reason")},
            (Column(title="Reported reason", label="reason"),),
            sort_by="Reported reason",
            drop=_COMMON_LABELS,
        ),
        table_panel(
            PanelOptions(
                title="Model evaluation",
                description="Results of the model's evaluation. Only v1 jobs with built-in algorithms have them.",
                unit="none",
                width=8,
                height=6,
            ),
            {"A": JOB_SCOPE.dedup("modelarts_training_job_quality_ratio", "measure")},
            (
                Column(title="Measure", label="measure"),
                Column(title="Value", value="A", unit="percentunit", decimals=1, thresholds=NEUTRAL),
            ),
            sort_by="Measure",
            descending=False,
            drop=_COMMON_LABELS,
        ),
    ),
)

TASKS = Row(
    "Tasks (only with metrics.per_task)",
    (
        time_series_panel(
            PanelOptions(
                title="Utilisation of the slowest tasks",
                description="Accelerator utilisation of the ten least busy tasks at each point. Only with the "
                "exporter's setting metrics.per_task, and only for the v2 API.",
                unit="percentunit",
                width=12,
                height=8,
                thresholds=UTILISATION,
                decimals=0,
                no_value="metrics.per_task is off",
            ),
            Query(
                f"bottomk(10, {_of_tasks('modelarts_training_job_task_accelerator_utilization_ratio')})",
                "{{task}}",
            ),
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Highest accelerator memory by task",
                description="The ten tasks at each point with the highest share of accelerator memory in use. Only "
                "with metrics.per_task.",
                unit="percentunit",
                width=12,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((0.9, palette.RED),)),
                decimals=0,
                no_value="metrics.per_task is off",
            ),
            Query(
                f"topk(10, {_of_tasks('modelarts_training_job_task_accelerator_memory_utilization_ratio')})",
                "{{task}}",
            ),
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Highest CPU utilisation by task",
                description="The ten tasks at each point with the highest CPU utilisation. Only with "
                "metrics.per_task.",
                unit="percentunit",
                width=12,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((0.9, palette.RED),)),
                decimals=0,
                no_value="metrics.per_task is off",
            ),
            Query(
                f"topk(10, {JOB_SCOPE.dedup('modelarts_training_job_task_cpu_utilization_ratio', 'task')})",
                "{{task}}",
            ),
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Highest main memory by task",
                description="The ten tasks at each point with the highest share of main memory in use. Only with "
                "metrics.per_task.",
                unit="percentunit",
                width=12,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((0.9, palette.RED),)),
                decimals=0,
                no_value="metrics.per_task is off",
            ),
            Query(
                f"topk(10, {JOB_SCOPE.dedup('modelarts_training_job_task_memory_utilization_ratio', 'task')})",
                "{{task}}",
            ),
            zero_to_one=True,
        ),
    ),
    collapsed=True,
)

BOARD = Board(
    uid=link.JOB,
    title="ModelArts / Job",
    description="One training job from submission to end. Click a job on another board, or select it above.",
    variables=variables(SCOPE, one_job=True),
    rows=(OVERVIEW, LIFECYCLE, USAGE, RESULT, TASKS),
    annotations=(annotation.failures(JOB_SCOPE),),
)
