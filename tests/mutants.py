"""Mutation tests: `make mutants`, or one module: `make mutants MODULE=exporter/polling/ledger.py`.

mutmut changes one expression of a function at a time and runs the unit tests that call the function. A change that no
test notices survives: a test is missing, or the change means nothing. docs/mutants.md has the figures and the argued
survivors. mutmut works on a copy in build/mutants, so the checkout stays as it is.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

TESTS = {
    "exporter/domain": ("tests/unit/domain", "tests/unit/polling"),
    "exporter/polling": ("tests/unit/polling",),
    "exporter/metrics": ("tests/unit/metrics",),
    "exporter/cloud": ("tests/unit/cloud",),
    "exporter/cloud/auth": ("tests/unit/cloud/auth",),
    "exporter/cloud/decode": ("tests/unit/cloud/decode",),
    "exporter/cloud/http": ("tests/unit/cloud/http",),
    "exporter/cloud/pools": ("tests/unit/cloud/pools",),
    "exporter/cloud/v1": ("tests/unit/cloud/v1",),
    "exporter/cloud/v2": ("tests/unit/cloud/v2",),
}
"""Folders to mutate, and the tests of each; the longest folder that holds a module decides."""

TOPS = ("exporter/domain", "exporter/polling", "exporter/metrics", "exporter/cloud")

ROOT = Path(__file__).parent.parent
COPY = ROOT / "build" / "mutants"

_NOT_COPIED = frozenset({"build", "dist", "htmlcov"})

_CONFIG = """
[tool.mutmut]
source_paths = ["exporter"]
only_mutate = {modules}
pytest_add_cli_args = [
    "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-m", "not endurance and not serial",
    "--hypothesis-profile=mutants",
]
pytest_add_cli_args_test_selection = {tests}
also_copy = {others}
use_git_change_detection = false # the copy is new
track_dependencies = false
"""


def folder_of(module: Path) -> str:
    """Return the key of `TESTS` for a module; ends the program with a sentence when there is none."""
    for parent in module.parents:
        if parent.as_posix() in TESTS:
            return parent.as_posix()
    sys.exit(f"mutants: {module} is not below {', '.join(TOPS)}")


def modules(arguments: Sequence[str]) -> dict[str, list[Path]]:
    """Return the modules in these files and folders, by key of `TESTS`.

    Ends the program with a sentence when one is missing, or is not mutated.
    """
    found: dict[str, list[Path]] = {}
    for argument in arguments:
        path = ROOT / argument
        if not path.exists():
            sys.exit(f"mutants: {argument} is not in this checkout")
        for each in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            module = each.relative_to(ROOT)
            found.setdefault(folder_of(module), []).append(module)
    return found


def run(folder: str, chosen: Sequence[Path], *, children: int) -> Counter[str]:
    """Mutate modules of one folder; print each mutant that was not killed. Returns the mutants by outcome."""
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    names = [path.name for path in ROOT.iterdir() if not path.name.startswith(".") and path.name not in _NOT_COPIED]
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, COPY / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, COPY / name)
    config = _CONFIG.format(
        modules=[module.as_posix() for module in chosen], tests=list(TESTS[folder]), others=sorted(names)
    )
    (COPY / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + config)
    mutmut = str(Path(sys.executable).parent / "mutmut")
    subprocess.run([mutmut, "run", "--max-children", str(children)], cwd=COPY, check=True)
    results = [mutmut, "results", "--all", "true"]
    listed = subprocess.run(results, cwd=COPY, check=True, capture_output=True, text=True)
    outcomes: Counter[str] = Counter()
    for line in listed.stdout.splitlines():
        mutant, _, outcome = line.strip().rpartition(": ")
        outcomes[outcome] += 1
        if outcome != "killed":
            print(f"{outcome}: {mutant}")  # noqa: T201 - its output is its purpose
            subprocess.run([mutmut, "show", mutant], cwd=COPY, check=True)
    return outcomes


def main(arguments: Sequence[str]) -> None:
    """Mutate the modules named, or all."""
    children = int(os.environ.get("MUTANTS_CHILDREN", os.cpu_count() or 1))
    total: Counter[str] = Counter()
    for folder, paths in modules(arguments or TOPS).items():
        outcomes = run(folder, paths, children=children)
        print(folder, dict(outcomes), flush=True)  # noqa: T201
        total += outcomes
    print(f"mutants: {total['killed']} of {total.total()} killed; {dict(total)}")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
