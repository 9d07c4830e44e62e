"""Job: one training job from submission to end: phases, utilisation, memory, disk, network, recoveries."""

from . import annotation, link, palette
from .board import Board, Row
from .palette import IDLE_S, NEUTRAL, UTILISATION, WAIT_S, Thresholds
from .panel import Column, PanelOptions, Query, stat_panel, state_timeline_panel, table_panel, time_series_panel
from .promql import INFO, JOB, Scope, status_code
from .variable import variables

SCOPE = Scope(frozenset({"project", "pool", "user", "training_job"}))
"""Pool and user only shorten the list of jobs: one job is chosen by its id, so no query here needs its info."""

JOB_SCOPE = Scope(frozenset({"project", "training_job"}))

_SAME = ("cluster", "project", "job_id")
"""Labels that every row has in common: there is one job."""
THE_INFO = JOB_SCOPE.dedup(
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
    """One line: a job has one kind of accelerator."""
    return JOB_SCOPE.dedup(metric, "accelerator")


def _of_tasks(metric: str) -> str:
    """One line for each task."""
    return JOB_SCOPE.dedup(metric, "task", "accelerator")


WHAT = Row(
    "What it is",
    (
        table_panel(
            PanelOptions(
                title="The job",
                description="What the cloud says of the job. An empty field: it does not say, or not before the start.",
                unit="none",
                width=24,
                height=3,
            ),
            {
                "A": f'label_replace(topk by ({JOB}) (1, {THE_INFO}), "pool_id", "public", "pool_id", "")',
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
                Column(title="Id", label="job_id"),
            ),
            sort_by="Name",
        ),
        stat_panel(
            PanelOptions(
                title="Status",
                description="Where the job stands now; normalised over both generations of the API.",
                unit="none",
                width=4,
                height=4,
                no_value="gone",
            ),
            Query(status_code(JOB_SCOPE, palette.CODES)),
            mappings=palette.status_mapping(),
        ),
        stat_panel(
            PanelOptions(
                title="Waited",
                description="From submission to the first start; for a job that has not started, until now. Yellow from "
                "half an hour, orange from two hours, red from a day.",
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
                    f"(time() - {JOB_SCOPE.dedup('modelarts_training_job_submitted_timestamp_seconds')})",
                    "initializing",
                    "queued",
                )
            ),
        ),
        stat_panel(
            PanelOptions(
                title="Ran",
                description="As the cloud reports it: until now, or from start to end.",
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
                description="How busy its accelerators have been over the whole run, mean over its tasks and over the "
                "minutes for which the cloud still has readings.",
                unit="percentunit",
                width=4,
                height=4,
                thresholds=UTILISATION,
                decimals=0,
                no_value="no reading",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_accelerator_utilization_mean_ratio")),
        ),
        stat_panel(
            PanelOptions(
                title="Idle for",
                description="How long the accelerators of every task have been below the exporter's idle threshold. Yellow "
                "from ten minutes, red from an hour. Only while it runs.",
                unit="s",
                width=4,
                height=4,
                thresholds=IDLE_S,
                decimals=0,
                no_value="no reading",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_idle_seconds")),
        ),
        stat_panel(
            PanelOptions(
                title="Recovered",
                description="How often the cloud has recovered the job from a fault so far, by any policy. Only the new "
                "generation of the API tells.",
                unit="none",
                width=4,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.YELLOW), (5, palette.RED))),
                no_value="never",
            ),
            Query(f"sum({JOB_SCOPE.dedup('modelarts_training_job_recoveries', 'policy')})"),
        ),
        stat_panel(
            PanelOptions(
                title="Hang",
                description="Whether the job is suspected to hang: its accelerators were busy once, and nothing the cloud "
                "samples of any task has moved for the exporter's setting metrics.hang_after. Only while it runs.",
                unit="none",
                width=4,
                height=4,
                no_value="no reading",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_suspected_hang")),
            mappings=palette.value_mappings({0: ("no", palette.GREEN), 1: ("SUSPECTED", palette.RED)}),
        ),
        stat_panel(
            PanelOptions(
                title="Flat for",
                description="For how long nothing the cloud samples of any task has moved by more than half a percentage "
                "point: CPU, memory, accelerators and their memory. The evidence for a hang. Yellow from ten "
                "minutes, red from an hour.",
                unit="s",
                width=4,
                height=4,
                thresholds=IDLE_S,
                decimals=0,
                no_value="no reading",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_flat_seconds")),
        ),
        stat_panel(
            PanelOptions(
                title="Faults",
                description="How many faults the cloud has found in the job so far, of any kind; by kind below. Only the "
                "new generation of the API tells.",
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
                description="Recoveries for which what was tried first did not suffice: a restart in place that became a "
                "new scheduling takes minutes where it should take seconds.",
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
                description="How many of the newest runs in a row each broke within ten minutes of their start and were "
                "recovered. From two on it gets nothing done; 0 once a run has lasted longer.",
                unit="none",
                width=4,
                height=4,
                thresholds=palette.CRASH_LOOP,
                no_value="not told",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_crash_loop_runs")),
        ),
        stat_panel(
            PanelOptions(
                title="Since the last recovery",
                description="How long ago the job began to run again after a fault. Below zero: it is being recovered now.",
                unit="s",
                width=4,
                height=4,
                decimals=1,
                no_value="never",
            ),
            Query(f"time() - {JOB_SCOPE.dedup('modelarts_training_job_last_recovery_timestamp_seconds')}"),
        ),
    ),
)

PHASES = Row(
    "Phases",
    (
        state_timeline_panel(
            PanelOptions(
                title="Status over time",
                description="The phases the job went through within the chosen time, as the exporter saw them.",
                unit="none",
                width=16,
                height=5,
            ),
            Query(status_code(JOB_SCOPE, palette.CODES), "status"),
        ),
        table_panel(
            PanelOptions(
                title="Milestones",
                description="When it was submitted, first started and ended. A line is missing until it is known.",
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
                Column(title="At", value="A", unit="dateTimeAsIso"),
            ),
            sort_by="At",
            descending=False,
            drop=_SAME,
        ),
        time_series_panel(
            PanelOptions(
                title="Nodes and accelerators",
                description="Held now against asked for (dashed). Held below asked for: it waits, or runs degraded.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_status_nodes"), "nodes held"),
            Query(JOB_SCOPE.dedup("modelarts_training_job_spec_nodes"), "nodes asked for"),
            Query(_by_kind("modelarts_training_job_status_accelerators"), "{{accelerator}}s held"),
            Query(_by_kind("modelarts_training_job_spec_accelerators"), "{{accelerator}}s asked for"),
            dashed="/asked for$/",
        ),
        time_series_panel(
            PanelOptions(
                title="Recoveries",
                description="Recoveries from faults so far, by the policy that was used. A step up is a fault; several in "
                "a row are a bad node or a bug. Dashed: tried first and not sufficient, by that policy. Jobs that "
                "were never recovered have no line.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                thresholds=NEUTRAL,
                no_value="never recovered",
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
                description="Faults the cloud has found in the job so far, by what broke. A fault of a chip or a node is "
                "the hardware's; a failed or hung job is most often its own.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                thresholds=NEUTRAL,
                no_value="no fault was found",
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
                description="How busy its accelerators are: the mean over its tasks, and the slowest task. A slowest task "
                "far below the mean holds the others up. A comb that falls to zero at even steps is often a "
                "checkpoint or data loading.",
                unit="percentunit",
                width=12,
                height=8,
                thresholds=UTILISATION,
                decimals=0,
                no_value="no reading",
            ),
            Query(_by_kind("modelarts_training_job_accelerator_utilization_ratio"), "mean"),
            Query(_by_kind("modelarts_training_job_accelerator_utilization_min_ratio"), "slowest task"),
            colours={"mean": palette.GREEN, "slowest task": palette.ORANGE},
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Memory",
                description="Share of the accelerators' own memory and of main memory in use, mean over its tasks. Near "
                "the top before an exit code 137: it ran out of memory.",
                unit="percentunit",
                width=12,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((0.9, palette.RED),)),
                decimals=0,
                no_value="no reading",
            ),
            Query(_by_kind("modelarts_training_job_accelerator_memory_utilization_ratio"), "accelerator memory"),
            Query(JOB_SCOPE.dedup("modelarts_training_job_memory_utilization_ratio"), "main memory"),
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="CPU",
                description="Share of its CPUs the job uses, mean over its tasks. At the top while the accelerators are "
                "not: data loading is the bottleneck.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((0.9, palette.RED),)),
                decimals=0,
                no_value="no reading",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_cpu_utilization_ratio"), "CPU"),
            zero_to_one=True,
        ),
        time_series_panel(
            PanelOptions(
                title="Disk",
                description="Bytes read and written each second, over all tasks. Only the old generation of the API (v1) "
                "tells.",
                unit="Bps",
                width=8,
                height=8,
                no_value="told for v1 jobs only",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_disk_read_bytes_per_second"), "read"),
            Query(JOB_SCOPE.dedup("modelarts_training_job_disk_written_bytes_per_second"), "written"),
        ),
        time_series_panel(
            PanelOptions(
                title="Network",
                description="Bytes received and sent each second, over all tasks. Only the old generation of the API (v1) "
                "tells.",
                unit="Bps",
                width=8,
                height=8,
                no_value="told for v1 jobs only",
            ),
            Query(JOB_SCOPE.dedup("modelarts_training_job_network_received_bytes_per_second"), "received"),
            Query(JOB_SCOPE.dedup("modelarts_training_job_network_transmitted_bytes_per_second"), "sent"),
        ),
    ),
)

END = Row(
    "How it ended",
    (
        table_panel(
            PanelOptions(
                title="Exit codes",
                description="Exit code of each task that failed, the first eight by name. 137 often means out of memory, "
                "139 a crash in native code. None for jobs that did not fail and for v1.",
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
            drop=_SAME,
        ),
        table_panel(
            PanelOptions(
                title="Reason",
                description="The cloud's own word that refines the status, such as the step at which the job failed.",
                unit="none",
                width=8,
                height=6,
            ),
            {"A": JOB_SCOPE.dedup("modelarts_training_job_status_reason", "reason")},
            (Column(title="In the cloud's words", label="reason"),),
            sort_by="In the cloud's words",
            drop=_SAME,
        ),
        table_panel(
            PanelOptions(
                title="Quality of the model",
                description="The model's own evaluation. Only v1 jobs of built-in algorithms tell.",
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
            drop=_SAME,
        ),
    ),
)

TASKS = Row(
    "Tasks (only with metrics.per_task)",
    (
        time_series_panel(
            PanelOptions(
                title="Utilisation of the slowest tasks",
                description="The ten least busy tasks at each moment, by their accelerators. Only where the exporter's "
                "setting metrics.per_task is on, and only for the new generation of the API.",
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
                title="Accelerator memory of the fullest tasks",
                description="The ten tasks at each moment whose accelerators' memory is fullest. Only with "
                "metrics.per_task.",
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
                title="CPU of the busiest tasks",
                description="The ten tasks at each moment that use most of their CPUs. Only with metrics.per_task.",
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
                title="Main memory of the fullest tasks",
                description="The ten tasks at each moment that use most of their main memory. Only with metrics.per_task.",
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
    description="One training job from submission to end. Come here from a name on another board, or choose above.",
    variables=variables(SCOPE, one_job=True),
    rows=(WHAT, PHASES, USAGE, END, TASKS),
    annotations=(annotation.failures(JOB_SCOPE),),
)
