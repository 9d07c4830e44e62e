"""`python -m tests.soak`: run it, print what came of it, and exit with 1 where it is not what is promised."""

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
from tests.soak.cloud import Churn
from tests.soak.measure import machine, mean
from tests.soak.week import DAY_S, Course, Report, Week

GROWTH = 0.02
"""How much larger memory may be on the last day than on the second."""


@click.command()
@click.option("--days", default=7.0, show_default=True, help="Simulated days; memory is compared from 3 on.")
@click.option("--jobs-a-day", default=20_000.0, show_default=True, help="Jobs submitted each day.")
@click.option("--seed", default=1, show_default=True, help="Of the world and of the mishaps.")
@click.option("--trace", is_flag=True, help="Count Python's memory by tracemalloc too; takes three times as long.")
def main(days: float, jobs_a_day: float, seed: int, trace: bool) -> None:
    """Live through some days of churn, faults and restarts, and measure what is left of it in memory."""
    log.configure("error")
    configure_malloc()  # as the program itself does
    warnings.simplefilter("error")
    forgotten: list[str] = []
    sys.unraisablehook = lambda told: forgotten.append(f"{told.err_msg or ''} {told.exc_value!r}")
    if trace:
        tracemalloc.start()
    course = Course(duration_s=days * DAY_S, seed=seed, churn=Churn(jobs_a_day=jobs_a_day, seed=seed))
    begun_at = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        week = Week(course, folder=Path(folder), tell=click.echo)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the program itself does
            report = runner.run(week.run())
    report.complaints += forgotten
    wrong = _wrong(report, days=int(days))
    _tell(report, days=int(days), minutes=(time.monotonic() - begun_at) / 60)
    for sentence in wrong:
        click.echo(f"WRONG: {sentence}")
    sys.exit(bool(wrong))


def _wrong(report: Report, *, days: int) -> list[str]:
    wrong = [f"a counter went back: {told}" for told in report.backward[:10]]
    wrong += [f"left behind: {told}" for told in report.complaints[:10]]
    if not report.exact:
        wrong += [f"counted and true: {told}" for told in report.counted.differences(report.true)[:10]]
    if report.files_left or report.tasks_left:
        wrong.append(f"{report.files_left} files and {report.tasks_left} tasks are left")
    wrong += [
        f"{what} grew by {growth:.1%}" for what, growth in _growth(report, days=days).items() if growth > GROWTH
    ]
    return wrong


def _growth(report: Report, *, days: int) -> dict[str, float]:
    """How much each quantity grew from the second day to the last."""
    if days <= 2:
        return {}
    return mean(report.days[days]).growth(mean(report.days[2]))


def _tell(report: Report, *, days: int, minutes: float) -> None:
    jobs, ended = (sum(report.counted.totals[name].values()) for name in ("submitted", "finished"))
    click.echo(
        f"{jobs:.0f} jobs submitted, {ended:.0f} finished;"
        f" {report.polls} polls, {report.polls_failed} of them failed; {report.restarts} restarts, {report.kills} of"
        f" them kills; {sum(report.faults.values())} faults of {len(report.faults)} kinds; {minutes:.1f} minutes"
    )
    click.echo(f"on {machine()}")
    for kind, number in sorted(report.faults.items()):
        click.echo(f"fault {kind}: {number}")
    click.echo(f"totals {'equal' if report.exact else 'differ from'} the cloud's books")
    for day, readings in report.days.items():
        click.echo(f"day {day}: {mean(readings)}")
    for what, growth in _growth(report, days=days).items():
        click.echo(f"{what}: {growth:+.2%} from day 2 to day {days}")


if __name__ == "__main__":
    main()
