"""`modelarts-exporter check-config`."""

from pathlib import Path

import click

from exporter.commands.flags import config_file, load_settings, load_web_config_file, web_config_file


@click.command(
    name="check-config", epilog="\b\nExample:\n  modelarts-exporter check-config --config.file=config.yaml\n"
)
@config_file()
@web_config_file()
def check_config(config_file: Path, web_config_file: Path | None) -> None:
    """Validate a settings file and a web configuration. Exits with 0, or with 2 and one sentence per problem."""
    settings = load_settings(config_file)
    load_web_config_file(web_config_file)
    count = len(settings.targets)
    click.echo(f"{config_file}: valid, {count} target{'' if count == 1 else 's'}")
    if web_config_file is not None:
        click.echo(f"{web_config_file}: valid")
