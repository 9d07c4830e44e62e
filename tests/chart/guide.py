"""The commands of docs/kubernetes.md: the calls of its shell blocks, after the expansions of the shell."""

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.chart.chart import ROOT

PAGE = ROOT / "docs/kubernetes.md"
STUBS = ("git", "docker", "helm", "kubectl", "curl", "sleep")
"""Programs that are replaced by stubs, which record their calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a program."""

    program: str
    arguments: tuple[str, ...]
    folder: Path
    """Where it was called."""

    def __str__(self) -> str:
        return shlex.join([self.program, *self.arguments])


def blocks(language: str) -> list[str]:
    """Code of one language, in the page's order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run_shell_blocks(folder: Path) -> list[Call]:
    """Run every shell block, in order, in one shell, with stubs for what needs a cluster or the network.

    Files that the blocks write are left in the folders they were written to.
    """
    stubs = folder / "bin"
    stubs.mkdir()
    journal = folder / "journal"
    for name in STUBS:
        path = stubs / name
        path.write_text(f'#!/bin/sh\nprintf "%s\\0" {name} "$PWD" "$@" "" >>{shlex.quote(str(journal))}\n')
        path.chmod(0o755)
    checkout = folder / "modelarts-exporter"
    checkout.mkdir()
    (checkout / "helm").symlink_to(ROOT / "helm")
    # `&` is for port-forwards, which end at once here: without it the calls keep their order.
    script = re.sub(r" &$", "", "\n".join(blocks("sh")), flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=folder,
        env={
            "PATH": f"{stubs}:{os.environ['PATH']}",
            "ACCESS_KEY": "AN-INVENTED-KEY",
            "SECRET_KEY": "an-invented-secret",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [_call(entry) for entry in journal.read_text(encoding="utf-8").split("\0\0") if entry]


def _call(entry: str) -> Call:
    program, folder, *arguments = entry.split("\0")
    return Call(program=program, arguments=tuple(arguments), folder=Path(folder))
