"""`modelarts-exporter serve`."""

from pathlib import Path

import click

from exporter import app, log
from exporter.commands.flags import AddressType, config_file, flag, logging, settings_of
from exporter.commands.run import run, until_stopped
from exporter.web.address import Address

_EXAMPLES = """\b
Examples:
  modelarts-exporter serve --config.file=/etc/modelarts-exporter/config.yaml
  modelarts-exporter serve --config.file=config.yaml --web.listen-address=127.0.0.1:10310 --log.format=json
"""


@click.command(epilog=_EXAMPLES)
@config_file()
@flag(
    "web.listen-address",
    multiple=True,
    type=AddressType(),
    default=(":10310",),
    help="Address to serve on; may be given several times.",
)
@flag("web.telemetry-path", default="/metrics", help="Path of the exposition.")
@logging()
def serve(
    config_file: Path,
    web_listen_address: tuple[Address, ...],
    web_telemetry_path: str,
    log_level: log.Level,
    log_format: log.Format,
) -> None:
    """Poll the targets of the settings file and serve /metrics, until SIGTERM."""
    settings = settings_of(config_file)
    log.configure(log_level, format=log_format)
    web = app.WebOptions(listen_addresses=web_listen_address, telemetry_path=web_telemetry_path)
    run(lambda: app.serve(settings, web=web, stop=until_stopped(), clock=app.RealClock()))
