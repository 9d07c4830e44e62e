"""Whatever JSON the cloud answers, the exposition is one that Prometheus accepts: answers in, parsed samples out."""

import asyncio
import copy
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.app.output import Output
from exporter.app.report import Observed, Unknowns
from exporter.cloud.endpoint import Answer, Endpoint
from exporter.cloud.errors import Unintelligible
from exporter.cloud.sources import FixedSources
from exporter.cloud.v1.source import V1Source
from exporter.cloud.v2.source import V2Source
from exporter.cloud.workspaces import FixedWorkspaces
from exporter.domain.job import JobStatus
from exporter.domain.snapshot import ProjectSnapshot
from exporter.polling.poller import Plan, ProjectPoller
from exporter.polling.screen import Screen
from exporter.polling.store import SnapshotStore
from exporter.settings import Metrics
from tests.clock import ManualClock

FIXTURES = Path(__file__).parent.parent / "fixtures"

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3.5, 10**30, -(10**30), 1e308, "", "0", "-1", "nan", "12", "1e400",
    "Infinity",
    'quote " back \\ newline \n', "\u2028\x00\x1b[31m", "\ud800", "worker-0", "Running", [], {}, [[]], [None],
    {"a": 1},
    "[1,2]", '{"cpuUsage":["1"]}', ["0", "0"], [-1, 200, "x"], [[1, 2], [3]],
]  # fmt: skip


def fixtures(generation: str) -> dict[str, Any]:
    """The recorded answers of a generation, by file name."""
    return {
        path.name: json.loads(path.read_text(encoding="utf-8")) for path in (FIXTURES / generation).glob("*.json")
    }


def mangled(value: Any, chance: random.Random, *, share: float) -> Any:
    """Put odd values in the place of some parts."""
    if chance.random() < share:
        return copy.deepcopy(chance.choice(ODD))
    if isinstance(value, dict):
        return {key: mangled(part, chance, share=share) for key, part in value.items()}
    if isinstance(value, list):
        return [mangled(part, chance, share=share) for part in value]
    return value


class Mangling:
    """A caller that answers each call with a mangled recording of that endpoint, decoded as the transport does."""

    def __init__(self, recordings: Mapping[str, Any], chance: random.Random, *, share: float) -> None:
        self._recordings = recordings
        self._chance = chance
        self._share = share

    async def call(
        self,
        endpoint: Endpoint[Answer],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer | None:
        """Answer with one of the endpoint's fixtures."""
        del path, query, body
        await asyncio.sleep(0)
        fixture = self._chance.choice(endpoint.fixtures)
        content = self._recordings.get(fixture.file)
        try:
            raw = json.dumps(mangled(content, self._chance, share=self._share)).encode()
            return msgspec.json.decode(raw, type=endpoint.answer)
        except msgspec.DecodeError as error:
            raise Unintelligible(endpoint.name, str(error), status=200) from error


async def exposed(generation: str, seed: int, share: float) -> tuple[str, str]:
    """Poll a cloud of mangled answers for a while: both expositions."""
    clock = ManualClock()
    registry = CollectorRegistry()
    own = Observed(registry)
    chance = random.Random(seed)
    caller = Mangling(fixtures(generation), chance, share=share)
    note = Unknowns("vision", own)
    make = V1Source if generation == "v1" else V2Source
    source = make(caller, project="vision", workspaces=FixedWorkspaces(("0",)), clock=clock, note=note)
    identity = ProjectSnapshot(project="vision")
    store = SnapshotStore([identity], clock=clock)
    output = Output(Metrics(per_task=True), initial=store.current, registry=registry, own=own, clock=clock)
    poller = ProjectPoller(
        identity=identity,
        sources=FixedSources((source,)),
        plan=Plan(),
        screen=Screen(),
        clock=clock,
        on_change=store.update,
        on_poll=lambda report: defects.extend(error for error in report.failures if error.outcome == "defect"),
    )
    defects: list[Exception] = []
    for _ in range(3):
        await poller.poll_jobs()
        await poller.poll_usage()
        await poller.sweep()
        clock.turn(30)
        assert output.publish(store.current) is None
    assert defects == []
    for project in store.current.projects:
        for tracked in (project.jobs or {}).values():
            assert isinstance(tracked.job.status, JobStatus)
    return (
        b"".join(output.body(openmetrics=False, gzip=False).chunks).decode(),
        b"".join(output.body(openmetrics=True, gzip=False).chunks).decode(),
    )


@pytest.mark.parametrize("generation", ["v1", "v2"])
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.0, 0.01, 0.05, 0.3]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_answer_gives_a_scrape_that_parses(generation: str, seed: int, share: float) -> None:
    """No answer raises, spoils a scrape, tells a series twice, or shows a utilisation that cannot be."""
    text, openmetrics = asyncio.run(exposed(generation, seed, share))
    lines = [line.rpartition(" ")[0] for line in text.split("\n") if line and not line.startswith("#")]
    assert len(lines) == len(set(lines))
    for parse, exposition in ((parse_text, text), (parse_openmetrics, openmetrics)):
        for family in parse(exposition):
            for sample in family.samples:
                if sample.name.startswith("modelarts_training_job_") and sample.name.endswith("_ratio"):
                    assert 0 <= sample.value <= 1, sample
                if sample.name.startswith("modelarts_training_job"):
                    assert sample.value >= 0 or sample.name.endswith("_exit_code"), sample
