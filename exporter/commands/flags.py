"""Flags shared by commands. Each can be set as MODELARTS_EXPORTER_<NAME> in the environment."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from exporter import log
from exporter.commands.run import WRONG_USAGE
from exporter.settings import Settings, SettingsError, load
from exporter.web.address import Address, parse_address
from exporter.web.config import WebConfig, load_web_config

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
Read = TypeVar("Read")

_PREFIX = "MODELARTS_EXPORTER_"


def flag(name: str, **options: Any) -> Decorator:
    """Declare a flag such as `--web.listen-address`, with its environment variable and a valid parameter name."""
    parameter = name.replace(".", "_").replace("-", "_")
    return click.option(
        f"--{name}", parameter, envvar=_PREFIX + parameter.upper(), show_envvar=True, show_default=True, **options
    )


class AddressType(click.ParamType[Address]):
    """A listen address in Prometheus' notation."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Parse one address."""
        if isinstance(value, Address):
            return value
        try:
            return parse_address(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def config_file() -> Decorator:
    """`--config.file`."""
    return flag(
        "config.file",
        required=True,
        type=click.Path(path_type=Path, dir_okay=False),
        help="Settings file (YAML); see docs/configuration.md.",
    )


def logging(*, default: str = "logfmt") -> Decorator:
    """`--log.level` and `--log.format`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        level = flag("log.level", default="info", type=click.Choice(log.LEVELS), help="Minimum level that is logged.")
        log_format = flag("log.format", default=default, type=click.Choice(log.FORMATS), help="Format of log lines.")
        return level(log_format(command))

    return decorate


def web_config_file() -> Decorator:
    """`--web.config.file`."""
    return flag(
        "web.config.file",
        default=None,
        type=click.Path(path_type=Path, dir_okay=False),
        help="TLS and basic auth (YAML, in the format of Prometheus' exporters); see docs/security.md.",
    )


def load_web_config_file(path: Path | None) -> WebConfig | None:
    """Load the web configuration, if given. Exits with 2 and one sentence per problem."""
    return None if path is None else _load_or_exit(path, load_web_config)


def load_settings(path: Path) -> Settings:
    """Load the settings. Exits with 2 and one sentence per problem."""
    return _load_or_exit(path, partial(load, environ=os.environ))


def _load_or_exit(path: Path, read: Callable[[Path], Read]) -> Read:
    try:
        return read(path)
    except SettingsError as error:
        for problem in error.problems:
            names_file = problem.startswith(f"{path}:")  # the problem is the file itself
            click.echo(problem if names_file else f"{path}: {problem}", err=True)
        raise SystemExit(WRONG_USAGE) from None
