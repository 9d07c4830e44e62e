"""Compares a scrape of a seeded, simulated cloud at a fixed time with tests/golden/scrape.txt.

`pytest tests/e2e/test_golden_scrape.py --write-golden` updates that file; review the difference.
"""

import asyncio
import re
import shutil
import subprocess
from dataclasses import dataclass
from os import environ
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics.catalog import FAMILIES
from exporter.simulator import Options, Simulator
from tests.clock import ManualClock
from tests.e2e.harness import harness_for, settings_for

GOLDEN = Path(__file__).parent.parent / "golden" / "scrape.txt"

PROCESS_METRICS = re.compile(r"^(# (HELP|TYPE) )?(process|python)_.*\n", re.MULTILINE)
VERSIONS = re.compile(r"(?<=^modelarts_exporter_build_info){.*}", re.MULTILINE)


@dataclass(frozen=True)
class Expositions:
    """The same scrape in both formats."""

    plain: str
    openmetrics: str


@pytest.fixture(scope="module")
def scrape() -> Expositions:
    return asyncio.run(_scrape(ManualClock()))


async def _scrape(clock: ManualClock) -> Expositions:
    """Simulate an hour of a seeded cloud with both API generations, then scrape."""
    options = Options(jobs=14, history=60, seed=7)
    async with (
        Simulator(options, clock=clock) as cloud,
        harness_for(settings_for(cloud, api="both"), clock) as harness,
    ):
        await harness.poll(usage=True, sweep=True, pools=True)
        for _ in range(20):
            clock.turn(180)
            await harness.poll(usage=True, pools=True)
        plain = harness.text()
        openmetrics = b"".join(harness.publisher.body(openmetrics=True, gzip=False).chunks).decode()
        return Expositions(plain=plain, openmetrics=openmetrics)


def normalise(text: str) -> str:
    """Remove what depends on the machine."""
    return VERSIONS.sub('{python="…",version="…"}', PROCESS_METRICS.sub("", text))


def test_the_scrape_equals_the_golden_file(scrape: Expositions, request: pytest.FixtureRequest) -> None:
    """The same simulated cloud at the same time gives the same exposition, byte for byte."""
    text = normalise(scrape.plain)
    if request.config.getoption("--write-golden"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8"), f"if intended: pytest {Path(__file__).name} --write-golden"


def test_both_formats_have_the_same_samples(scrape: Expositions) -> None:
    """OpenMetrics and text 0.0.4 have the same samples, and the parser of each format accepts it."""

    def samples(text: str, parse: object) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
        return {
            (sample.name, tuple(sorted(sample.labels.items())), sample.value)
            for family in parse(text)  # type: ignore[operator]  # two parsers of one shape
            for sample in family.samples
            if sample.name.startswith("modelarts_")
        }

    assert samples(scrape.plain, parse_text) == samples(scrape.openmetrics, parse_openmetrics)
    assert scrape.openmetrics.endswith("# EOF\n")


def test_no_series_is_repeated(scrape: Expositions) -> None:
    """Name and labels of every line are unique; Prometheus would refuse the scrape or choose a sample."""
    lines = [line.rpartition(" ")[0] for line in scrape.plain.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))


def test_every_family_is_in_the_golden_scrape() -> None:
    """The golden scrape has every family of the catalogue, except those that the scenario cannot have."""
    absent = {
        "modelarts_training_job_task_cpu_utilization_ratio": "only with metrics.per_task",
        "modelarts_training_job_task_memory_utilization_ratio": "only with metrics.per_task",
        "modelarts_training_job_task_accelerator_utilization_ratio": "only with metrics.per_task",
        "modelarts_training_job_task_accelerator_memory_utilization_ratio": "only with metrics.per_task",
        "modelarts_exporter_credentials_expiry_timestamp_seconds": "an access key does not expire",
        "modelarts_exporter_web_config_last_reload_successful": "only with --web.config.file",
        "modelarts_exporter_state_last_write_successful": "only with state.file",
        "modelarts_exporter_state_last_write_timestamp_seconds": "only with state.file",
        "modelarts_accelerator_price": "only with a price list",
        "modelarts_exporter_unknown_values_total": "the simulated cloud sends documented values only",
    }
    golden = GOLDEN.read_text(encoding="utf-8")
    missing = {
        family.exposed_name
        for family in FAMILIES
        if not re.search(rf"^{family.exposed_name}(_bucket|_sum)?[{{ ]", golden, re.MULTILINE)
    }
    assert missing == set(absent), "add the family to the scenario, or a reason to `absent`, in this file"


def test_promtool_accepts_the_scrape(scrape: Expositions) -> None:
    """`promtool check metrics` reports nothing."""
    promtool = shutil.which("promtool")
    if promtool is None and environ.get("CI") != "true":
        pytest.skip("promtool is not installed: the scrape was NOT checked")
    assert promtool is not None
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=scrape.plain,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
