"""For any response with status 200, a poll succeeds or fails with a reason, and the exposition stays valid."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from structlog.testing import capture_logs

from exporter.app.events import UnknownValues
from exporter.app.publisher import Publisher
from exporter.cloud.http.endpoint import Endpoint
from exporter.cloud.http.response import Response, read_response
from exporter.cloud.pools import endpoints as pools_endpoints
from exporter.cloud.pools.source import CloudPools
from exporter.cloud.v1 import endpoints as v1_endpoints
from exporter.cloud.v1.source import V1Source
from exporter.cloud.v2 import endpoints as v2_endpoints
from exporter.cloud.v2.source import V2Source
from exporter.cloud.workspaces import AllWorkspaces
from exporter.domain.outcome import Outcome
from exporter.domain.snapshot import ProjectSnapshot
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.poller import PollReport, ProjectPoller
from exporter.polling.visibility import Visibility
from exporter.settings import Metrics
from tests.clock import ManualClock
from tests.fuzz.mutation import mutated
from tests.polling import FakeSources, default_poll_settings

pytestmark = pytest.mark.endurance

Answer = TypeVar("Answer")


Bodies = Mapping[str, Sequence[bytes]]

ENDPOINTS = (*v1_endpoints.ENDPOINTS, *v2_endpoints.ENDPOINTS, *pools_endpoints.ENDPOINTS)
MAX_EXAMPLES = max(1, (settings.default or settings()).max_examples // 4)  # each example has six polls


class FakeCaller:
    """Answers the calls of an endpoint with these bodies in turn."""

    def __init__(self, bodies: Bodies, clock: ManualClock) -> None:
        self._bodies = {name: cycle(each) for name, each in bodies.items()}
        self._clock = clock

    async def call(
        self,
        endpoint: Endpoint[Answer],
        *,
        path: Mapping[str, str] | None = None,  # noqa: ARG002 - part of the protocol
        query: Mapping[str, str] | None = None,  # noqa: ARG002 - part of the protocol
        body: object = None,  # noqa: ARG002 - part of the protocol
    ) -> Answer | None:
        """Return the decoded response as the API client does."""
        return read_response(
            Response(status=200, body=next(self._bodies[endpoint.name])),
            endpoint.answer,
            operation=endpoint.name,
            now=self._clock.time(),
            in_band_failure=endpoint.in_band_failure,
            may_be_empty=endpoint.may_be_empty,
        )


@given(
    bodies=st.fixed_dictionaries(
        {endpoint.name: st.lists(mutated(endpoint), min_size=1, max_size=4) for endpoint in ENDPOINTS}
    )
)
@settings(max_examples=MAX_EXAMPLES)
def test_any_response_is_handled(bodies: Bodies) -> None:
    """Polls of jobs, usage and pools, and a sweep, over mutated responses: no defect, and both formats parse."""
    clock = ManualClock(now=1_763_700_000.0)
    caller = FakeCaller(bodies, clock)
    registry = CollectorRegistry()
    self_metrics = SelfMetrics(registry)
    publisher = Publisher(
        [ProjectSnapshot(project="vision")],
        metrics=Metrics(per_task=True),
        registry=registry,
        self_metrics=self_metrics,
        clock=clock,
    )
    note = UnknownValues("vision", self_metrics)
    workspaces = AllWorkspaces(caller, clock, note)
    v1 = V1Source(caller, project="vision", workspaces=workspaces, clock=clock, note=note)
    v2 = V2Source(caller, project="vision", workspaces=workspaces, clock=clock, note=note)
    reports: list[PollReport] = []
    poller = ProjectPoller(
        initial_snapshot=ProjectSnapshot(project="vision"),
        sources=FakeSources((v1, v2)),
        settings=default_poll_settings(),
        visibility=Visibility(),
        clock=clock,
        on_change=publisher.update,
        on_poll=reports.append,
        pools=CloudPools(caller, project="vision", workspaces=workspaces, clock=clock, note=note, keep_s=300.0),
    )
    twice = (poller.poll_pools, poller.poll_pools)
    for work in (poller.poll_jobs, poller.poll_usage, poller.sweep, *twice, poller.poll_jobs):
        clock.turn(60)
        before = publisher.newest.projects[0].totals
        with capture_logs():
            asyncio.run(work())
            assert publisher.serve(publisher.newest) is None
        after = publisher.newest.projects[0].totals
        for name in ("submitted", "started", "finished"):
            counts = getattr(after, name)
            assert all(counts[key] >= count for key, count in getattr(before, name).items())
    for openmetrics, parse in ((False, parse_text), (True, parse_openmetrics)):
        text = b"".join(publisher.body(openmetrics=openmetrics, gzip=False).chunks).decode()
        lines = [line.rpartition(" ")[0] for line in text.split("\n") if line and not line.startswith("#")]
        assert len(lines) == len(set(lines))
        for family in parse(text):
            assert all(math.isfinite(sample.value) for sample in family.samples), family.name
            if family.name.startswith("modelarts_training_job_") and not family.name.endswith("_exit_code"):
                most = 1 if family.name.endswith("_ratio") else math.inf
                assert all(0 <= sample.value <= most for sample in family.samples), family.name
            if family.name.startswith(("modelarts_pool", "modelarts_quota")):
                assert all(sample.value >= 0 for sample in family.samples), family.name
    assert {error.outcome for report in reports for error in report.failures} <= set(Outcome)
