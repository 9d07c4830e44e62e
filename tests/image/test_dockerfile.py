"""The Dockerfile and its build context, checked without a build."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image.conftest import ROOT

LABELS = {
    **dict.fromkeys(("title", "description", "version", "revision", "created", "base.name"), "text"),
    "licenses": "spdx",
    "source": "url",
    "documentation": "url",
}


@pytest.mark.skipif(sys.platform != "linux", reason="the linter's wheel is for Linux only: DOCKERFILE IS NOT LINTED")
def test_hadolint_reports_nothing() -> None:
    """The linter hadolint reports nothing at any level, no rule is disabled, and the labels are as specified."""
    hadolint = Path(sys.executable).with_name("hadolint")
    schema = [f"--require-label=org.opencontainers.image.{name}:{form}" for name, form in LABELS.items()]
    linted = subprocess.run(
        [hadolint, "--disable-ignore-pragma", "--failure-threshold=style", "--strict-labels", *schema, "Dockerfile"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )

    assert not [*ROOT.glob(".hadolint.y*ml")]
    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_context_has_only_what_is_copied() -> None:
    """Credentials, histories and test data cannot get into a layer, because the context does not include them."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    copied = {
        source
        for arguments in re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
        for source in arguments.split()[:-1]
    }

    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


def test_lock_files_name_no_index() -> None:
    """Lock files have names and hashes of packages; the index is configured where the image is built."""
    for lock in ("requirements.txt", "requirements-build.txt"):
        text = (ROOT / lock).read_text(encoding="utf-8")
        assert "://" not in text
        assert not re.search(r"^\s*--(index|extra-index|find-links|trusted)", text, re.MULTILINE)
        pinned = re.findall(r"^[a-z0-9-]+==\S+.*?(?=^[a-z]|\Z)", text, re.MULTILINE | re.DOTALL)
        assert pinned
        assert all("--hash=sha256:" in requirement for requirement in pinned)
