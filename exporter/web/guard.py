"""Who may come in: what `--web.config.file` says now, looked at again while we run."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

import structlog

from exporter.domain.source import Clock
from exporter.settings import SettingsError
from exporter.web.config import Rate, WebConfig, load_web_config
from exporter.web.password import Passwords, Verdict, login
from exporter.web.tls import Tls

_log = structlog.get_logger()

_Mark = tuple[int, ...] | None

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="modelarts-exporter", charset="UTF-8"'}
_LATER = {"Retry-After": "1"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gets no answer of ours."""

    status: HTTPStatus
    headers: Mapping[str, str]


class Guard:
    """Admits or refuses each request, and gives each connection its TLS, by the newest file that could be used.

    A file that cannot be used, or that would take away TLS or the last user, changes nothing; that is logged, and
    `on_change` is told whether the newest one is in force.
    """

    def __init__(
        self,
        config: WebConfig,
        *,
        clock: Clock,
        interval_s: float = 2.0,
        on_change: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._interval_s = interval_s
        self._on_change = on_change
        self._passwords = Passwords()
        self._bucket = _bucket(config.rate, clock)
        self._marks: tuple[_Mark, ...] | None = None
        self._mistakes: tuple[str, ...] = ()

    @property
    def tls(self) -> Tls | None:
        """How a connection made now is secured; None: not at all."""
        return self._config.tls

    @property
    def headers(self) -> Mapping[str, str]:
        """For every answer that has not its own header of that name."""
        return self._config.headers

    async def refusal(self, authorization: str, *, peer: str) -> Refusal | None:
        """Refuse a request with this Authorization header, empty if it has none; None: admit it."""
        if self._bucket is not None and not self._bucket.take():
            return Refusal(HTTPStatus.TOO_MANY_REQUESTS, _LATER)
        users = self._config.users
        if not users:
            return None
        claimed = login(authorization)
        if claimed is None:
            return Refusal(HTTPStatus.UNAUTHORIZED, _CHALLENGE)
        match await self._passwords.verdict(claimed, users, peer=peer):
            case Verdict.RIGHT:
                return None
            case Verdict.BUSY:
                return Refusal(HTTPStatus.TOO_MANY_REQUESTS, _LATER)
            case Verdict.WRONG:
                return Refusal(HTTPStatus.UNAUTHORIZED, _CHALLENGE)

    async def watch(self, on_tls: Callable[[], None]) -> None:
        """Look at the files again and again, until cancelled; `on_tls` is told when TLS has changed."""
        while True:
            await asyncio.sleep(self._interval_s)
            before = self._config.tls
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - whatever it is, the door stays as it is, and the next look may do better
                _log.exception("web_config.failed")
            if self._config.tls is not before:
                on_tls()

    async def look(self) -> None:
        """Take over what has changed, if it can be used. After a refusal everything is read each time."""
        marks = await asyncio.to_thread(_marks, self._config.files)
        if marks == self._marks and not self._mistakes:
            return
        self._marks = marks
        try:
            config = await asyncio.to_thread(load_web_config, self._config.path)
        except SettingsError as error:
            mistakes = error.mistakes
        else:
            mistakes = _lost(self._config, config)
            if not mistakes:
                self._take(config)
        if mistakes and mistakes != self._mistakes:
            _log.error("web_config.refused", mistakes=list(mistakes))
            self._on_change(False)
        self._mistakes = mistakes

    def close(self) -> None:
        """Look at no more passwords."""
        self._passwords.close()

    def _take(self, config: WebConfig) -> None:
        """Put a configuration in force; TLS only when it differs, since connections are renewed for it."""
        before = self._config
        if config.tls == before.tls:
            config = replace(config, tls=before.tls)
        if config.rate != before.rate:
            self._bucket = _bucket(config.rate, self._clock)
        self._config = config
        if config != before or self._mistakes:
            _log.info("web_config.reloaded")
            self._on_change(True)


class _Bucket:
    """Permits: one more each interval, at most a burst of them; full at first."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._left = float(rate.burst)
        self._at = clock.monotonic()

    def take(self) -> bool:
        """Take one, if there is one."""
        now = self._clock.monotonic()
        self._left = min(self._rate.burst, self._left + (now - self._at) / self._rate.interval_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _bucket(rate: Rate | None, clock: Clock) -> _Bucket | None:
    return None if rate is None else _Bucket(rate, clock)


def _lost(old: WebConfig, new: WebConfig) -> tuple[str, ...]:
    """Say what may not change in a running server: a file cut short on its way to the disk must not open the door."""
    mistakes = []
    if (old.tls is None) is not (new.tls is None):
        mistakes.append("tls_server_config: TLS can be switched on or off by a restart only")
    if old.users and not new.users:
        mistakes.append("basic_auth_users: the last user can be taken away by a restart only")
    return tuple(mistakes)


def _marks(files: tuple[Path, ...]) -> tuple[_Mark, ...]:
    return tuple(map(_mark, files))


def _mark(path: Path) -> _Mark:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
