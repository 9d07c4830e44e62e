"""Fixtures for the tests of wheel and image, and the measurements printed at the end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURES = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if figures := config.stash[FIGURES]:
        terminalreporter.section("image")
        for name, value in figures.items():
            terminalreporter.write_line(f"{name:32} {value}")


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> dict[str, str]:
    """Measurements by name, printed after all tests."""
    return pytestconfig.stash[FIGURES]


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips the test if no package index can be reached; in CI it fails."""
    small = ("download", "--quiet", "--no-deps", "--no-cache-dir", "--retries=1", "aiolimiter")
    probed = subprocess.run(
        [sys.executable, "-m", "pip", *small],
        check=False,
        capture_output=True,
        cwd=tmp_path_factory.mktemp("index"),
    )
    if probed.returncode:
        missing("no package index can be reached")


def missing(what: str) -> None:
    """Skip the test with this reason; in CI, fail."""
    if "CI" in os.environ:
        pytest.fail(what)
    pytest.skip(what)
