"""Documents that can go stale: their links lead somewhere, their settings load, their commands exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from exporter.commands import main
from exporter.settings import load

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("helm/**/*.md")])
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```(?:sh|console|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TESTS = sorted(path for path in (ROOT / "tests").rglob("test_*.py"))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Each relative link of a page names a file of the repository, and each anchor a heading of that file."""
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), f"{shown(page)} links to {target}"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place), f"{shown(page)} links to {target}#{anchor}"


def settings_in(page: Path) -> Iterator[str]:
    """The settings files that a page shows."""
    for block in YAML.findall(page.read_text(encoding="utf-8")):
        document = yaml.safe_load(block)
        if isinstance(document, dict) and "targets" in document:
            yield block


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "simulator.md"], ids=shown)
def test_the_settings_shown_are_valid(page: Path, tmp_path: Path) -> None:
    """Whoever copies a settings file out of a page gets one that loads."""
    secret = tmp_path / "secret"
    secret.write_text("invented", encoding="utf-8")
    blocks = list(settings_in(page))
    assert blocks
    for block in blocks:
        text = re.sub(r"\$\{file:[^}]*\}", f"${{file:{secret}}}", block)
        assert load(text, environ={"HUAWEICLOUD_SDK_AK": "invented"}).targets


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_command_shown_exists(page: Path) -> None:
    """Each `modelarts-exporter` line of a page names a command and flags that there are."""
    for block in SHELL.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.split("#")[0].removeprefix("$ ").split()
            if words[:1] != ["modelarts-exporter"] or len(words) < 2:
                continue
            assert words[1] in main.commands or words[1].startswith("-"), f"{shown(page)}: {line}"
            flags = {flag for option in main.commands[words[1]].params for flag in option.opts}
            for word in words[2:]:
                if word == "|":
                    break
                if word.startswith("--"):
                    assert word.split("=")[0] in flags, f"{shown(page)}: {line}"


def test_every_decision_is_listed() -> None:
    """The index of decisions names each page, and nothing else."""
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs" / "adr").glob("0*.md")}
    assert set(re.findall(r"\((0\d+[^)]*\.md)\)", index)) == pages


@pytest.mark.parametrize("path", TESTS, ids=shown)
def test_every_test_says_what_it_proves(path: Path) -> None:
    """A test's docstring is the sentence whose truth it stands for."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            docstring = ast.get_docstring(node)
            assert docstring, f"{shown(path)}: {node.name} does not say what it proves"
            assert docstring.endswith((".", "?")), f"{shown(path)}: {node.name}"


def test_every_page_is_found_from_the_readme() -> None:
    """A page nobody can find might as well not be there: each is linked from the README or a page it links to."""
    found: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in found:
            continue
        found.add(page)
        for target, _ in LINK.findall(page.read_text(encoding="utf-8")):
            place = (page.parent / target).resolve()
            if place.is_dir():
                todo.extend(place.glob("*.md"))
            elif place.suffix == ".md" and place.exists():
                todo.append(place)
    assert {shown(page) for page in PAGES if shown(page).startswith("docs/")} <= {shown(page) for page in found}
