"""Families of the monitoring of a project: success, age and duration of polls. Few, so computed at each scrape."""

from collections.abc import Callable, Iterable

from exporter.domain.snapshot import CollectorState, ProjectSnapshot
from exporter.metrics.exposition.family import Family, Label, Sample, Stability, Type

COLLECTOR = Label(
    name="collector",
    help="What is polled: jobs, their usage, the whole job listing at long intervals, or pools and quotas.",
    values=("jobs", "usage", "sweep", "pools"),
)


def _per_collector(
    value: Callable[[CollectorState], float | None],
) -> Callable[[ProjectSnapshot], Iterable[Sample]]:
    """Build one sample for each enabled collector that has run and has this value."""

    def samples(snapshot: ProjectSnapshot) -> Iterable[Sample]:
        for state in snapshot.collectors:
            reading = value(state) if state.enabled else None
            if reading is not None:
                yield {COLLECTOR.name: state.name}, float(reading)

    return samples


def _collector_enabled(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    return (({COLLECTOR.name: state.name}, float(state.enabled)) for state in snapshot.collectors)


def _up(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    return (({}, float(snapshot.up)),)


def _project_info(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    labels = {"project_id": snapshot.project_id, "region": snapshot.region, "cloud": snapshot.cloud}
    return ((labels, 1.0),)


def _tracked_jobs(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    return () if snapshot.jobs is None else (({}, float(len(snapshot.jobs))),)


def _workspace_accessible(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    for state in snapshot.workspaces:
        yield {"workspace_id": state.workspace_id, "name": state.name}, float(state.accessible)


def _duplicate_jobs(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    return () if snapshot.duplicate_jobs is None else (({}, float(snapshot.duplicate_jobs)),)


UP: Family[ProjectSnapshot] = Family(
    name="modelarts_up",
    help=(
        "1 when the newest jobs poll of the project succeeded completely, else 0. Also 0 from the start until the "
        "first successful poll. Never absent while the exporter runs."
    ),
    type=Type.GAUGE,
    subject="project",
    source="exporter: outcome of the newest jobs poll",
    samples=_up,
)

COLLECTOR_UP: Family[ProjectSnapshot] = Family(
    name="modelarts_collector_up",
    help=(
        "1 when the newest poll of the collector succeeded completely, 0 when a part failed; the other parts are "
        "exported. Absent before the end of its first poll, and while it is disabled."
    ),
    type=Type.GAUGE,
    subject="project",
    source="exporter: outcome of the collector's newest poll",
    labels=(COLLECTOR,),
    samples=_per_collector(lambda state: state.ok),
)

COLLECTOR_ENABLED: Family[ProjectSnapshot] = Family(
    name="modelarts_collector_enabled",
    help=(
        "0 while the collector is disabled because the API does not have its endpoint or denies permission, else 1. "
        "Disabled is not a failure; it is tried again every hour. Absent before the end of its first poll."
    ),
    type=Type.GAUGE,
    subject="project",
    source="exporter: responses to the calls of the collector",
    labels=(COLLECTOR,),
    stability=Stability.EXPERIMENTAL,
    samples=_collector_enabled,
)

COLLECTOR_LAST_SUCCESS: Family[ProjectSnapshot] = Family(
    name="modelarts_collector_last_success_timestamp_seconds",
    help=(
        "Time of the last completely successful poll of the collector; time() minus this is the age of its data. "
        "Absent before the first success."
    ),
    type=Type.GAUGE,
    subject="project",
    source="exporter: the clock of the exporter",
    labels=(COLLECTOR,),
    unit="seconds",
    samples=_per_collector(lambda state: state.last_success_at),
)

COLLECTOR_DURATION: Family[ProjectSnapshot] = Family(
    name="modelarts_collector_duration_seconds",
    help=(
        "Duration of the newest poll of the collector, successful or not. Near its interval, data will be late; near "
        "collection.timeout, polls are aborted. Absent before the end of its first poll."
    ),
    type=Type.GAUGE,
    subject="project",
    source="exporter: the clock of the exporter",
    labels=(COLLECTOR,),
    unit="seconds",
    samples=_per_collector(lambda state: state.duration_s),
)

PROJECT_INFO: Family[ProjectSnapshot] = Family(
    name="modelarts_project",
    help=(
        "Always 1; the labels describe the cloud project behind the label project of all other series. "
        "Join on (project)."
    ),
    type=Type.INFO,
    subject="project",
    source="exporter: the settings; the project id from the cloud where the settings give only its name",
    labels=(
        Label(name="project_id", help="Id of the project in the cloud; empty while unknown."),
        Label(name="region", help="Region of the target."),
        Label(name="cloud", help="Cloud of the target, from the setting `cloud`."),
    ),
    samples=_project_info,
)

TRACKED_JOBS: Family[ProjectSnapshot] = Family(
    name="modelarts_exporter_tracked_jobs",
    help=(
        "Jobs of the project in memory: active ones, finished ones for the retention period, and those that a filter "
        "hides. Absent while the jobs are withdrawn."
    ),
    type=Type.GAUGE,
    subject="project",
    source="exporter: tracked jobs, counted",
    samples=_tracked_jobs,
)

DUPLICATE_JOBS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_duplicate_jobs",
    help=(
        "Tracked jobs that both API generations list with the same name and submission time. Each is one job, as v2 "
        "reports it, in every series, sum and counter. Absent while only one generation is polled."
    ),
    type=Type.GAUGE,
    subject="project",
    source="exporter: jobs of v1 compared with those of v2",
    samples=_duplicate_jobs,
)

WORKSPACE_ACCESSIBLE: Family[ProjectSnapshot] = Family(
    name="modelarts_workspace_accessible",
    help=(
        "1 while the jobs of the workspace can be listed; 0 while access to it is refused, or it is being created or "
        "deleted. At 0 its jobs are missing, polls do not fail for it, and it is listed again every hour. Absent "
        "before its first listing."
    ),
    type=Type.GAUGE,
    subject="project",
    source="v1_list_workspaces: id, name, status; responses to the listings of jobs",
    labels=(
        Label(name="workspace_id", help="Id of the workspace; 0 is the default one."),
        Label(name="name", help="Name of the workspace; empty where no list of workspaces names it."),
    ),
    samples=_workspace_accessible,
)

FAMILIES: tuple[Family[ProjectSnapshot], ...] = (
    UP,
    COLLECTOR_UP,
    COLLECTOR_ENABLED,
    COLLECTOR_LAST_SUCCESS,
    COLLECTOR_DURATION,
    PROJECT_INFO,
    TRACKED_JOBS,
    DUPLICATE_JOBS,
    WORKSPACE_ACCESSIBLE,
)
"""Computed from the newest snapshot at each scrape."""
