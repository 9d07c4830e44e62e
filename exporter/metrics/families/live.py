"""The families that say whether and since when a project is being seen; computed at each scrape, being few."""

from collections.abc import Callable, Iterable

from exporter.domain.snapshot import CollectorState, ProjectSnapshot
from exporter.metrics.exposition.family import Family, Label, Sample, Stability, Type

COLLECTOR = Label(
    name="collector",
    help="What is polled: job states, their usage, the rare walk over the whole listing, or pools and quotas.",
    values=("jobs", "usage", "sweep", "pools"),
)


def _each_collector(
    value: Callable[[CollectorState], float | None],
) -> Callable[[ProjectSnapshot], Iterable[Sample]]:
    """Build one sample for each collector that has run, is not off, and has something to say."""

    def samples(snapshot: ProjectSnapshot) -> Iterable[Sample]:
        for state in snapshot.collectors:
            read = value(state) if state.enabled else None
            if read is not None:
                yield {COLLECTOR.name: state.name}, float(read)

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


UP: Family[ProjectSnapshot] = Family(
    name="modelarts_up",
    help=(
        "1 when the newest jobs poll of the project succeeded wholly, else 0; 0 from the start until the first one "
        "has, because not seeing anything yet is blindness too. Never absent while the exporter runs."
    ),
    type=Type.GAUGE,
    subject="project",
    source="own: outcome of the newest jobs poll",
    samples=_up,
)

COLLECTOR_UP: Family[ProjectSnapshot] = Family(
    name="modelarts_collector_up",
    help=(
        "1 when the newest poll of this collector succeeded wholly, 0 when any part failed; what did answer is shown "
        "all the same. Absent before its first poll is over, and while it is off."
    ),
    type=Type.GAUGE,
    subject="project",
    source="own: outcome of the collector's newest poll",
    labels=(COLLECTOR,),
    samples=_each_collector(lambda state: state.ok),
)

COLLECTOR_ENABLED: Family[ProjectSnapshot] = Family(
    name="modelarts_collector_enabled",
    help=(
        "0 while a collector is off because the API refuses what it asks for: no such call, or no permission. That "
        "is no failure; it asks again every hour. Else 1. Absent before its first poll is over."
    ),
    type=Type.GAUGE,
    subject="project",
    source="own: the cloud's answers to the collector's first call",
    labels=(COLLECTOR,),
    stability=Stability.EXPERIMENTAL,
    samples=_collector_enabled,
)

COLLECTOR_LAST_SUCCESS: Family[ProjectSnapshot] = Family(
    name="modelarts_collector_last_success_timestamp_seconds",
    help=(
        "When this collector last succeeded wholly; time() minus this is how old the data may be. "
        "Absent before its first success."
    ),
    type=Type.GAUGE,
    subject="project",
    source="own clock",
    labels=(COLLECTOR,),
    unit="seconds",
    samples=_each_collector(lambda state: state.last_success_at),
)

COLLECTOR_DURATION: Family[ProjectSnapshot] = Family(
    name="modelarts_collector_duration_seconds",
    help=(
        "How long the newest poll of this collector took, good or bad. Close to its interval, data will come late; "
        "close to collection.timeout, it is being cut off. Absent before its first poll is over."
    ),
    type=Type.GAUGE,
    subject="project",
    source="own clock",
    labels=(COLLECTOR,),
    unit="seconds",
    samples=_each_collector(lambda state: state.duration_s),
)

PROJECT_INFO: Family[ProjectSnapshot] = Family(
    name="modelarts_project",
    help=(
        "Always 1; its labels say which cloud project stands behind the name used in every other series. "
        "Join it on (project)."
    ),
    type=Type.INFO,
    subject="project",
    source="own: the settings, and the project id found with the credentials where the settings give a name",
    labels=(
        Label(name="project_id", help="The cloud's id of the project; empty until it is known."),
        Label(name="region", help="Region of the target."),
        Label(name="cloud", help="The `cloud` of the target in the settings."),
    ),
    samples=_project_info,
)

TRACKED_JOBS: Family[ProjectSnapshot] = Family(
    name="modelarts_exporter_tracked_jobs",
    help=(
        "Jobs the exporter holds in memory for the project: active ones, finished ones for the retention, and those "
        "hidden by a filter. Absent while they are withdrawn."
    ),
    type=Type.GAUGE,
    subject="project",
    source="own: tracked jobs, counted",
    samples=_tracked_jobs,
)

FAMILIES: tuple[Family[ProjectSnapshot], ...] = (
    UP,
    COLLECTOR_UP,
    COLLECTOR_ENABLED,
    COLLECTOR_LAST_SUCCESS,
    COLLECTOR_DURATION,
    PROJECT_INFO,
    TRACKED_JOBS,
)
"""Computed from the newest snapshot at scrape time."""
