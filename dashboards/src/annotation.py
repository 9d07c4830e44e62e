"""Annotations on the time axis."""

from grafana_foundation_sdk.models import dashboard as model

from .palette import BLUE, RED
from .promql import FAILED, JOB, STATUS, Scope
from .variable import DATASOURCE


class Annotation(model.AnnotationQuery):
    """An annotation at a time in milliseconds, which is the value of its query."""

    def __init__(self, *, name: str, expr: str, colour: str, title: str, text: str) -> None:
        super().__init__(name=name, datasource=DATASOURCE, enable=True, icon_color=colour, expr=expr)
        self._title = title
        self._text = text

    def to_json(self) -> dict[str, object]:
        """Add the keys that the Prometheus data source reads and the SDK's model does not have."""
        return super().to_json() | {
            "step": "60s",
            "useValueForTime": True,
            "titleFormat": self._title,
            "textFormat": self._text,
        }


def failures(scope: Scope) -> Annotation:
    """Annotate each job that failed or was lost, at its end."""
    ended = scope.dedup("modelarts_training_job_end_timestamp_seconds")
    failed = scope.join_info(scope.dedup(STATUS, "status", status=FAILED), "job_name", "user")
    return Annotation(
        name="Failures",
        expr=f"{failed}\n* on ({JOB}) group_left ()\n(1000 * {ended})",
        colour=RED,
        title="{{job_name}} {{status}}",
        text="of {{user}} in {{project}} ({{job_id}})",
    )


def restarts(scope: Scope) -> Annotation:
    """Annotate each start of an exporter."""
    return Annotation(
        name="Exporter starts",
        expr=f"1000 * ({scope.of_exporters('process_start_time_seconds')})",
        colour=BLUE,
        title="Exporter started",
        text="{{instance}}",
    )
