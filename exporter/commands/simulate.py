"""`modelarts-exporter simulate`."""

from collections.abc import Callable
from typing import Any

import click

from exporter.commands.flags import AddressType
from exporter.commands.run import handle_signals, run
from exporter.simulator import (
    ACCESS_KEY,
    DOMAIN,
    FAULTS,
    PASSWORD,
    PROJECT_ID,
    PROJECT_NAME,
    QUIRKS,
    SECRET_KEY,
    USER,
    Fault,
    Options,
    Simulator,
    parse_fault,
)
from exporter.web.address import Address

EVERYWHERE = "0.0.0.0"  # noqa: S104 - an address without a host means all interfaces

_EXAMPLES = """\b
Examples:
  modelarts-exporter simulate
  modelarts-exporter simulate --jobs=200 --history=10000 --seed=7 --speed=60
  modelarts-exporter simulate --quirk=v2-offset-records --quirk=v1-overview-missing
  modelarts-exporter simulate --fault=429:retry_after=2,probability=0.1
Quirks and faults are described in docs/simulator.md.
"""


class _FaultType(click.ParamType[Fault]):
    """A fault in the syntax of `parse_fault`."""

    name = "NAME[:KEY=VALUE,...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fault:
        """Parse one fault; a syntax error is a usage error."""
        if isinstance(value, Fault):
            return value
        try:
            return parse_fault(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def cloud_address(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option for the listen address of the simulated cloud."""
    return click.option(
        "--listen-address", default="127.0.0.1:10311", show_default=True, type=AddressType(), help=text
    )


def world(*, jobs: int, history: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of the simulated world, with these defaults."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option("--seed", default=1, show_default=True, help="Seed of all random draws."),
            click.option(
                "--history",
                default=history,
                show_default=True,
                type=click.IntRange(0),
                help="Finished jobs in each project at the start.",
            ),
            click.option(
                "--jobs",
                default=jobs,
                show_default=True,
                type=click.IntRange(0),
                help="Approximate number of unfinished jobs in each project.",
            ),
        ):
            command = option(command)
        return command

    return decorate


@click.command(epilog=_EXAMPLES)
@cloud_address("Address to serve on.")
@world(jobs=40, history=200)
@click.option("--speed", default=1.0, show_default=True, help="Speed of the simulated time relative to the clock.")
@click.option("--pace", default=1.0, show_default=True, help="Divisor of all durations; timestamps stay real time.")
@click.option("--breakdowns", default=0.0, show_default=True, help="Random node failures per hour and project.")
@click.option(
    "--quirk",
    "quirks",
    multiple=True,
    type=click.Choice(sorted(QUIRKS)),
    metavar="NAME",
    help="A quirk (repeatable).",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=_FaultType(),
    help=f"A fault (repeatable): {', '.join(sorted(FAULTS))}.",
)
def simulate(
    listen_address: Address,
    jobs: int,
    history: int,
    seed: int,
    speed: float,
    pace: float,
    breakdowns: float,
    quirks: tuple[str, ...],
    faults: tuple[Fault, ...],
) -> None:
    """Serve a simulated ModelArts cloud, with IAM and both API generations, until SIGTERM."""
    options = Options(
        jobs=jobs,
        history=history,
        seed=seed,
        speed=speed,
        pace=pace,
        breakdowns=breakdowns,
        quirks=frozenset(quirks),
    )

    async def serve() -> None:
        async with Simulator(options, host=listen_address.host or EVERYWHERE, port=listen_address.port) as cloud:
            for fault in faults:
                cloud.faults.add(fault)
            click.echo(f"simulated cloud at {cloud.url}")
            click.echo(f"  project_id {PROJECT_ID}, project_name {PROJECT_NAME}")
            click.echo(f"  access_key {ACCESS_KEY}, secret_key {SECRET_KEY}")
            click.echo(f"  username {USER}, password {PASSWORD}, domain_name {DOMAIN}")
            await handle_signals().stop.wait()

    run(serve)
