"""Progress of a long command: a progress bar on a terminal, otherwise log lines."""

import time
from collections.abc import Callable
from typing import TextIO

import structlog

_log = structlog.get_logger()

_REDRAW_S = 0.1
_LOG_S = 30.0
_BAR_WIDTH = 24
_STAGE_NAMES = {"jobs": "reading jobs", "usage": "reading usage", "write": "writing"}


class ProgressLine:
    """Draws a progress bar if the stream is a terminal; otherwise logs."""

    def __init__(self, stream: TextIO, *, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._now = now
        self._last = float("-inf")
        self._stage = ""
        self._width = 0

    def __call__(self, stage: str, done: int, total: int | None = None, *, share: float | None = None) -> None:
        """Show the progress of a stage. Calls are rate-limited, except for the first and the last of a stage."""
        now = self._now()
        pause_s = _REDRAW_S if self._is_terminal else _LOG_S
        if stage == self._stage and now - self._last < pause_s and done != total:
            return
        self._stage, self._last = stage, now
        if total:
            share = done / total
        if self._is_terminal:
            self._draw(stage, done, total, share)
        else:
            percent = {} if share is None else {"percent": round(share * 100)}
            _log.info("backfill.progress", stage=stage, done=done, **percent)

    def _draw(self, stage: str, done: int, total: int | None, share: float | None) -> None:
        filled = 0 if share is None else int(share * _BAR_WIDTH)
        bar = "#" * filled + "-" * (_BAR_WIDTH - filled)
        percent = "  ? %" if share is None else f"{share:4.0%}"
        line = f"{_STAGE_NAMES.get(stage, stage):<14}[{bar}] {percent} {done}{f'/{total}' if total else ''}"
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)

    def close(self) -> None:
        """End the line, so that following output starts on a new one."""
        if self._is_terminal and self._width:
            self._stream.write("\n")
            self._stream.flush()
            self._width = 0
