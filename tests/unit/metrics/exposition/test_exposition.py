"""Bodies of responses: the published part followed by the live part, in two formats, plain and gzip."""

import gzip
import subprocess
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Metric, PlatformCollector
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector
from structlog.testing import capture_logs

from exporter.domain.job import Api, Job
from exporter.domain.snapshot import CollectorState, ProjectSnapshot, Snapshot, TrackedJob
from exporter.metrics.catalog import JOB_FAMILIES, LIVE_FAMILIES, PROJECT_FAMILIES
from exporter.metrics.exposition.exposition import LIVE_MAX_AGE_S, Exposition
from exporter.metrics.exposition.family import Family, Type
from exporter.metrics.exposition.renderer import Renderer
from tests.clock import ManualClock

MANY = 4000
"""Jobs of about 630 bytes each: together more than the 2 MiB up to which text is compressed at once."""
UP = CollectorState(name="jobs", ok=True, last_success_at=5.0, duration_s=0.5)
FORMS = [(openmetrics, packed) for openmetrics in (False, True) for packed in (False, True)]


def snapshot(*job_ids: str, up: bool = True) -> Snapshot:
    """One project with these jobs."""
    jobs = {name: TrackedJob(project="vision", job=Job(job_id=name, api=Api.V2, name="n" * 300)) for name in job_ids}
    return Snapshot(
        taken_at=0.0, projects=(ProjectSnapshot(project="vision", jobs=jobs, collectors=(UP,) if up else ()),)
    )


class Scene:
    """An exposition, its registry and its newest snapshot."""

    def __init__(self, clock: ManualClock) -> None:
        self.registry = CollectorRegistry()
        self.newest: Snapshot | None = None
        self.exposition = Exposition(
            Renderer(JOB_FAMILIES, PROJECT_FAMILIES),
            live_families=LIVE_FAMILIES,
            newest=lambda: self.newest,
            registry=self.registry,
            monotonic=clock.monotonic,
        )

    def publish(self, newest: Snapshot) -> None:
        """Set the newest snapshot, then publish it, as polling does."""
        self.newest = newest
        self.exposition.publish(newest)

    def read(self, *, openmetrics: bool = False, packed: bool = False) -> bytes:
        """Read the body as a client does after decoding."""
        body = self.exposition.body(openmetrics=openmetrics, gzip=packed)
        whole = b"".join(body.chunks)
        assert len(whole) == body.length
        return gzip.decompress(whole) if packed else whole


@pytest.fixture
def scene(clock: ManualClock) -> Scene:
    return Scene(clock)


def readings(text: bytes, *, openmetrics: bool = False) -> dict[str, float]:
    """Values by sample name and labels; fails when the parser refuses the text, or a sample occurs twice."""
    if openmetrics:
        metrics: Iterable[Metric] = parse_openmetrics(text.decode())  # type: ignore[no-untyped-call]  # ships without types
    else:
        metrics = parse_text(text.decode())
    values: dict[str, float] = {}
    for metric in metrics:
        for sample in metric.samples:
            name = f"{sample.name}{dict(sorted(sample.labels.items()))}"
            assert name not in values
            values[name] = sample.value
    return values


def test_all_four_bodies_have_the_same_samples(scene: Scene) -> None:
    """Text and OpenMetrics, plain and gzip, have the same samples: published part, live part and registry."""
    Counter("calls", "Calls.", registry=scene.registry).inc(3)
    Histogram("took_seconds", "Time.", registry=scene.registry, buckets=(1.0,)).observe(0.5)
    Info("build", "Build.", registry=scene.registry).info({"version": "1"})
    PlatformCollector(registry=scene.registry)
    scene.publish(snapshot("j1", "j2"))

    forms = [
        readings(scene.read(openmetrics=openmetrics, packed=packed), openmetrics=openmetrics)
        for openmetrics, packed in FORMS
    ]

    assert forms[0] == forms[1] == forms[2] == forms[3]
    assert forms[0]["calls_total{}"] == 3.0
    assert forms[0]["modelarts_up{'project': 'vision'}"] == 1.0
    assert forms[0]["modelarts_training_job_status{'job_id': 'j2', 'project': 'vision', 'status': 'unknown'}"] == 1.0


def test_openmetrics_has_one_end_marker(scene: Scene) -> None:
    """The end marker is the last line of OpenMetrics, occurs once, and never occurs in text 0.0.4."""
    Gauge("depth", "Depth.", registry=scene.registry)
    scene.publish(snapshot("j1"))

    assert scene.read(openmetrics=True).endswith(b"\n# EOF\n")
    assert scene.read(openmetrics=True).count(b"# EOF") == 1
    assert b"# EOF" not in scene.read()


def test_before_the_first_snapshot_the_registry_is_served(scene: Scene) -> None:
    """A scrape before the first snapshot gets the registry."""
    Gauge("depth", "Depth.", registry=scene.registry).set(2)

    assert scene.read() == scene.read(packed=True) == b"# HELP depth Depth.\n# TYPE depth gauge\ndepth 2.0\n"


def test_empty_body_is_valid_gzip(scene: Scene) -> None:
    """An exposition without samples is a valid gzip member too."""
    assert scene.read(packed=True) == b""
    assert scene.read(openmetrics=True, packed=True) == b"# EOF\n"


@pytest.mark.parametrize(
    "jobs", [pytest.param(3, id="compressed at once"), pytest.param(MANY, id="compressed by family")]
)
def test_gzip_is_a_single_member(scene: Scene, jobs: int) -> None:
    """`gzip -t` accepts the body, and a reader of one member reads all of it."""
    scene.publish(snapshot(*(f"{number:08x}" for number in range(jobs))))
    body = scene.exposition.body(openmetrics=False, gzip=True)
    packed = b"".join(body.chunks)
    member = zlib.decompressobj(16 + zlib.MAX_WBITS)

    assert member.decompress(packed) == scene.read()
    assert (member.eof, member.unused_data) == (True, b"")
    assert subprocess.run(["gzip", "-t"], input=packed, capture_output=True, check=False).returncode == 0


def test_large_bodies_are_shared(scene: Scene) -> None:
    """Both formats share the bytes of a large family, because only the headers differ."""
    scene.publish(snapshot(*(f"{number:08x}" for number in range(MANY))))

    text = scene.exposition.body(openmetrics=False, gzip=False).chunks
    openmetrics = scene.exposition.body(openmetrics=True, gzip=False).chunks

    shared = {id(chunk) for chunk in text} & {id(chunk) for chunk in openmetrics}
    assert sum(len(chunk) for chunk in text if id(chunk) in shared) > sum(map(len, text)) * 0.8


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([MANY, MANY], id="large and unchanged"),
        pytest.param([MANY, MANY + 1], id="large and one more"),
        pytest.param([3, MANY, 3, 0], id="growing and shrinking"),
    ],
)
def test_gzip_and_plain_have_the_same_content(scene: Scene, sizes: list[int]) -> None:
    """Gzip and plain have the same content after any sequence of small and large snapshots."""
    for size in sizes:
        scene.publish(snapshot(*(f"{number:08x}" for number in range(size))))
        for openmetrics in (False, True):
            assert scene.read(openmetrics=openmetrics, packed=True) == scene.read(openmetrics=openmetrics)


def test_live_part_is_cached(scene: Scene, clock: ManualClock) -> None:
    """Scrapes within a quarter of a second share the live part; a later one renders it again."""
    depth = Gauge("depth", "Depth.", registry=scene.registry)
    scene.publish(snapshot("j1"))
    assert readings(scene.read())["depth{}"] == 0.0
    depth.set(7)

    clock.turn(LIVE_MAX_AGE_S - 0.01)
    assert readings(scene.read())["depth{}"] == 0.0
    clock.turn(0.01)
    assert readings(scene.read())["depth{}"] == 7.0


def test_new_snapshot_is_served_at_once(scene: Scene) -> None:
    """The next scrape has the live families of a newer snapshot, even before its jobs are rendered."""
    scene.publish(snapshot("j1"))
    assert readings(scene.read())["modelarts_up{'project': 'vision'}"] == 1.0

    scene.newest = snapshot("j1", up=False)

    values = readings(scene.read())
    assert values["modelarts_up{'project': 'vision'}"] == 0.0
    assert "modelarts_training_job_status{'job_id': 'j1', 'project': 'vision', 'status': 'unknown'}" in values


def test_publishing_replaces_everything_at_once(scene: Scene) -> None:
    """A body that was returned earlier does not change; the next one has only the new snapshot."""
    scene.publish(snapshot("j1"))
    before = scene.exposition.body(openmetrics=False, gzip=False)

    scene.publish(snapshot("j2"))

    assert b'job_id="j1"' in b"".join(before.chunks)
    after = scene.read()
    assert b'job_id="j2"' in after
    assert b'job_id="j1"' not in after


def test_created_series_are_left_out(scene: Scene) -> None:
    """Neither format has the `_created` series of prometheus-client."""
    Counter("calls", "Calls.", registry=scene.registry)

    assert b"_created" not in scene.read() + scene.read(openmetrics=True)
    assert b"calls_total 0.0\n" in scene.read()


@pytest.mark.parametrize("kind, name", [(Gauge, "modelarts_up"), (Counter, "modelarts_training_jobs_started")])
def test_registry_with_the_name_of_a_family_is_refused(clock: ManualClock, kind: Any, name: str) -> None:
    """The exposition is not created when the registry already has the name of a family."""
    registry = CollectorRegistry()
    kind(name, "Mine.", registry=registry)

    with pytest.raises(ValueError, match=f"the registry and the families both have {name}"):
        Exposition(
            Renderer(JOB_FAMILIES, PROJECT_FAMILIES),
            live_families=LIVE_FAMILIES,
            newest=lambda: None,
            registry=registry,
            monotonic=clock.monotonic,
        )


def test_name_registered_later_is_left_out(scene: Scene) -> None:
    """A metric registered later under the name of a family is left out, so no family occurs twice."""
    Gauge("modelarts_up", "Mine.", registry=scene.registry).set(9)
    scene.publish(snapshot("j1"))

    assert readings(scene.read(openmetrics=True), openmetrics=True)["modelarts_up{'project': 'vision'}"] == 1.0


def test_family_cannot_be_both_live_and_published(clock: ManualClock) -> None:
    """A family that is both published and live is refused."""
    with pytest.raises(ValueError, match="two families have the name modelarts_training_jobs"):
        Exposition(
            Renderer(JOB_FAMILIES, PROJECT_FAMILIES),
            live_families=PROJECT_FAMILIES,
            newest=lambda: None,
            registry=CollectorRegistry(),
            monotonic=clock.monotonic,
        )


class CustomCollector(Collector):
    """A custom collector that does not describe its metrics."""

    def __init__(self, *metrics: Metric | Exception) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that two collectors can have the same name."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; raise an exception that is among them."""
        for metric in self._metrics:
            if isinstance(metric, Exception):
                raise metric
            yield metric


def gauge(name: str, **labels: str) -> Metric:
    """A metric of one sample."""
    metric = Metric(name, "Says.", "gauge")
    metric.add_sample(name, labels, 1.0)
    return metric


def test_name_of_two_collectors_is_written_once(scene: Scene) -> None:
    """Two collectors without a description cannot cause a family to occur twice."""
    scene.registry.register(CustomCollector(gauge("depth", of="a")))
    scene.registry.register(CustomCollector(gauge("depth", of="b")))

    assert readings(scene.read()) == {"depth{'of': 'a'}": 1.0}


def test_failing_collector_does_not_fail_the_scrape(scene: Scene) -> None:
    """A collector that raises is logged; only its metrics and those after it in the registry are missing."""
    scene.registry.register(CustomCollector(gauge("first"), OSError("no /proc")))
    scene.publish(snapshot("j1"))

    with capture_logs() as logs:
        values = readings(scene.read(openmetrics=True), openmetrics=True)

    assert values["first{}"] == 1.0
    assert values["modelarts_up{'project': 'vision'}"] == 1.0
    assert [entry["event"] for entry in logs] == ["exposition.registry_failed"]


def test_label_without_utf8_does_not_fail_the_scrape(scene: Scene) -> None:
    """A lone surrogate in a label of the registry is replaced, as in the labels of families."""
    scene.registry.register(CustomCollector(gauge("first", of="a\ud800")))

    assert readings(scene.read()) == {"first{'of': 'a\ufffd'}": 1.0}


def test_failing_live_family_loses_only_its_samples(clock: ManualClock) -> None:
    """A live family that raises for a project loses its samples for that project; the scrape succeeds."""

    def samples(project: ProjectSnapshot) -> Any:
        return (({}, 1.0 / len(project.region)),)

    live = Family(
        name="modelarts_live", help="Says.", type=Type.GAUGE, subject="project", source="own", samples=samples
    )
    newest = Snapshot(
        taken_at=0.0, projects=(ProjectSnapshot(project="a"), ProjectSnapshot(project="b", region="eu-de"))
    )
    exposition = Exposition(
        Renderer((), ()),
        live_families=[live],
        newest=lambda: newest,
        registry=CollectorRegistry(),
        monotonic=clock.monotonic,
    )

    values = readings(b"".join(exposition.body(openmetrics=False, gzip=False).chunks))

    assert values == {"modelarts_live{'project': 'b'}": 0.2}  # 1 / 5
