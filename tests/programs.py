"""Real programs for tests: Prometheus and Alertmanager on loopback, with their data in a folder of the test."""

import asyncio
import json
import os
import shutil
import socket
from asyncio.subprocess import STDOUT, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import pytest
import yaml

START_S = 60.0
"""Deadline of a start. Long enough for a busy machine."""
END_S = 10.0
"""Time after SIGTERM before a program is killed."""
_INTERVAL_S = 0.05


def found(*names: str) -> str:
    """Path of the first installed program of these names. Skips the test without one, and fails it in CI."""
    for name in names:
        if (path := shutil.which(name)) is not None:
            return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"{names[0]} is not installed, which CI requires")
    pytest.skip(f"{names[0]} is not installed: THIS FACT IS NOT TESTED")


def free_port() -> int:
    """A port of 127.0.0.1 without a listener, for a program that cannot report a port it chose itself."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port: int = chosen.getsockname()[1]
        return port


async def until(condition: Callable[[], Awaitable[bool]], what: str, *, deadline_s: float = START_S) -> None:
    """Wait until a condition holds. Raises AssertionError with its description at the deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_s
    while not await condition():
        assert loop.time() < deadline, f"not within {deadline_s:g} s: {what}"
        await asyncio.sleep(_INTERVAL_S)


class Service:
    """A program that serves HTTP, from its readiness to the end of the context.

    It can be killed and started again with the same command line, port and data. Its output goes to a file in
    `folder`. If it does not become ready, the error contains the end of that file.
    """

    def __init__(self, name: str, command: Sequence[str | Path], *, folder: Path, port: int) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.address = f"127.0.0.1:{port}"
        self.log = folder / f"{name}.log"
        self._command = tuple(command)
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:  # cancellation included: leave no process behind
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdout=log, stderr=STDOUT)
        await until(self._ready, f"{self.name} is ready")

    async def kill(self) -> None:
        """Send SIGKILL and wait for its end."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def get(self, path: str, **query: str) -> tuple[int, str]:
        """GET a path. Returns status and text. Raises aiohttp.ClientError without a response."""
        timeout = aiohttp.ClientTimeout(total=END_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(self.url + path, params=query) as answer,
        ):
            return answer.status, await answer.text()

    async def json(self, path: str, **query: str) -> Any:
        """GET a path that returns JSON. Fails on any status but 200."""
        status, text = await self.get(path, **query)
        assert status == 200, f"{self.name} answers {path} with {status}: {text}"
        return json.loads(text)

    async def _ready(self) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            log = self.log.read_text(errors="replace")[-2000:]
            raise AssertionError(f"{self.name} ended with {self._process.returncode}: {log}")
        try:
            status, _ = await self.get("/-/ready")
        except (aiohttp.ClientError, TimeoutError):
            return False
        return status == 200

    async def _end(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), END_S)
        except TimeoutError:
            await self.kill()


class Prometheus(Service):
    """A Prometheus with this configuration. Relative paths in it start at `folder`, where its data is too."""

    def __init__(self, config: Mapping[str, Any], *, folder: Path, flags: Sequence[str] = ()) -> None:
        port = free_port()
        path = _written(folder / "prometheus.yml", config)
        command = (
            found("prometheus"),
            f"--config.file={path}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
            *flags,
        )
        super().__init__("prometheus", command, folder=folder, port=port)

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate now. Returns items with `metric` (labels) and `value`, or `values` for a range, as in the API."""
        answer = await self.json("/api/v1/query", query=expression)
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


class Alertmanager(Service):
    """An Alertmanager with this configuration, without peers."""

    def __init__(self, config: Mapping[str, Any], *, folder: Path) -> None:
        port = free_port()
        path = _written(folder / "alertmanager.yml", config)
        command = (
            found("alertmanager", "prometheus-alertmanager"),
            f"--config.file={path}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",  # the default opens a port on every interface
        )
        super().__init__("alertmanager", command, folder=folder, port=port)


def _written(path: Path, config: Mapping[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    return path
