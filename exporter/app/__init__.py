"""Where the parts are wired together: imports everything, imported by the commands alone."""

from exporter.app.once import Once, scrape
from exporter.app.serve import RealClock, WebOptions, serve

__all__ = ["Once", "RealClock", "WebOptions", "scrape", "serve"]
