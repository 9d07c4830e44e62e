"""The command line: flags in Prometheus' notation; exit codes 0 success, 1 failure, 2 wrong usage."""

import click

from exporter import __version__
from exporter.commands.backfill import backfill
from exporter.commands.check import check_config
from exporter.commands.demo import demo
from exporter.commands.metrics import metrics
from exporter.commands.scrape import scrape
from exporter.commands.serve import serve
from exporter.commands.simulate import simulate

__all__ = ["main"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try it without an account: modelarts-exporter demo",
)
@click.version_option(__version__, "--version", message="%(prog)s %(version)s")
def main() -> None:
    """Prometheus exporter for ModelArts training jobs on Huawei Cloud and Open Telekom Cloud."""


for command in (serve, demo, simulate, check_config, scrape, backfill, metrics):
    main.add_command(command)
