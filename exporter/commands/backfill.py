"""`modelarts-exporter backfill`."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from exporter import app, log
from exporter.commands.flags import config_file, load_settings, logging
from exporter.commands.progress import ProgressLine
from exporter.commands.run import WRONG_USAGE, Failure, handle_signals, run
from exporter.settings import Duration

_EXAMPLES = """\b
Examples:
  modelarts-exporter backfill --config.file=config.yaml --since=30d --output=history.om
  modelarts-exporter backfill --config.file=config.yaml --since=90d --no-per-job --split=1d --output=history.om
  modelarts-exporter backfill --config.file=config.yaml --since=2026-11-01 --until=2026-11-15 --output=history.om
Then:
  promtool tsdb create-blocks-from openmetrics history.om /var/lib/prometheus
docs/backfill.md explains how to load it into a running Prometheus, and what is missing from it.
"""

_LARGE_BYTES = 50_000_000
"""From this file size on, promtool takes minutes for a month of data."""

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class _TimeArgumentType(click.ParamType[app.TimeArgument]):
    """A duration before now, or a time."""

    name = "DURATION|TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> app.TimeArgument:
        """Parse a duration in Prometheus' notation, or an ISO 8601 time; UTC if it has no time zone."""
        if isinstance(value, app.TimeArgument):
            return value
        text = str(value)
        try:
            return app.TimeArgument(text, ago_s=float(Duration.parse(text)))
        except ValueError:
            pass
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            self.fail(
                f"{text!r} is neither a duration such as 30d nor a time such as 2026-11-01T00:00:00Z", param, ctx
            )
        return app.TimeArgument(text, at=(time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


class _DurationType(click.ParamType[float]):
    """A duration in Prometheus' notation."""

    name = "DURATION"

    def __init__(self, *, minimum_s: float) -> None:
        self._minimum_s = minimum_s

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse a duration, in seconds."""
        if isinstance(value, float):
            return value
        try:
            duration_s = float(Duration.parse(str(value)))
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        if duration_s < self._minimum_s:
            self.fail(f"{value!r} must be at least {self._minimum_s:g}s", param, ctx)
        return duration_s


class _LabelType(click.ParamType[tuple[str, str]]):
    """A label and its value."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Parse one label."""
        if isinstance(value, tuple):
            return value
        name, separator, report = str(value).partition("=")
        if not separator or not report or not _LABEL.fullmatch(name) or name.startswith("__"):
            self.fail(f"{value!r} must be a label and its value, such as job=modelarts-exporter", param, ctx)
        return name, report


@click.command(epilog=_EXAMPLES)
@config_file()
@click.option(
    "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File to write (OpenMetrics)."
)
@click.option(
    "--since", required=True, type=_TimeArgumentType(), help="Start of the history to write: 30d (ago), or a time."
)
@click.option(
    "--until",
    default="3h",
    show_default=True,
    type=_TimeArgumentType(),
    help="End of it. A running Prometheus still writes the last three hours itself.",
)
@click.option(
    "--step", default="5m", show_default=True, type=_DurationType(minimum_s=1), help="Time between two samples."
)
@click.option(
    "--lookback",
    default="14d",
    show_default=True,
    type=_DurationType(minimum_s=0),
    help="How long before --since jobs are read that may have run after it; active jobs are always read.",
)
@click.option(
    "--split",
    default=None,
    type=_DurationType(minimum_s=7200),
    help="Write one file per time range, for example 1d.",
)
@click.option(
    "--per-job/--no-per-job", default=True, show_default=True, help="Write series per job, or aggregates only."
)
@click.option(
    "--usage/--no-usage",
    default=True,
    show_default=True,
    help="Write usage per job; one call per task.",
)
@click.option("--label", "labels", multiple=True, type=_LabelType(), help="Add a label to every series.")
@click.option("--restart", is_flag=True, help="Discard what an interrupted run has read.")
@click.option("--force", is_flag=True, help="Overwrite existing output files.")
@logging()
def backfill(
    config_file: Path,
    output: Path,
    since: app.TimeArgument,
    until: app.TimeArgument,
    step: float,
    lookback: float,
    split: float | None,
    per_job: bool,
    usage: bool,
    labels: tuple[tuple[str, str], ...],
    restart: bool,
    force: bool,
    log_level: log.Level,
    log_format: log.Format,
) -> None:
    """Write past jobs as OpenMetrics with timestamps, for promtool tsdb create-blocks-from openmetrics.

    Uses the rate limit of the settings. Data is kept in OUTPUT.part until the output is written. After an
    interruption, the same command continues.
    """
    settings = load_settings(config_file)
    log.configure(log_level, format=log_format)
    request = app.Backfill(
        output=output,
        since=since,
        until=until,
        lookback_s=lookback,
        step_s=step,
        split_s=split,
        per_job=per_job,
        usage=usage,
        labels=labels,
        restart=restart,
        force=force,
    )
    clock = app.RealClock()
    if until.is_in_head(clock.time()):
        click.echo(
            f"modelarts-exporter: --until={until.text} is within the last three hours, which a running Prometheus "
            "writes itself (head block): load the file three hours later, or write it again with --until=3h",
            err=True,
        )
    progress = ProgressLine(sys.stderr)

    async def work() -> app.BackfillReport:
        environment = app.Environment(clock=clock, progress=progress, stop=handle_signals().stop)
        return await app.backfill(settings, request, environment)

    try:
        report = run(work)
    except app.BackfillError as error:
        progress.close()
        click.echo(f"modelarts-exporter: {error}", err=True)
        raise SystemExit(WRONG_USAGE) from None
    except app.BackfillInterrupted as error:
        progress.close()
        raise Failure(str(error)) from error
    progress.close()
    result = report.written
    count = len(result.output_files)
    location = str(result.output_files[0]) if count == 1 else f"{count} files, starting with {result.output_files[0]}"
    click.echo(
        f"modelarts-exporter: {report.jobs} jobs, {result.samples} samples, {report.calls} API calls; "
        f"{_format_time(report.since)} to {_format_time(report.until)} in {location}",
        err=True,
    )
    if count == 1 and split is None and result.output_files[0].stat().st_size > _LARGE_BYTES:
        click.echo(
            "modelarts-exporter: promtool reads the whole file for each block of two hours; "
            "with --split=1d it reads each file twelve times",
            err=True,
        )
    if result.untimed:
        click.echo(
            f"modelarts-exporter: {result.untimed} jobs are in no aggregate, because the API returns no times",
            err=True,
        )


def _format_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
