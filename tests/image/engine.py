"""Builds and runs images: with docker if its daemon runs, else with podman, which needs no daemon."""

import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

MISSING = "neither a docker daemon nor podman with runc or crun was found; on Debian: apt-get install podman runc"
RUN = secrets.token_hex(4)
"""Part of every image name, so that two runs on one machine do not share images."""
STANDIN = f"localhost/modelarts-exporter-python:standin-{RUN}"
HARDENED = (
    *("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--memory", "128m", "--memory-swap", "128m"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A container program, and the flags that this machine needs."""

    program: tuple[str, ...]
    build_flags: tuple[str, ...] = ()
    run_flags: tuple[str, ...] = ()

    def call(self, *arguments: str, timeout_s: float = 60) -> str:
        """Run a command and return its stdout. Raises AssertionError with its output if it fails."""
        done = subprocess.run(
            [*self.program, *arguments], check=False, capture_output=True, text=True, timeout=timeout_s
        )
        assert done.returncode == 0, f"{' '.join(arguments[:2])} failed\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout.strip()

    def base(self, wanted: str, folder: Path) -> str:
        """Return the base image: the wanted one, or the substitute if it cannot be pulled."""
        try:
            self.call("pull", "--quiet", wanted, timeout_s=180)
        except (AssertionError, subprocess.TimeoutExpired):
            from tests.image.base_image import SETTINGS, write  # noqa: PLC0415 - reads this machine; only when needed

            archive = folder / "standin.tar"
            write(archive)
            self.call("import", *(f"--change={each}" for each in SETTINGS), str(archive), STANDIN)
            archive.unlink()
            return STANDIN
        return wanted

    def build(self, context: Path, *, tag: str, pip_settings: Path, **arguments: str) -> None:
        """Build the Dockerfile of a context. The pip settings of this machine are a build secret."""
        build_args = (f"--build-arg={name}={value}" for name, value in arguments.items())
        secret = f"--secret=id=pip,src={pip_settings}"
        self.call("build", *self.build_flags, *build_args, secret, "--tag", tag, str(context), timeout_s=540)

    def run(self, image: str, *arguments: str, flags: Sequence[str] = HARDENED) -> tuple[int, str, str]:
        """Run a container until it ends; return exit code, stdout and stderr."""
        done = subprocess.run(
            [*self.program, "run", "--rm", *self.run_flags, *flags, image, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr


class Container:
    """A container that a process of ours runs in the foreground, and its lines on stderr."""

    def __init__(self, engine: Engine, image: str, *arguments: str) -> None:
        self._engine = engine
        self._name = f"modelarts-exporter-{secrets.token_hex(4)}"
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            [*engine.program, "run", "--name", self._name, *engine.run_flags, *HARDENED, image, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.call("rm", "--force", self._name)
        self._process.wait(30)
        self._reader.join(30)

    def wait_for_line(self, pattern: str, *, timeout_s: float = 60) -> None:
        """Wait until a line on stderr matches. Raises AssertionError if the container ends or time is up first."""
        expression = re.compile(pattern)
        with self._changed:
            found = self._changed.wait_for(lambda: self._ended or self._has_line(expression), timeout_s)
            assert found, f"no such line within {timeout_s} s: {pattern}\n{''.join(self._lines)}"
            assert self._has_line(expression), f"it ended without a line such as {pattern}\n{''.join(self._lines)}"

    def python(self, program: str) -> str:
        """Run a program with the image's Python inside the container; returns its output."""
        return self._engine.call("exec", self._name, "python", "-c", program)

    def terminated(self, *, timeout_s: float = 30) -> int:
        """Send SIGTERM, wait for the end, return the exit code."""
        self._engine.call("kill", "--signal", "TERM", self._name)
        return self._process.wait(timeout_s)

    def _has_line(self, expression: re.Pattern[str]) -> bool:
        return any(expression.search(line) for line in self._lines)

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def find() -> Engine | None:
    """Return the engine of this machine; None if none works."""
    if shutil.which("docker") and _succeeds("docker", "version"):  # fails without a daemon
        return Engine(program=("docker",))
    path = f"{os.environ['PATH']}:/usr/sbin"  # podman searches it too: on Debian runc is there
    if not (shutil.which("podman") and (shutil.which("runc", path=path) or shutil.which("crun", path=path))):
        return None
    systemd = Path("/run/systemd/system").exists()
    return Engine(
        program=("podman",) if systemd else ("podman", "--cgroup-manager", "cgroupfs"),
        # chroot: needs no nested namespaces, so it also builds in a container
        build_flags=("--isolation", "chroot", "--network", "host", "--format", "docker", "--layers=false"),
        # podman brings a tmpfs for /tmp by default, and requests more open files than it may have
        run_flags=("--read-only-tmpfs=false", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"),
    )


@contextmanager
def removed(engine: Engine, *images: str) -> Iterator[None]:
    """Remove these images at the end."""
    try:
        yield
    finally:
        for image in images:
            subprocess.run([*engine.program, "rmi", "--force", image], check=False, capture_output=True)


def pip_settings() -> str:
    """Text of a pip.conf with the package index of this machine."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    found = dict(re.findall(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", listed, flags=re.MULTILINE))
    wanted = ("index-url", "extra-index-url", "trusted-host", "timeout", "default-timeout", "cert")
    kept = {
        key: found[key] for key in wanted if key in found and "file:" not in found[key]
    }  # the container has none of its files
    return "\n".join(["[global]", *(f"{key} = {value}" for key, value in kept.items())]) + "\n"


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True, timeout=30).returncode == 0
