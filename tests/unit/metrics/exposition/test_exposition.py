"""What a scrape gets: the published part with the live part behind it, in four forms that say the same."""

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
from exporter.metrics.exposition.exposition import LIVE_FOR_S, Exposition
from exporter.metrics.exposition.family import Family, Type
from exporter.metrics.exposition.renderer import Renderer
from tests.clock import ManualClock

MANY = 4000
"""Jobs, of about 630 bytes each: more than the 2 MiB up to which text is compressed in one go."""
UP = CollectorState(name="jobs", ok=True, last_success_at=5.0, duration_s=0.5)
FORMS = [(openmetrics, packed) for openmetrics in (False, True) for packed in (False, True)]


def snapshot(*job_ids: str, up: bool = True) -> Snapshot:
    """One project with these jobs."""
    jobs = {name: TrackedJob(project="vision", job=Job(job_id=name, api=Api.V2, name="n" * 300)) for name in job_ids}
    return Snapshot(
        taken_at=0.0, projects=(ProjectSnapshot(project="vision", jobs=jobs, collectors=(UP,) if up else ()),)
    )


class Scene:
    """An exposition with everything that it is made of at hand."""

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
        """As polling does: the newest snapshot, then its text."""
        self.newest = newest
        self.exposition.publish(newest)

    def read(self, *, openmetrics: bool = False, packed: bool = False) -> bytes:
        """What a client has after decoding the answer."""
        body = self.exposition.body(openmetrics=openmetrics, gzip=packed)
        whole = b"".join(body.chunks)
        assert len(whole) == body.length
        return gzip.decompress(whole) if packed else whole


@pytest.fixture
def scene(clock: ManualClock) -> Scene:
    return Scene(clock)


def readings(text: bytes, *, openmetrics: bool = False) -> dict[str, float]:
    """Values by sample name and labels; fails when the parser refuses, or a sample comes twice."""
    if openmetrics:
        metrics: Iterable[Metric] = parse_openmetrics(text.decode())  # type: ignore[no-untyped-call]  # so it is told
    else:
        metrics = parse_text(text.decode())
    told: dict[str, float] = {}
    for metric in metrics:
        for sample in metric.samples:
            name = f"{sample.name}{dict(sorted(sample.labels.items()))}"
            assert name not in told
            told[name] = sample.value
    return told


def test_four_forms_say_the_same(scene: Scene) -> None:
    """Text and OpenMetrics, plain and gzip: the same samples, of the published part, the project and the registry."""
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


def test_openmetrics_ends_once(scene: Scene) -> None:
    """The end marker stands at the very end of OpenMetrics, once, and never in text 0.0.4."""
    Gauge("depth", "Depth.", registry=scene.registry)
    scene.publish(snapshot("j1"))

    assert scene.read(openmetrics=True).endswith(b"\n# EOF\n")
    assert scene.read(openmetrics=True).count(b"# EOF") == 1
    assert b"# EOF" not in scene.read()


def test_before_the_first_snapshot_there_is_the_registry(scene: Scene) -> None:
    """A scrape at the very start gets what there is."""
    Gauge("depth", "Depth.", registry=scene.registry).set(2)

    assert scene.read() == scene.read(packed=True) == b"# HELP depth Depth.\n# TYPE depth gauge\ndepth 2.0\n"


def test_empty_answer_is_valid_gzip(scene: Scene) -> None:
    """Nothing to say is said in well-formed gzip too."""
    assert scene.read(packed=True) == b""
    assert scene.read(openmetrics=True, packed=True) == b"# EOF\n"


@pytest.mark.parametrize(
    "jobs", [pytest.param(3, id="compressed whole"), pytest.param(MANY, id="compressed by family")]
)
def test_gzip_is_one_member_for_strict_readers(scene: Scene, jobs: int) -> None:
    """`gzip -t` accepts the answer, and a reader of a single member gets all of it: nothing follows the first."""
    scene.publish(snapshot(*(f"{number:08x}" for number in range(jobs))))
    body = scene.exposition.body(openmetrics=False, gzip=True)
    packed = b"".join(body.chunks)
    member = zlib.decompressobj(16 + zlib.MAX_WBITS)

    assert member.decompress(packed) == scene.read()
    assert (member.eof, member.unused_data) == (True, b"")
    assert subprocess.run(["gzip", "-t"], input=packed, capture_output=True, check=False).returncode == 0


def test_large_bodies_are_shared(scene: Scene) -> None:
    """Both formats hand out the very same bytes for a large family: only the headers differ."""
    scene.publish(snapshot(*(f"{number:08x}" for number in range(MANY))))

    text = scene.exposition.body(openmetrics=False, gzip=False).chunks
    openmetrics = scene.exposition.body(openmetrics=True, gzip=False).chunks

    shared = {id(chunk) for chunk in text} & {id(chunk) for chunk in openmetrics}
    assert sum(len(chunk) for chunk in text if id(chunk) in shared) > sum(map(len, text)) * 0.8


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([MANY, MANY], id="large and nothing new"),
        pytest.param([MANY, MANY + 1], id="large and one more"),
        pytest.param([3, MANY, 3, 0], id="growing and shrinking"),
    ],
)
def test_gzip_says_what_plain_says(scene: Scene, sizes: list[int]) -> None:
    """However large the snapshots that followed each other, gzip and plain agree."""
    for size in sizes:
        scene.publish(snapshot(*(f"{number:08x}" for number in range(size))))
        for openmetrics in (False, True):
            assert scene.read(openmetrics=openmetrics, packed=True) == scene.read(openmetrics=openmetrics)


def test_live_part_is_used_again_for_a_moment(scene: Scene, clock: ManualClock) -> None:
    """Scrapes within a quarter of a second share the live part; the next one sees the present."""
    depth = Gauge("depth", "Depth.", registry=scene.registry)
    scene.publish(snapshot("j1"))
    assert readings(scene.read())["depth{}"] == 0.0
    depth.set(7)

    clock.turn(LIVE_FOR_S - 0.01)
    assert readings(scene.read())["depth{}"] == 0.0
    clock.turn(0.01)
    assert readings(scene.read())["depth{}"] == 7.0


def test_new_snapshot_shows_at_once(scene: Scene) -> None:
    """A newer snapshot is told of by the next scrape, even before its jobs are rendered."""
    scene.publish(snapshot("j1"))
    assert readings(scene.read())["modelarts_up{'project': 'vision'}"] == 1.0

    scene.newest = snapshot("j1", up=False)

    told = readings(scene.read())
    assert told["modelarts_up{'project': 'vision'}"] == 0.0
    assert "modelarts_training_job_status{'job_id': 'j1', 'project': 'vision', 'status': 'unknown'}" in told


def test_publishing_replaces_all_at_once(scene: Scene) -> None:
    """An answer already handed out stays what it was; the next one is wholly of the new snapshot."""
    scene.publish(snapshot("j1"))
    before = scene.exposition.body(openmetrics=False, gzip=False)

    scene.publish(snapshot("j2"))

    assert b'job_id="j1"' in b"".join(before.chunks)
    after = scene.read()
    assert b'job_id="j2"' in after
    assert b'job_id="j1"' not in after


def test_created_series_are_left_out(scene: Scene) -> None:
    """prometheus-client's own times of creation are not told, in either format."""
    Counter("calls", "Calls.", registry=scene.registry)

    assert b"_created" not in scene.read() + scene.read(openmetrics=True)
    assert b"calls_total 0.0\n" in scene.read()


@pytest.mark.parametrize("kind, name", [(Gauge, "modelarts_up"), (Counter, "modelarts_training_jobs_started")])
def test_registry_cannot_tell_a_name_of_ours(clock: ManualClock, kind: Any, name: str) -> None:
    """A registry that speaks the name of a family is refused when the exposition is made."""
    registry = CollectorRegistry()
    kind(name, "Mine.", registry=registry)

    with pytest.raises(ValueError, match=f"the registry and the families both tell {name}"):
        Exposition(
            Renderer(JOB_FAMILIES, PROJECT_FAMILIES),
            live_families=LIVE_FAMILIES,
            newest=lambda: None,
            registry=registry,
            monotonic=clock.monotonic,
        )


def test_name_registered_later_is_left_out(scene: Scene) -> None:
    """What comes to the registry afterwards under a name of ours is not told: no family ever stands twice."""
    Gauge("modelarts_up", "Mine.", registry=scene.registry).set(9)
    scene.publish(snapshot("j1"))

    assert readings(scene.read(openmetrics=True), openmetrics=True)["modelarts_up{'project': 'vision'}"] == 1.0


def test_live_family_cannot_be_rendered_too(clock: ManualClock) -> None:
    """A family that is both published and live is refused."""
    with pytest.raises(ValueError, match="two families tell modelarts_training_jobs"):
        Exposition(
            Renderer(JOB_FAMILIES, PROJECT_FAMILIES),
            live_families=PROJECT_FAMILIES,
            newest=lambda: None,
            registry=CollectorRegistry(),
            monotonic=clock.monotonic,
        )


class Own(Collector):
    """A collector of a registry, as somebody might write it."""

    def __init__(self, *metrics: Metric | Exception) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Nothing, which is how two collectors come to share a name."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What it was given; an exception is raised."""
        for metric in self._metrics:
            if isinstance(metric, Exception):
                raise metric
            yield metric


def gauge(name: str, **labels: str) -> Metric:
    """A metric of one sample."""
    metric = Metric(name, "Says.", "gauge")
    metric.add_sample(name, labels, 1.0)
    return metric


def test_name_told_by_two_collectors_is_told_once(scene: Scene) -> None:
    """Two collectors that never described themselves cannot make a family stand twice."""
    scene.registry.register(Own(gauge("depth", of="a")))
    scene.registry.register(Own(gauge("depth", of="b")))

    assert readings(scene.read()) == {"depth{'of': 'a'}": 1.0}


def test_failing_collector_costs_no_scrape(scene: Scene) -> None:
    """A collector that raises takes what comes after it in the registry along, is logged, and nothing else."""
    scene.registry.register(Own(gauge("first"), OSError("no /proc")))
    scene.publish(snapshot("j1"))

    with capture_logs() as logs:
        told = readings(scene.read(openmetrics=True), openmetrics=True)

    assert told["first{}"] == 1.0
    assert told["modelarts_up{'project': 'vision'}"] == 1.0
    assert [entry["event"] for entry in logs] == ["exposition.registry_failed"]


def test_label_without_utf8_costs_no_scrape(scene: Scene) -> None:
    """A lone surrogate in a label of the registry is replaced, as everywhere."""
    scene.registry.register(Own(gauge("first", of="a\ud800")))

    assert readings(scene.read()) == {"first{'of': 'a\ufffd'}": 1.0}


def test_failing_live_family_costs_only_its_samples(clock: ManualClock) -> None:
    """A live family that raises for a project loses its samples of it, not the scrape."""

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

    told = readings(b"".join(exposition.body(openmetrics=False, gzip=False).chunks))

    assert told == {"modelarts_live{'project': 'b'}": 0.2}  # 1 / 5
