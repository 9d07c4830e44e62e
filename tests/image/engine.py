"""The program that builds and runs images here: docker where its daemon answers, else podman, which needs none."""

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

MISSING = "neither a docker daemon nor podman with runc or crun is here; on Debian: apt-get install podman runc"
RUN = secrets.token_hex(4)
"""In every name we give, so that two runs on one machine take nothing away from each other."""
STANDIN = f"localhost/modelarts-exporter-python:standin-{RUN}"
HARDENED = (
    *("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--memory", "128m", "--memory-swap", "128m"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What is the same for each call of a kind."""

    program: tuple[str, ...]
    build_flags: tuple[str, ...] = ()
    run_flags: tuple[str, ...] = ()

    def call(self, *arguments: str, timeout_s: float = 60) -> str:
        """Run to its end: what it printed. Raises with what it complained about when it fails."""
        done = subprocess.run(
            [*self.program, *arguments], check=False, capture_output=True, text=True, timeout=timeout_s
        )
        assert done.returncode == 0, f"{' '.join(arguments[:2])} failed\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout.strip()

    def base(self, wanted: str, folder: Path) -> str:
        """Name of the image to build on: the wanted one, or the stand-in where no registry gives it."""
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
        """Build the context's Dockerfile; what pip must know of this machine goes in as a secret."""
        build_args = (f"--build-arg={name}={value}" for name, value in arguments.items())
        secret = f"--secret=id=pip,src={pip_settings}"
        self.call("build", *self.build_flags, *build_args, secret, "--tag", tag, str(context), timeout_s=540)

    def run(self, image: str, *arguments: str, flags: Sequence[str] = HARDENED) -> tuple[int, str, str]:
        """Run a container to its end: exit code, stdout, stderr."""
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
    """The engine of this machine; None when there is none that works."""
    if shutil.which("docker") and _succeeds("docker", "version"):  # fails without a daemon
        return Engine(program=("docker",))
    path = f"{os.environ['PATH']}:/usr/sbin"  # podman looks there too, where runc is on Debian
    if not (shutil.which("podman") and (shutil.which("runc", path=path) or shutil.which("crun", path=path))):
        return None
    systemd = Path("/run/systemd/system").exists()
    return Engine(
        program=("podman",) if systemd else ("podman", "--cgroup-manager", "cgroupfs"),
        # chroot: no namespaces inside of namespaces, so that it builds within a container too
        build_flags=("--isolation", "chroot", "--network", "host", "--format", "docker", "--layers=false"),
        # podman brings a tmpfs for /tmp by default, and requests more open files than it may have
        run_flags=("--read-only-tmpfs=false", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"),
    )


@contextmanager
def removed(engine: Engine, *images: str) -> Iterator[None]:
    """Leave none of these images behind."""
    try:
        yield
    finally:
        for image in images:
            subprocess.run([*engine.program, "rmi", "--force", image], check=False, capture_output=True)


def pip_settings() -> str:
    """Text of a pip.conf that brings a container to the index this machine uses."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    found = dict(re.findall(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", listed, flags=re.MULTILINE))
    wanted = ("index-url", "extra-index-url", "trusted-host", "timeout", "default-timeout", "cert")
    kept = {key: found[key] for key in wanted if key in found and "file:" not in found[key]}  # its files stay outside
    return "\n".join(["[global]", *(f"{key} = {value}" for key, value in kept.items())]) + "\n"


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True, timeout=30).returncode == 0
