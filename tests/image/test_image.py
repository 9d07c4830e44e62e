"""Builds and runs the image: `make image-test`. If no registry can be reached, its base is a substitute."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter import __version__
from tests.image.compose_schema import composition
from tests.image.conftest import ROOT, missing
from tests.image.engine import MISSING, RUN, STANDIN, Container, Engine, find, pip_settings, removed

pytestmark = [pytest.mark.endurance, pytest.mark.serial, pytest.mark.timeout(600)]  # the first test builds the image

IMAGE = f"localhost/modelarts-exporter:image-test-{RUN}"
LIMIT_BYTES = 128 * 1024 * 1024
REVISION = "0123456789abcdef0123456789abcdef01234567"
CREATED = "2026-01-02T03:04:05Z"
READY_S = 30.0  # on two busy cores; an idle machine takes 2 s

METRICS = "urllib.request.urlopen('http://127.0.0.1:10310/metrics', timeout=10).read().decode()"
UNTIL_BOTH_ARE_UP = f"""
import time, urllib.request
end = time.monotonic() + {READY_S}
while sum(line.startswith("modelarts_up{{") and line.endswith(" 1") for line in {METRICS}.splitlines()) < 2:
    assert time.monotonic() < end, {METRICS}
    time.sleep(0.1)
"""

SETTINGS = """\
targets:
  - project: vision
    cloud: otc
    region: eu-de
    project_id: 0123456789abcdef0123456789abcdef
    credentials: {type: aksk, access_key: INVENTEDKEY, secret_key: "${file:/run/secrets/sk}"}
"""


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The container engine; without one the test is skipped, and fails in CI."""
    engine = find()
    if engine is None:
        missing(MISSING)
    assert engine is not None
    return engine


@pytest.fixture(scope="session")
def image(
    engine: Engine, index: None, tmp_path_factory: pytest.TempPathFactory, figures: dict[str, str]
) -> Iterator[str]:
    """Build the image and return its name; it is removed at the end."""
    del index
    folder = tmp_path_factory.mktemp("image")
    settings = folder / "pip.conf"
    settings.write_text(pip_settings(), encoding="utf-8")
    wanted = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert wanted is not None
    base = engine.base(wanted[1], folder)
    with removed(engine, IMAGE, STANDIN):
        begun = time.monotonic()
        engine.build(
            ROOT,
            tag=IMAGE,
            pip_settings=settings,
            PYTHON_IMAGE=base,
            VERSION=__version__,
            REVISION=REVISION,
            CREATED=CREATED,
        )
        size, below = (int(engine.call("inspect", each, "--format", "{{.Size}}")) for each in (IMAGE, base))
        figures["base"] = f"{below / 1e6:.0f} MB, {base}"
        figures["image"] = f"{size / 1e6:.0f} MB, that is {(size - below) / 1e6:.0f} MB above its base"
        figures["built in"] = f"{time.monotonic() - begun:.0f} s, downloads included"
        yield IMAGE


@pytest.fixture(scope="session")
def demo(engine: Engine, image: str, figures: dict[str, str]) -> Iterator[Container]:
    """The demo in a hardened container, after both projects are up."""
    begun = time.monotonic()
    with Container(engine, image, "demo") as demo:
        demo.wait_for_line("^exporter +http://", timeout_s=READY_S)
        figures["demo listens after"] = f"{time.monotonic() - begun:.1f} s"
        demo.python(UNTIL_BOTH_ARE_UP)
        figures["demo shows both projects after"] = f"{time.monotonic() - begun:.1f} s"
        yield demo


def test_metadata(engine: Engine, image: str) -> None:
    """The image has user, command, port, signal and labels."""
    config: dict[str, Any] = json.loads(engine.call("inspect", image))[0]["Config"]

    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["modelarts-exporter"]
    assert config["Cmd"] == ["serve", "--config.file=/etc/modelarts-exporter/config.yaml"]
    assert config["ExposedPorts"] == {"10310/tcp": {}}
    assert config["StopSignal"] == "SIGTERM"
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert labels["title"] == "modelarts-exporter"
    assert (labels["version"], labels["revision"], labels["created"]) == (__version__, REVISION, CREATED)


def test_label_and_program_have_one_version(engine: Engine, image: str) -> None:
    """The version label equals the output of `--version`."""
    assert engine.run(image, "--version") == (0, f"modelarts-exporter {__version__}\n", "")


def test_no_build_secret_is_in_the_image(engine: Engine, image: str) -> None:
    """The pip settings of the build are not in the image."""
    program = "import os; print(os.path.exists('/etc/pip.conf'), os.path.exists('/run/secrets/pip'))"

    assert python(engine, image, program) == "False False"


def test_demo_serves_in_a_locked_down_container(demo: Container) -> None:
    """With 128 MiB and no privileges the demo serves jobs of both its projects, and both are up."""
    text = demo.python(f"import urllib.request; print({METRICS})")

    assert set(re.findall(r'^modelarts_up\{project="(\w+)"\} 1$', text, re.MULTILINE)) == {"speech", "vision"}
    assert text.count("\nmodelarts_training_job_status{") > 100


def test_the_process_has_no_capabilities(demo: Container) -> None:
    """The process runs as the numeric user, has no capability, and cannot gain one."""
    status = dict(line.split(":\t", 1) for line in demo.python("print(open('/proc/1/status').read())").splitlines())

    assert status["Uid"].split() == ["65532"] * 4
    assert status["Gid"].split() == ["65532"] * 4
    assert {int(status[each], 16) for each in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"


def test_the_root_is_read_only(demo: Container) -> None:
    """It starts and serves with a read-only root file system, /tmp included."""
    program = """
import errno
for path in ("/x", "/tmp/x", "/opt/modelarts-exporter/x"):
    try:
        open(path, "w")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
    mounts = demo.python("print(open('/proc/1/mounts').read())").splitlines()
    root = next(line.split() for line in mounts if line.split()[1] == "/")

    assert "ro" in root[3].split(",")
    assert demo.python(program).split()[:2] == ["EROFS", "EROFS"]


def test_memory_stays_below_the_limit(demo: Container, figures: dict[str, str]) -> None:
    """The limit of 128 MiB is in effect, and the peak of the demo is at most two thirds of it."""
    program = """
def first(*paths):
    for path in paths:
        try:
            return open("/sys/fs/cgroup/" + path).read().strip()
        except OSError:
            pass
print(first("memory.max", "memory/memory.limit_in_bytes"))
print(next(line.split()[1] for line in open("/proc/1/status") if line.startswith("VmRSS")))
print(next(line.split()[1] for line in open("/proc/1/status") if line.startswith("VmHWM")))
"""
    limit, resident, peak = (int(number) for number in demo.python(program).split())
    figures["demo's memory"] = f"{resident / 1024:.0f} MiB resident, {peak / 1024:.0f} MiB at its peak"

    assert limit == LIMIT_BYTES
    assert peak * 1024 < LIMIT_BYTES * 2 / 3


def test_demo_can_be_reached_from_outside(demo: Container) -> None:
    """Without flags the exporter listens on every address, and the simulated cloud on loopback only."""
    program = "import json; print(json.dumps([open('/proc/net/tcp' + v).read() for v in ('', '6')]))"
    listening = {
        (int(port, 16), int(address, 16) == 0)
        for table in json.loads(demo.python(program))
        for address, port in re.findall(r"^ *\d+: ([0-9A-F]+):([0-9A-F]{4}) \S+ 0A ", table, re.MULTILINE)
    }

    assert listening == {(10310, True), (10311, False)}


def test_sigterm_ends_it_with_0(engine: Engine, image: str) -> None:
    """With the command of the compose file it starts, and SIGTERM while it polls and serves ends it with 0."""
    command = composition(ROOT / "compose.yaml").services["exporter"].command
    with Container(engine, image, *command) as demo:
        demo.wait_for_line("^exporter +http://", timeout_s=READY_S)
        demo.python(UNTIL_BOTH_ARE_UP)

        assert demo.terminated() == 0


def test_without_a_settings_file_it_fails_clearly(engine: Engine, image: str) -> None:
    """`docker run IMAGE` without settings names where they belong, and ends as a usage error."""
    code, out, err = engine.run(image)

    assert (code, out) == (2, "")
    assert err.startswith("/etc/modelarts-exporter/config.yaml: ")
    assert len(err.splitlines()) == 1


def test_settings_and_secrets_are_mounted(engine: Engine, image: str, tmp_path: Path) -> None:
    """It needs only files that every user can read, mounted read-only."""
    (tmp_path / "config.yaml").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "sk").write_text("invented", encoding="utf-8")
    code, _, err = engine.run(
        image,
        "check-config",
        "--config.file=/etc/modelarts-exporter/config.yaml",
        flags=(
            *("--network", "none", "--read-only"),
            f"--volume={tmp_path}/config.yaml:/etc/modelarts-exporter/config.yaml:ro",
            f"--volume={tmp_path}/sk:/run/secrets/sk:ro",
        ),
    )

    assert (code, err) == (0, "")


def test_it_needs_no_shell(engine: Engine, image: str) -> None:
    """The command runs without /bin/sh."""
    hidden = ("--network", "none", "--read-only", "--volume=/dev/null:/bin/sh:ro")

    assert engine.run(image, "--version", flags=hidden)[:2] == (0, f"modelarts-exporter {__version__}\n")


def test_nothing_is_compiled_at_run_time(engine: Engine, image: str) -> None:
    """The image has the bytecode of every module that the commands import, of the standard library too."""
    program = """
import sys, exporter.commands, uvloop
from pathlib import Path
cached = {name: each.__cached__ for name, each in sys.modules.items() if getattr(each, "__cached__", None)}
print(len(cached), *(name for name, path in cached.items() if not Path(path).exists()))
"""
    count, *uncompiled = python(engine, image, program).split()

    assert uncompiled == []
    assert int(count) > 300


def test_only_locked_packages_are_installed(engine: Engine, image: str) -> None:
    """The environment has the exporter and the packages of the lock file; no pip, no build tool."""
    program = """
import importlib.metadata, re
print(*sorted(re.sub("[-_.]+", "-", each.metadata["Name"]).lower() for each in importlib.metadata.distributions()))
"""
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    conditional = set(re.findall(r"^([a-z0-9-]+)==\S+ ;", lock, re.MULTILINE))
    found = set(python(engine, image, program).split())

    assert locked - conditional <= found
    assert found <= locked | {"modelarts-exporter"}


def python(engine: Engine, image: str, program: str) -> str:
    """Run a program with the Python of the image and return its output."""
    flags = ("--network", "none", "--read-only", "--entrypoint", "python")
    code, out, err = engine.run(image, "-c", program, flags=flags)
    assert code == 0, err
    return out.strip()
