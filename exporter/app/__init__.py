"""Where the parts are wired together: imports everything, imported by the commands alone."""

from exporter.app.once import Once, scrape
from exporter.app.serve import RealClock, WebOptions, Wishes, serve

__all__ = ["Once", "RealClock", "WebOptions", "Wishes", "scrape", "serve"]
