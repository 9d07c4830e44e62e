"""Job: one training job from submission to end: phases, utilisation, memory, disk, network, recoveries."""

from . import annotation, frame, link, palette
from .board import Board, Row
from .palette import IDLE_S, PLAIN, UTILISATION, WAIT_S, Thresholds
from .panel import Column, Head, Query, graph, number, rows, timeline
from .promql import INFO, JOB, Scope, status_code

SCOPE = Scope(frozenset({"project", "pool", "user", "training_job"}))
"""Pool and user only shorten the list of jobs: one job is chosen by its id, so no query here needs its info."""

ONE = Scope(frozenset({"project", "training_job"}))

_SAME = ("cluster", "project", "job_id")
"""Labels that every row has in common: there is one job."""
THE_INFO = ONE.one(
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
    return ONE.one(metric, "accelerator")


def _of_tasks(metric: str) -> str:
    """One line for each task."""
    return ONE.one(metric, "task", "accelerator")


WHAT = Row(
    "What it is",
    (
        rows(
            Head(
                title="The job",
                about="What the cloud says of the job. An empty field: it does not say, or not before the start.",
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
        number(
            Head(
                title="Status",
                about="Where the job stands now; normalised over both generations of the API.",
                unit="none",
                width=4,
                height=4,
                no_value="gone",
            ),
            Query(status_code(ONE, palette.CODES)),
            words=palette.status_mapping(),
        ),
        number(
            Head(
                title="Waited",
                about="From submission to the first start; for a job that has not started, until now. Yellow from "
                "half an hour, orange from two hours, red from a day.",
                unit="s",
                width=4,
                height=4,
                thresholds=WAIT_S,
                decimals=1,
                no_value="unknown",
            ),
            Query(
                f"{ONE.one('modelarts_training_job_queue_duration_seconds')}\nor\n"
                + ONE.while_in(
                    f"(time() - {ONE.one('modelarts_training_job_submitted_timestamp_seconds')})",
                    "initializing",
                    "queued",
                )
            ),
        ),
        number(
            Head(
                title="Ran",
                about="As the cloud reports it: until now, or from start to end.",
                unit="s",
                width=4,
                height=4,
                decimals=1,
                no_value="not started",
            ),
            Query(ONE.one("modelarts_training_job_run_duration_seconds")),
        ),
        number(
            Head(
                title="Utilisation of the run",
                about="How busy its accelerators have been over the whole run, mean over its tasks and over the "
                "minutes for which the cloud still has readings.",
                unit="percentunit",
                width=4,
                height=4,
                thresholds=UTILISATION,
                decimals=0,
                no_value="no reading",
            ),
            Query(ONE.one("modelarts_training_job_accelerator_utilization_mean_ratio")),
        ),
        number(
            Head(
                title="Idle for",
                about="How long the accelerators of every task have been below the exporter's idle threshold. Yellow "
                "from ten minutes, red from an hour. Only while it runs.",
                unit="s",
                width=4,
                height=4,
                thresholds=IDLE_S,
                decimals=0,
                no_value="no reading",
            ),
            Query(ONE.one("modelarts_training_job_idle_seconds")),
        ),
        number(
            Head(
                title="Recovered",
                about="How often the cloud has recovered the job from a fault so far, by any policy. Only the new "
                "generation of the API tells.",
                unit="none",
                width=4,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.YELLOW), (5, palette.RED))),
                no_value="never",
            ),
            Query(f"sum({ONE.one('modelarts_training_job_recoveries', 'policy')})"),
        ),
        number(
            Head(
                title="Hang",
                about="Whether the job is suspected to hang: its accelerators were busy once, and nothing the cloud "
                "samples of any task has moved for the exporter's setting metrics.hang_after. Only while it runs.",
                unit="none",
                width=4,
                height=4,
                no_value="no reading",
            ),
            Query(ONE.one("modelarts_training_job_suspected_hang")),
            words=palette.words({0: ("no", palette.GREEN), 1: ("SUSPECTED", palette.RED)}),
        ),
        number(
            Head(
                title="Flat for",
                about="For how long nothing the cloud samples of any task has moved by more than half a percentage "
                "point: CPU, memory, accelerators and their memory. The evidence for a hang. Yellow from ten "
                "minutes, red from an hour.",
                unit="s",
                width=4,
                height=4,
                thresholds=IDLE_S,
                decimals=0,
                no_value="no reading",
            ),
            Query(ONE.one("modelarts_training_job_flat_seconds")),
        ),
        number(
            Head(
                title="Faults",
                about="How many faults the cloud has found in the job so far, of any kind; by kind below. Only the "
                "new generation of the API tells.",
                unit="none",
                width=4,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.YELLOW), (5, palette.RED))),
                no_value="none",
            ),
            Query(f"sum({ONE.one('modelarts_training_job_faults', 'scenario')})"),
        ),
        number(
            Head(
                title="Degraded recoveries",
                about="Recoveries for which what was tried first did not suffice: a restart in place that became a "
                "new scheduling takes minutes where it should take seconds.",
                unit="none",
                width=4,
                height=4,
                thresholds=Thresholds(palette.GREEN, ((1, palette.ORANGE),)),
                no_value="none",
            ),
            Query(f"sum({ONE.one('modelarts_training_job_degraded_recoveries', 'policy')})"),
        ),
        number(
            Head(
                title="Crash loop",
                about="How many of the newest runs in a row each broke within ten minutes of their start and were "
                "recovered. From two on it gets nothing done; 0 once a run has lasted longer.",
                unit="none",
                width=4,
                height=4,
                thresholds=palette.LOOP,
                no_value="not told",
            ),
            Query(ONE.one("modelarts_training_job_crash_loop_runs")),
        ),
        number(
            Head(
                title="Since the last recovery",
                about="How long ago the job began to run again after a fault. Below zero: it is being recovered now.",
                unit="s",
                width=4,
                height=4,
                decimals=1,
                no_value="never",
            ),
            Query(f"time() - {ONE.one('modelarts_training_job_last_recovery_timestamp_seconds')}"),
        ),
    ),
)

PHASES = Row(
    "Phases",
    (
        timeline(
            Head(
                title="Status over time",
                about="The phases the job went through within the chosen time, as the exporter saw them.",
                unit="none",
                width=16,
                height=5,
            ),
            Query(status_code(ONE, palette.CODES), "status"),
        ),
        rows(
            Head(
                title="Milestones",
                about="When it was submitted, first started and ended. A line is missing until it is known.",
                unit="none",
                width=8,
                height=5,
            ),
            {
                "A": "\nor\n".join(
                    f"label_replace(1000 * {ONE.one(f'modelarts_training_job_{when}_timestamp_seconds')}, "
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
        graph(
            Head(
                title="Nodes and accelerators",
                about="Held now against asked for (dashed). Held below asked for: it waits, or runs degraded.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
            ),
            Query(ONE.one("modelarts_training_job_status_nodes"), "nodes held"),
            Query(ONE.one("modelarts_training_job_spec_nodes"), "nodes asked for"),
            Query(_by_kind("modelarts_training_job_status_accelerators"), "{{accelerator}}s held"),
            Query(_by_kind("modelarts_training_job_spec_accelerators"), "{{accelerator}}s asked for"),
            dashed="/asked for$/",
        ),
        graph(
            Head(
                title="Recoveries",
                about="Recoveries from faults so far, by the policy that was used. A step up is a fault; several in "
                "a row are a bad node or a bug. Dashed: tried first and not sufficient, by that policy. Jobs that "
                "were never recovered have no line.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                thresholds=PLAIN,
                no_value="never recovered",
            ),
            Query(ONE.one("modelarts_training_job_recoveries", "policy"), "{{policy}}"),
            Query(ONE.one("modelarts_training_job_degraded_recoveries", "policy"), "{{policy}} not sufficient"),
            dashed="/ not sufficient$/",
        ),
        graph(
            Head(
                title="Faults by kind",
                about="Faults the cloud has found in the job so far, by what broke. A fault of a chip or a node is "
                "the hardware's; a failed or hung job is most often its own.",
                unit="none",
                width=8,
                height=8,
                decimals=0,
                thresholds=PLAIN,
                no_value="no fault was found",
            ),
            Query(ONE.one("modelarts_training_job_faults", "scenario"), "{{scenario}}"),
        ),
    ),
)

USAGE = Row(
    "Usage",
    (
        graph(
            Head(
                title="Accelerator utilisation",
                about="How busy its accelerators are: the mean over its tasks, and the slowest task. A slowest task "
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
            whole=True,
        ),
        graph(
            Head(
                title="Memory",
                about="Share of the accelerators' own memory and of main memory in use, mean over its tasks. Near "
                "the top before an exit code 137: it ran out of memory.",
                unit="percentunit",
                width=12,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((0.9, palette.RED),)),
                decimals=0,
                no_value="no reading",
            ),
            Query(_by_kind("modelarts_training_job_accelerator_memory_utilization_ratio"), "accelerator memory"),
            Query(ONE.one("modelarts_training_job_memory_utilization_ratio"), "main memory"),
            whole=True,
        ),
        graph(
            Head(
                title="CPU",
                about="Share of its CPUs the job uses, mean over its tasks. At the top while the accelerators are "
                "not: data loading is the bottleneck.",
                unit="percentunit",
                width=8,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((0.9, palette.RED),)),
                decimals=0,
                no_value="no reading",
            ),
            Query(ONE.one("modelarts_training_job_cpu_utilization_ratio"), "CPU"),
            whole=True,
        ),
        graph(
            Head(
                title="Disk",
                about="Bytes read and written each second, over all tasks. Only the old generation of the API (v1) "
                "tells.",
                unit="Bps",
                width=8,
                height=8,
                no_value="told for v1 jobs only",
            ),
            Query(ONE.one("modelarts_training_job_disk_read_bytes_per_second"), "read"),
            Query(ONE.one("modelarts_training_job_disk_written_bytes_per_second"), "written"),
        ),
        graph(
            Head(
                title="Network",
                about="Bytes received and sent each second, over all tasks. Only the old generation of the API (v1) "
                "tells.",
                unit="Bps",
                width=8,
                height=8,
                no_value="told for v1 jobs only",
            ),
            Query(ONE.one("modelarts_training_job_network_received_bytes_per_second"), "received"),
            Query(ONE.one("modelarts_training_job_network_transmitted_bytes_per_second"), "sent"),
        ),
    ),
)

END = Row(
    "How it ended",
    (
        rows(
            Head(
                title="Exit codes",
                about="Exit code of each task that failed, the first eight by name. 137 often means out of memory, "
                "139 a crash in native code. None for jobs that did not fail and for v1.",
                unit="none",
                width=8,
                height=6,
            ),
            {"A": ONE.one("modelarts_training_job_task_exit_code", "task")},
            (
                Column(title="Task", label="task"),
                Column(title="Exit code", value="A", unit="none", thresholds=Thresholds(palette.ORANGE)),
            ),
            sort_by="Task",
            descending=False,
            drop=_SAME,
        ),
        rows(
            Head(
                title="Reason",
                about="The cloud's own word that refines the status, such as the step at which the job failed.",
                unit="none",
                width=8,
                height=6,
            ),
            {"A": ONE.one("modelarts_training_job_status_reason", "reason")},
            (Column(title="In the cloud's words", label="reason"),),
            sort_by="In the cloud's words",
            drop=_SAME,
        ),
        rows(
            Head(
                title="Quality of the model",
                about="The model's own evaluation. Only v1 jobs of built-in algorithms tell.",
                unit="none",
                width=8,
                height=6,
            ),
            {"A": ONE.one("modelarts_training_job_quality_ratio", "measure")},
            (
                Column(title="Measure", label="measure"),
                Column(title="Value", value="A", unit="percentunit", decimals=1, thresholds=PLAIN),
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
        graph(
            Head(
                title="Utilisation of the slowest tasks",
                about="The ten least busy tasks at each moment, by their accelerators. Only where the exporter's "
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
            whole=True,
        ),
        graph(
            Head(
                title="Accelerator memory of the fullest tasks",
                about="The ten tasks at each moment whose accelerators' memory is fullest. Only with "
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
            whole=True,
        ),
        graph(
            Head(
                title="CPU of the busiest tasks",
                about="The ten tasks at each moment that use most of their CPUs. Only with metrics.per_task.",
                unit="percentunit",
                width=12,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((0.9, palette.RED),)),
                decimals=0,
                no_value="metrics.per_task is off",
            ),
            Query(f"topk(10, {ONE.one('modelarts_training_job_task_cpu_utilization_ratio', 'task')})", "{{task}}"),
            whole=True,
        ),
        graph(
            Head(
                title="Main memory of the fullest tasks",
                about="The ten tasks at each moment that use most of their main memory. Only with metrics.per_task.",
                unit="percentunit",
                width=12,
                height=8,
                thresholds=Thresholds(palette.GREEN, ((0.9, palette.RED),)),
                decimals=0,
                no_value="metrics.per_task is off",
            ),
            Query(f"topk(10, {ONE.one('modelarts_training_job_task_memory_utilization_ratio', 'task')})", "{{task}}"),
            whole=True,
        ),
    ),
    collapsed=True,
)

BOARD = Board(
    uid=link.JOB,
    title="ModelArts / Job",
    about="One training job from submission to end. Come here from a name on another board, or choose above.",
    variables=frame.variables(SCOPE, one_job=True),
    rows=(WHAT, PHASES, USAGE, END, TASKS),
    marks=(annotation.failures(ONE),),
)
