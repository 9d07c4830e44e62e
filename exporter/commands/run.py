"""Runs a coroutine as a program: event loop, signals, exit codes."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from exporter.app import Signals
from exporter.commands.allocator import configure_malloc

Result = TypeVar("Result")

FAILED = 1
WRONG_USAGE = 2


def run(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run `work`, on uvloop if available. Raises Failure on an OSError, for example a port in use."""

    async def main() -> Result:
        return await work()

    configure_malloc()
    gc.collect()
    gc.freeze()  # modules are permanent: scanning them makes each full collection some 40 ms longer
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(main())
    except OSError as error:
        raise Failure(str(error)) from error


def handle_signals() -> Signals:
    """Install signal handlers: SIGTERM or SIGINT stops, a second one exits at once; SIGHUP reloads."""
    signals = Signals()
    loop = asyncio.get_running_loop()

    def on_stop(number: int) -> None:
        if signals.stop.is_set():
            os._exit(128 + number)
        signals.stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop, number)
    loop.add_signal_handler(signal.SIGHUP, signals.reload.set)
    return signals


class Failure(click.ClickException):
    """A failure at run time: one sentence on stderr, exit code 1."""

    exit_code = FAILED

    def show(self, file: object = None) -> None:
        """Print the sentence."""
        del file
        click.echo(f"modelarts-exporter: {self.message}", err=True)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - does not exist on Windows

    return uvloop.new_event_loop
