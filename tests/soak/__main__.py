"""`python -m tests.soak`: run the soak, print the report, exit with 1 on any violation."""

import asyncio
import sys
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path

import click
import uvloop

from exporter import log
from exporter.commands.allocator import configure_malloc
from tests.soak.resources import machine, mean
from tests.soak.run import DAY_S, Report, Soak, SoakOptions
from tests.soak.simulator_server import Churn

GROWTH = 0.02
"""Largest allowed growth of memory from the second day to the last, as a ratio."""


@click.command()
@click.option("--days", default=7.0, show_default=True, help="Simulated days. Memory is compared from 3 days on.")
@click.option("--jobs-a-day", default=20_000.0, show_default=True, help="Jobs submitted each day.")
@click.option("--seed", default=1, show_default=True, help="Seed of the world and of the faults.")
@click.option(
    "--trace", is_flag=True, help="Measure Python's memory with tracemalloc too. Takes three times as long."
)
def main(days: float, jobs_a_day: float, seed: int, trace: bool) -> None:
    """Simulate days of churn, faults and restarts, and measure the growth of memory."""
    log.configure("error")
    configure_malloc()  # as the program itself does
    warnings.simplefilter("error")
    unraisable_errors: list[str] = []
    sys.unraisablehook = lambda error: unraisable_errors.append(f"{error.err_msg or ''} {error.exc_value!r}")
    if trace:
        tracemalloc.start()
    options = SoakOptions(duration_s=days * DAY_S, seed=seed, churn=Churn(jobs_a_day=jobs_a_day, seed=seed))
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(options, folder=Path(folder), log=click.echo)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the program itself does
            report = runner.run(soak.run())
    report.loop_errors += unraisable_errors
    violations = _violations(report, days=int(days))
    _print_report(report, days=int(days), minutes=(time.monotonic() - started_at) / 60)
    for sentence in violations:
        click.echo(f"VIOLATION: {sentence}")
    sys.exit(bool(violations))


def _violations(report: Report, *, days: int) -> list[str]:
    violations = [f"a counter decreased: {each}" for each in report.decreased[:10]]
    violations += [f"event loop: {each}" for each in report.loop_errors[:10]]
    if not report.exact:
        violations += [f"exported and true: {each}" for each in report.counted.differences(report.true)[:10]]
    if report.files_left or report.tasks_left:
        violations.append(f"{report.files_left} files and {report.tasks_left} tasks are left")
    violations += [
        f"{what} grew by {growth:.1%}" for what, growth in _growth(report, days=days).items() if growth > GROWTH
    ]
    return violations


def _growth(report: Report, *, days: int) -> dict[str, float]:
    """Growth of each resource from the second day to the last, as a ratio."""
    if days <= 2:
        return {}
    return mean(report.days[days]).growth(mean(report.days[2]))


def _print_report(report: Report, *, days: int, minutes: float) -> None:
    jobs, ended = (sum(report.counted.totals[name].values()) for name in ("submitted", "finished"))
    click.echo(
        f"{jobs:.0f} jobs submitted, {ended:.0f} finished;"
        f" {report.polls} polls, {report.polls_failed} of them failed; {report.restarts} restarts, {report.kills} of"
        f" them kills; {sum(report.faults.values())} faults of {len(report.faults)} kinds; {minutes:.1f} minutes"
    )
    click.echo(f"on {machine()}")
    for kind, number in sorted(report.faults.items()):
        click.echo(f"fault {kind}: {number}")
    click.echo(f"totals {'equal' if report.exact else 'differ from'} the ground truth")
    for day, readings in report.days.items():
        click.echo(f"day {day}: {mean(readings)}")
    for what, growth in _growth(report, days=days).items():
        click.echo(f"{what}: {growth:+.2%} from day 2 to day {days}")


if __name__ == "__main__":
    main()
