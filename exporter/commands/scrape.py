"""`modelarts-exporter scrape`."""

from pathlib import Path

import click

from exporter import app, log
from exporter.commands.flags import config_file, load_settings, logging
from exporter.commands.run import FAILED, run

_EXAMPLES = """\b
Examples:
  modelarts-exporter scrape --config.file=config.yaml
  modelarts-exporter scrape --config.file=config.yaml | promtool check metrics
"""


@click.command(epilog=_EXAMPLES)
@config_file()
@logging()
def scrape(config_file: Path, log_level: log.Level, log_format: log.Format) -> None:
    """Poll once and print the exposition. Prints API calls, series and expected series on stderr.

    Exits with 1 if the poll of a project was incomplete; the available metrics are printed.
    """
    settings = load_settings(config_file)
    log.configure(log_level, format=log_format)
    once = run(lambda: app.scrape(settings, clock=app.RealClock()))
    click.echo(once.text.decode(), nl=False)
    click.echo(
        f"modelarts-exporter: {once.calls} API calls, {once.series} series; about {once.forecast} expected with "
        f"finished jobs of {settings.collection.retention_s}",
        err=True,
    )
    if not once.up:
        raise SystemExit(FAILED)
