"""Access control by `--web.config.file`, which is read again when it changes."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

import structlog

from exporter.domain.source import Clock
from exporter.settings import SettingsError
from exporter.web.config import Rate, WebConfig, load_web_config
from exporter.web.password import PasswordVerifier, Verdict, parse_basic_auth
from exporter.web.tls import Tls

_log = structlog.get_logger()

_FileVersion = tuple[int, ...] | None

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="modelarts-exporter", charset="UTF-8"'}
_RETRY_LATER = {"Retry-After": "1"}


@dataclass(frozen=True, slots=True)
class Rejection:
    """The response to a request that is not let through: status and headers."""

    status: HTTPStatus
    headers: Mapping[str, str]


class Guard:
    """Authenticates requests and provides the TLS configuration, by the last valid version of the file.

    An invalid file changes nothing, and neither does one that would remove TLS or the last user. Both are logged.
    `on_change` receives True when a new version is in force, and False when the newest version was rejected.
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
        self._verifier = PasswordVerifier()
        self._bucket = _bucket(config.rate, clock)
        self._read_files: tuple[_FileVersion, ...] | None = None
        self._problems: tuple[str, ...] = ()

    @property
    def tls(self) -> Tls | None:
        """TLS for a new connection; None: plain HTTP."""
        return self._config.tls

    @property
    def headers(self) -> Mapping[str, str]:
        """Added to each response that does not set a header of that name itself."""
        return self._config.headers

    async def check(self, authorization: str, *, peer: str) -> Rejection | None:
        """Return why a request is rejected; None: accept it. `authorization` is empty if the header is absent."""
        if self._bucket is not None and not self._bucket.take():
            return Rejection(HTTPStatus.TOO_MANY_REQUESTS, _RETRY_LATER)
        users = self._config.users
        if not users:
            return None
        credentials = parse_basic_auth(authorization)
        if credentials is None:
            return Rejection(HTTPStatus.UNAUTHORIZED, _CHALLENGE)
        match await self._verifier.verify(credentials, users, peer=peer):
            case Verdict.VALID:
                return None
            case Verdict.BUSY:
                return Rejection(HTTPStatus.TOO_MANY_REQUESTS, _RETRY_LATER)
            case Verdict.INVALID:
                return Rejection(HTTPStatus.UNAUTHORIZED, _CHALLENGE)

    async def watch(self, on_tls: Callable[[], None]) -> None:
        """Check the files for changes every `interval_s`, until cancelled. Calls `on_tls` when TLS has changed."""
        while True:
            await asyncio.sleep(self._interval_s)
            previous = self._config.tls
            try:
                await self.reload_if_changed()
            except Exception:  # noqa: BLE001 - the last valid configuration stays, and the next check may succeed
                _log.exception("web_config.failed")
            if self._config.tls is not previous:
                on_tls()

    async def reload_if_changed(self) -> None:
        """Read changed files and apply them if they are valid. After a rejection the files are read each time."""
        files = await asyncio.to_thread(_read_files, self._config.files)
        if files == self._read_files and not self._problems:
            return
        self._read_files = files
        try:
            config = await asyncio.to_thread(load_web_config, self._config.path)
        except SettingsError as error:
            problems = error.problems
        else:
            problems = _forbidden_changes(self._config, config)
            if not problems:
                self._apply(config)
        if problems and problems != self._problems:
            _log.error("web_config.refused", problems=list(problems))
            self._on_change(False)
        self._problems = problems

    def close(self) -> None:
        """Look at no more passwords."""
        self._verifier.close()

    def _apply(self, config: WebConfig) -> None:
        """Apply a configuration. TLS is replaced only if it differs, because connections are then drained."""
        previous = self._config
        if config.tls == previous.tls:
            config = replace(config, tls=previous.tls)
        if config.rate != previous.rate:
            self._bucket = _bucket(config.rate, self._clock)
        self._config = config
        if config != previous or self._problems:
            _log.info("web_config.reloaded")
            self._on_change(True)


class _TokenBucket:
    """Token bucket: one token per interval, at most `burst`; full at the start."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._tokens = float(rate.burst)
        self._updated_at = clock.monotonic()

    def take(self) -> bool:
        """Take one token. False if there is none."""
        now = self._clock.monotonic()
        self._tokens = min(self._rate.burst, self._tokens + (now - self._updated_at) / self._rate.interval_s)
        self._updated_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _bucket(rate: Rate | None, clock: Clock) -> _TokenBucket | None:
    return None if rate is None else _TokenBucket(rate, clock)


def _forbidden_changes(old: WebConfig, new: WebConfig) -> tuple[str, ...]:
    """Return the changes that need a restart: a file that is only partly written must not remove protection."""
    problems = []
    if (old.tls is None) is not (new.tls is None):
        problems.append("tls_server_config: switching TLS on or off needs a restart")
    if old.users and not new.users:
        problems.append("basic_auth_users: removing the last user needs a restart")
    return tuple(problems)


def _read_files(files: tuple[Path, ...]) -> tuple[_FileVersion, ...]:
    return tuple(map(_file_version, files))


def _file_version(path: Path) -> _FileVersion:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
