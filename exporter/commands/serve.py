"""`modelarts-exporter serve`."""

import os
from pathlib import Path

import click

from exporter import app, log
from exporter.commands.flags import (
    AddressType,
    config_file,
    flag,
    load_settings,
    load_web_config_file,
    logging,
    web_config_file,
)
from exporter.commands.run import handle_signals, run
from exporter.settings import load
from exporter.web.address import Address

_EXAMPLES = """\b
Examples:
  modelarts-exporter serve --config.file=/etc/modelarts-exporter/config.yaml
  modelarts-exporter serve --config.file=config.yaml --web.listen-address=127.0.0.1:10310 --log.format=json
"""


def _path(_: click.Context, __: click.Parameter, value: str) -> str:
    if not value.startswith("/") or value == "/" or value.startswith("/-/"):
        raise click.BadParameter(f"{value!r} must begin with a slash; / and /-/… are reserved")
    return value


@click.command(epilog=_EXAMPLES)
@config_file()
@flag(
    "web.listen-address",
    multiple=True,
    type=AddressType(),
    default=(":10310",),
    help="Address to serve on; repeatable.",
)
@web_config_file()
@flag("web.telemetry-path", default="/metrics", callback=_path, help="Path of the exposition.")
@flag("web.enable-lifecycle", is_flag=True, help="Serve POST /-/reload; SIGHUP reloads in any case.")
@logging()
def serve(
    config_file: Path,
    web_listen_address: tuple[Address, ...],
    web_config_file: Path | None,
    web_telemetry_path: str,
    web_enable_lifecycle: bool,
    log_level: log.Level,
    log_format: log.Format,
) -> None:
    """Poll the targets of the settings file and serve /metrics until SIGTERM. SIGHUP reloads the file."""
    settings = load_settings(config_file)
    web_config = load_web_config_file(web_config_file)
    log.configure(log_level, format=log_format)
    web = app.WebOptions(
        listen_addresses=web_listen_address,
        telemetry_path=web_telemetry_path,
        enable_lifecycle=web_enable_lifecycle,
        config=web_config,
    )
    run(
        lambda: app.serve(
            settings,
            load=lambda: load(config_file, environ=os.environ),
            web=web,
            signals=handle_signals(),
            clock=app.RealClock(),
        )
    )
