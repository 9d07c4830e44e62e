import re
from dataclasses import fields
from pathlib import Path

from exporter.simulator import FAULTS, QUIRKS, SECRET_MARKER, Options
from exporter.simulator import options as known
from exporter.simulator.api.control import STEPS
from exporter.simulator.api.dispatch import ROUTES

PAGE = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()


def table(heading: str) -> dict[str, str]:
    """First two columns of the tables under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]+?) \|", section, re.MULTILINE))


def test_quirks_are_documented() -> None:
    """The table of quirks has the names and texts of the registry."""
    assert table("Quirks") == {**QUIRKS, "no-v1": f"{QUIRKS['no-v1']} (workspaces, node flavors and quotas stay)"}


def test_faults_are_documented() -> None:
    """The table of faults has the names of the registry, each with its specific parameters."""
    names = {name for name in table("Faults") if name not in {"operation", "path", "probability", "count", "after"}}
    assert names == set(FAULTS)
    for name, kind in FAULTS.items():
        row = re.search(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
        assert row
        for parameter in kind.parameters:
            assert f"`{parameter}=" in row[0], (name, parameter)


def test_calls_are_documented() -> None:
    """The tables of calls have exactly the routes."""
    documented = set(re.findall(r"`(GET|PUT|POST|DELETE) (/[^`?]*)[^`]*`", PAGE))

    assert documented == {(route.method, route.path) for route in ROUTES}
    assert {name for name in table("Calls") if "." in name} == {
        route.operation for route in ROUTES if route.service != "control"
    }


def test_steps_are_documented() -> None:
    """Every step of the control API is named."""
    for step in STEPS:
        assert f"`{step}`" in PAGE


def test_credentials_are_documented() -> None:
    """Every credential that the simulator accepts is on the page."""
    names = ("ACCESS_KEY", "SECRET_KEY", "USER", "PASSWORD", "DOMAIN", "PROJECT_ID", "PROJECT_NAME")
    for name in (*names, "POD_IDENTITY_TOKEN", "SECOND_WORKSPACE"):
        assert f"`{getattr(known, name)}`" in PAGE, name
    assert f"`{SECRET_MARKER}`" in PAGE


def test_options_are_documented() -> None:
    """Every option is on the page."""
    for option in fields(Options):
        assert re.search(rf"`(--)?{option.name.removesuffix('s')}s?\b", PAGE), option.name
