"""Content of the wheel, and its commands in an environment with only the packages of the lock file."""

import re
import signal
import subprocess
import sys
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from exporter import __version__
from exporter.commands import main
from tests.image.conftest import ROOT

pytestmark = pytest.mark.timeout(600)  # the first test of an installation downloads the locked packages

SHIPPED = {".py", ".html", ".css", ".typed"}


def commands() -> list[str]:
    """Names of all commands; the empty name is the command group."""
    assert isinstance(main, click.Group)
    return ["", *sorted(main.commands)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `make wheel` builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, index: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in a new environment with the packages of the lock file and the wheel."""
    del index
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    install = (str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check")
    for arguments in (
        ("--require-hashes", "--no-deps", "--only-binary=:all:", "--requirement", str(ROOT / "requirements.txt")),
        ("--no-index", "--no-deps", str(wheel)),
    ):
        done = subprocess.run([*install, *arguments], check=False, capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder / "bin/modelarts-exporter"


@pytest.fixture
def demo(installed: Path) -> Iterator[subprocess.Popen[str]]:
    """The installed demo on free ports; killed if a test leaves it running."""
    flags = ("--web.listen-address=127.0.0.1:0", "--listen-address=127.0.0.1:0")
    command = [str(installed), "demo", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=installed.parent) as process:
        try:
            yield process
        finally:
            process.kill()


def test_it_contains_only_the_package(wheel: Path) -> None:
    """Every file is tracked by git below exporter/ and has a shipped type, or is metadata of the wheel."""
    names = zipfile.ZipFile(wheel).namelist()
    package = {name for name in names if name.startswith("exporter/")}
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "exporter"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()

    assert package == {name for name in listed if (ROOT / name).exists()}
    assert {Path(name).suffix for name in package} <= SHIPPED
    assert {"exporter/py.typed", "exporter/web/page.html", "exporter/web/page.css"} <= package
    about = f"modelarts_exporter-{__version__}.dist-info"
    assert set(names) - package == {
        f"{about}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }


def test_metadata(wheel: Path) -> None:
    """The metadata has the version of the code and the README, and requires no development package."""
    about = zipfile.ZipFile(wheel).read(f"modelarts_exporter-{__version__}.dist-info/METADATA").decode()
    head, _, readme = about.partition("\n\n")
    required = re.findall(r"^Requires-Dist: ([a-z0-9-]+)", head, re.MULTILINE)

    assert f"\nVersion: {__version__}\n" in head
    assert "\nRequires-Python: >=3.11\n" in head
    assert "aiohttp" in required
    assert not {"pytest", "mypy", "ruff", "huaweicloudsdkcore", "hypothesis"} & set(required)
    assert readme.strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


@pytest.mark.endurance
def test_the_lock_file_satisfies_it(installed: Path) -> None:
    """The lock file has all packages that the wheel requires, in matching versions."""
    checked = subprocess.run(
        [str(installed.parent / "pip"), "check", "--disable-pip-version-check"],
        check=False,
        capture_output=True,
        text=True,
        cwd=installed.parent,
    )

    assert (checked.returncode, checked.stdout) == (0, "No broken requirements found.\n")


@pytest.mark.parametrize("command", [pytest.param(name, id=name or "group") for name in commands()])
@pytest.mark.endurance
def test_each_command_has_help_without_development_packages(installed: Path, command: str) -> None:
    """`--help` of each command works from the wheel and the lock file alone."""
    helped = subprocess.run(
        [str(installed), *filter(None, [command]), "--help"],
        check=False,
        capture_output=True,
        text=True,
        cwd=installed.parent,
    )

    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout.startswith(f"Usage: modelarts-exporter {command}".rstrip())


@pytest.mark.endurance
def test_the_demo_runs_without_development_packages(demo: subprocess.Popen[str]) -> None:
    """The installed demo serves its metrics and its page, and SIGTERM ends it with 0."""
    assert demo.stderr is not None
    greeting = next(match for line in demo.stderr if (match := re.match(r"exporter +(http://\S+/)", line)))
    deadline = time.monotonic() + 30
    while "\nmodelarts_training_job_status{" not in (metrics := get(greeting[1] + "metrics")):
        assert time.monotonic() < deadline, metrics
        time.sleep(0.1)
    page = get(greeting[1])
    demo.send_signal(signal.SIGTERM)
    demo.stderr.read()

    assert demo.wait(30) == 0
    assert "<html" in page


def get(url: str) -> str:
    """GET a page of the demo."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the address that our process printed
        text: str = answer.read().decode()
    return text
