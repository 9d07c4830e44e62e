"""Where the parts are wired together: imports everything, imported by the commands alone."""

from exporter.app.backfill import Backfill, Broken, Moment, Surroundings, Told, Unusable, backfill
from exporter.app.once import Once, scrape
from exporter.app.serve import RealClock, WebOptions, Wishes, serve

__all__ = [
    "Backfill",
    "Broken",
    "Moment",
    "Once",
    "RealClock",
    "Surroundings",
    "Told",
    "Unusable",
    "WebOptions",
    "Wishes",
    "backfill",
    "scrape",
    "serve",
]
