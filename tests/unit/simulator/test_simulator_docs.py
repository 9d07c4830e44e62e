import re
from dataclasses import fields
from pathlib import Path

import pytest

from exporter.simulator import FAULTS, QUIRKS, SECRET_MARKER, Options
from exporter.simulator import options as known
from exporter.simulator.api.control import _STEPS
from exporter.simulator.api.dispatch import ROUTES

PAGE = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()


def table(heading: str) -> dict[str, str]:
    """First two columns of the tables under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]+?) \|", section, re.MULTILINE))


def test_quirks_are_documented_in_their_own_words() -> None:
    """The table of quirks and the registry agree, name by name and word by word."""
    assert table("Quirks") == {**QUIRKS, "no-v1": f"{QUIRKS['no-v1']} (workspaces, node flavors and quotas stay)"}


def test_faults_are_documented() -> None:
    """The table of faults has each of the registry, with each parameter of its own, and no other."""
    told = {name for name in table("Faults") if name not in {"operation", "path", "probability", "count", "after"}}
    assert told == set(FAULTS)
    for name, kind in FAULTS.items():
        row = re.search(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
        assert row
        for parameter in kind.parameters:
            assert f"`{parameter}=" in row[0], (name, parameter)


def test_calls_are_documented() -> None:
    """The tables of calls have every route, and no other."""
    told = set(re.findall(r"`(GET|PUT|POST|DELETE) (/[^`?]*)[^`]*`", PAGE))

    assert told == {(route.method, route.path) for route in ROUTES}
    assert {name for name in table("Calls") if "." in name} == {
        route.operation for route in ROUTES if route.service != "control"
    }


def test_steps_are_documented() -> None:
    """Every step of the control API is named."""
    for step in _STEPS:
        assert f"`{step}`" in PAGE


@pytest.mark.parametrize(
    "value",
    [
        known.ACCESS_KEY,
        known.SECRET_KEY,
        known.USER,
        known.PASSWORD,
        known.DOMAIN,
        known.PROJECT_ID,
        known.PROJECT_NAME,
        known.POD_IDENTITY_TOKEN,
        known.SECOND_WORKSPACE,
        SECRET_MARKER,
    ],
)
def test_credentials_are_documented(value: str) -> None:
    """Every credential that the simulator takes stands in its page."""
    assert f"`{value}`" in PAGE


def test_options_are_documented() -> None:
    """Every option has its place in the page."""
    for option in fields(Options):
        assert re.search(rf"`(--)?{option.name.removesuffix('s')}s?\b", PAGE), option.name
