"""Builds the program from its parts: imports every layer below, and only the commands import it."""

from exporter.app.backfill import (
    Backfill,
    BackfillError,
    BackfillInterrupted,
    BackfillReport,
    Environment,
    TimeArgument,
    backfill,
)
from exporter.app.once import Once, scrape
from exporter.app.serve import RealClock, Signals, WebOptions, serve

__all__ = [
    "Backfill",
    "BackfillError",
    "BackfillInterrupted",
    "BackfillReport",
    "Environment",
    "Once",
    "RealClock",
    "Signals",
    "TimeArgument",
    "WebOptions",
    "backfill",
    "scrape",
    "serve",
]
