"""Every supported way to install, held against the schemas of the cluster, the exporter itself and a golden file.

`pytest tests/chart --write-golden` writes the golden files anew; review the difference as prose.
"""

import gzip
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import click
import helm_python as helm
import pytest
from click.testing import CliRunner
from helm_python import _native

from exporter import __version__
from exporter.commands import main
from exporter.settings import load
from tests.chart import chart, pod, schemas
from tests.chart.chart import CI, NEWEST, OLDEST, PATH, Json, Rendered
from tests.chart.summary import summarize

GOLDEN = Path(__file__).parent / "golden"
INJECTED = {"HC_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.1/credentials"}
"""What CCE itself puts into a pod with an identity."""
AWKWARD = [
    *("no", "off", "~", "null", "yes", "0x10", "1_000", "12e34567", "1:30", "2024-01-01", ".inf", "=", "<<", "0o17"),
    *("00112233445566778899001122334455", "1e3", " padded ", "a: b", "#", "'", '"', "\\", "{{ .Values }}", "é"),
]
"""Texts that a writer or reader of YAML could take for something else."""


def _name(path: Path) -> str:
    return path.stem.removesuffix("-values")


each_install = pytest.mark.parametrize("path", CI, ids=_name)


def labelled(rendered: Rendered) -> Iterator[tuple[str, dict[str, str]]]:
    """Labels of every object and of the pod that the Deployment makes."""
    for manifest in rendered.manifests:
        yield manifest["kind"], manifest["metadata"].get("labels", {})
    yield "pod", rendered.pod()["metadata"]["labels"]


def installed(values: Json, *, kubernetes: str, path: Path = PATH, namespace: str = "monitoring") -> Json:
    """What Helm would store of a release (`helm install --dry-run=client`). Raises helm.HelmError."""
    config = helm.Config(storage_driver="memory", namespace=namespace)
    options = {"dry_run": "client", "kube_version": f"v{kubernetes}.0"}
    with helm.Chart.load(path) as loaded:
        answer = _native.call_string(
            "helm_install",
            config._raw(),
            _native.HANDLE(0),
            loaded._raw(),
            None,
            "modelarts-exporter",
            json.dumps(values),
            json.dumps(options),
        )
    release: Json = json.loads(answer)
    return release


@pytest.mark.parametrize(
    "values", [pytest.param({}, id="defaults"), *(pytest.param(chart.load(path), id=_name(path)) for path in CI)]
)
def test_lint_is_silent(values: Json) -> None:
    """`helm lint --strict` complains neither about the chart's defaults nor about any supported set of values."""
    report = helm.lint(PATH, values, strict=True, kube_version=f"v{NEWEST}.0")
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@each_install
def test_file_says_who_wants_it(path: Path) -> None:
    """Each set of values begins with a comment that says for whom it is."""
    assert path.read_text(encoding="utf-8").startswith("# For ")


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
@each_install
def test_cluster_takes_every_manifest(path: Path, kubernetes: str) -> None:
    """Every manifest fits the schema of its kind, strictly, in the oldest and the newest supported Kubernetes."""
    rendered = chart.rendered(path, kubernetes=kubernetes)
    for manifest in rendered.manifests:
        schemas.check(manifest, kubernetes=kubernetes)


@each_install
def test_rendering_is_golden(path: Path, request: pytest.FixtureRequest) -> None:
    """What is rendered is what was reviewed."""
    golden = GOLDEN / f"{_name(path)}.yaml"
    hint = f"run `pytest tests/chart --write-golden` and review the changes of {golden.name}"
    text = summarize(chart.rendered(path))
    if request.config.getoption("--write-golden"):
        golden.write_text(text, encoding="utf-8")
    assert golden.exists(), hint
    assert text == golden.read_text(encoding="utf-8"), hint


def test_no_golden_file_is_left_over() -> None:
    """Each golden file belongs to a supported way to install."""
    assert {path.stem for path in GOLDEN.glob("*")} == {_name(path) for path in CI}


@each_install
def test_settings_are_accepted(path: Path, tmp_path: Path, secrets: pod.Secrets) -> None:
    """`check-config` accepts settings and web configuration in the pod, with the pod's files and variables."""
    rendered = chart.rendered(path)
    if rendered.container()["args"][0] == "demo":
        assert not any("config.yaml" in made.get("data", {}) for made in rendered.of("ConfigMap"))
        return
    config = pod.files(rendered, folder=tmp_path, secrets=secrets)
    token = tmp_path / "token"
    token.write_text(pod.INVENTED)
    environment = {**INJECTED, "HC_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token), **pod.variables(rendered)}
    flags = [argument.partition("=") for argument in rendered.container()["args"]]
    web = [pod.moved(value, folder=tmp_path) for flag, _, value in flags if flag == "--web.config.file"]
    arguments = ["check-config", f"--config.file={config}", *(f"--web.config.file={path}" for path in web)]
    result = CliRunner().invoke(main, arguments, env=environment)
    expected = f"{config}: valid, 1 target\n" + "".join(f"{path}: valid\n" for path in web)
    assert (result.exit_code, result.output) == (0, expected)


@each_install
def test_flags_are_understood(path: Path) -> None:
    """The container's arguments are ones that the command line knows, and it listens where the probes ask."""
    container = chart.rendered(path).container()
    name, *arguments = container["args"]
    command = main.get_command(click.Context(main), name)
    assert command is not None
    parameters = command.make_context(name, arguments).params
    addresses = parameters["web_listen_address"]
    ports = {address.port for address in (addresses if isinstance(addresses, tuple) else [addresses])}
    assert container["ports"][0]["containerPort"] in ports
    assert container["ports"][0]["name"] == "http"


@each_install
def test_selectors_find_the_exporter_and_nothing_else(path: Path) -> None:
    """Service, monitor, policy and budget select the exporter's pod; the test pod is selected by none of them."""
    rendered = chart.rendered(path)
    labels = rendered.pod()["metadata"]["labels"]
    selectors = [rendered.one("Deployment")["spec"]["selector"]["matchLabels"]]
    selectors += [service["spec"]["selector"] for service in rendered.of("Service")]
    for kind in ("PodMonitor", "PodDisruptionBudget"):
        selectors += [made["spec"]["selector"]["matchLabels"] for made in rendered.of(kind)]
    selectors += [made["spec"]["podSelector"]["matchLabels"] for made in rendered.of("NetworkPolicy")]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not any(selector.items() <= test["metadata"]["labels"].items() for test in rendered.of("Pod"))
    for monitor in rendered.of("ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= rendered.one("Service")["metadata"]["labels"].items()
        assert monitor["spec"]["namespaceSelector"]["matchNames"] == ["monitoring"]


@each_install
def test_every_object_is_placed(path: Path) -> None:
    """Every object names its namespace, and no two objects are the same one."""
    rendered = chart.rendered(path)
    places = [(m["kind"], m["metadata"]["namespace"], m["metadata"]["name"]) for m in rendered.manifests]
    assert len(places) == len(set(places))


@each_install
def test_notes_tell_the_next_command(path: Path) -> None:
    """After an install Helm prints how to see whether it works, and what is still missing."""
    rendered = chart.rendered(path)
    notes = rendered.notes
    service = rendered.one("Service")
    assert f"service/{service['metadata']['name']} 10310:{service['spec']['ports'][0]['port']}" in notes
    assert ("helm test modelarts-exporter --namespace monitoring" in notes) == bool(list(rendered.of("Pod")))
    assert ("Nothing scrapes it yet" in notes) == (not (*rendered.of("ServiceMonitor"), *rendered.of("PodMonitor")))
    loose = [made for made in rendered.of("ConfigMap") if made["metadata"]["name"].endswith("-rules")]
    assert ("No alerts are installed yet" in notes) == (not (*rendered.of("PrometheusRule"), *loose))


@pytest.mark.parametrize(
    "operator, hint",
    [
        pytest.param(True, "--set serviceMonitor.enabled=true", id="with-operator"),
        pytest.param(False, "modelarts-exporter.monitoring:10310/metrics", id="without-operator"),
    ],
)
def test_notes_know_the_operator(*, operator: bool, hint: str) -> None:
    """How to get scraped depends on whether the cluster has the Prometheus Operator."""
    assert hint in chart.render(chart.watching(), operator=operator).notes


def test_what_is_asked_for_is_rendered_without_the_operator() -> None:
    """A monitor that was asked for is never left out silently, whatever Helm believes the cluster to know."""
    values = chart.values_of("kube-prometheus-stack")
    blind = chart.render(values, operator=False)
    assert blind.manifests == chart.render(values).manifests


def test_budget_uses_what_the_cluster_has() -> None:
    """A pod that is not ready does not hold up a drain, where Kubernetes can be told so (1.27 and newer)."""
    path = PATH / "ci/two-replicas-values.yaml"
    budgets = {
        version: chart.rendered(path, kubernetes=version).one("PodDisruptionBudget") for version in (OLDEST, NEWEST)
    }
    assert "unhealthyPodEvictionPolicy" not in budgets[OLDEST]["spec"]
    assert budgets[NEWEST]["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize(
    "kubernetes, refused",
    [
        pytest.param("1.24", True, id="too-old"),
        pytest.param(OLDEST, False, id="oldest"),
        pytest.param(NEWEST, False, id="newest"),
    ],
)
def test_kubernetes_must_be_supported(kubernetes: str, *, refused: bool) -> None:
    """An install into a Kubernetes that is too old ends before anything is done."""
    if refused:
        with pytest.raises(helm.HelmError, match="chart requires kubeVersion"):
            installed(chart.watching(), kubernetes=kubernetes)
    else:
        assert installed(chart.watching(), kubernetes=kubernetes)["manifest"]


def test_long_names_stay_valid() -> None:
    """The longest release name that Helm allows makes names that fit the 63 characters of a DNS label."""
    rendered = chart.render(chart.watching(), name="r" * 53)
    for manifest in rendered.manifests:
        assert len(manifest["metadata"]["name"]) <= 63
    for _, labels in labelled(rendered):
        assert all(len(value) <= 63 for value in labels.values())


def test_chart_packages(tmp_path: Path) -> None:
    """The chart packs into an archive that renders the same, without the values that are only for tests."""
    archive = Path(helm.package(PATH, destination=str(tmp_path)))
    with tarfile.open(archive) as packed:
        names = packed.getnames()
    assert archive.name == f"modelarts-exporter-{chart.load(PATH / 'Chart.yaml')['version']}.tgz"
    assert "modelarts-exporter/values.schema.json" in names
    assert not any("/ci/" in name for name in names)
    values = chart.values_of("kube-prometheus-stack")
    manifests = [installed(values, kubernetes=NEWEST, path=path)["manifest"] for path in (PATH, archive)]
    assert manifests[0] == manifests[1]


def test_release_fits_into_its_secret() -> None:
    """A release with everything on stays far below the 1 MiB of the Secret that Helm keeps it in."""
    everything = chart.merged(chart.values_of("kube-prometheus-stack"), {"networkPolicy": {"enabled": True}})
    release = json.dumps(installed(everything, kubernetes=NEWEST)).encode()
    sources = b"".join(path.read_bytes() for path in sorted(PATH.rglob("*")) if path.is_file())
    stored = len(gzip.compress(release + sources)) * 4 / 3  # base64
    assert stored < 512 * 1024


def test_dashboards_can_be_applied() -> None:
    """Each dashboard is the shipped file, in a ConfigMap below the 256 KiB that `kubectl apply` can annotate."""
    rendered = chart.rendered(PATH / "ci/kube-prometheus-stack-values.yaml")
    boards = [made for made in rendered.of("ConfigMap") if "grafana_dashboard" in made["metadata"]["labels"]]
    shipped = {path.name: path for path in (chart.ROOT / "dashboards").glob("*.json")}
    assert {name for board in boards for name in board["data"]} == set(shipped)
    for board in boards:
        ((name, text),) = board["data"].items()
        assert json.loads(text) == json.loads(shipped[name].read_text(encoding="utf-8"))
        assert board["metadata"]["annotations"] == {"grafana_folder": "ModelArts"}
        assert len(json.dumps(board)) < 256 * 1024


def test_versions_agree() -> None:
    """The chart names the exporter's version, and runs the image of that tag."""
    assert chart.load(PATH / "Chart.yaml")["appVersion"] == __version__
    image = chart.render(chart.watching()).container()["image"]
    assert image == f"ghcr.io/modelarts-exporter/modelarts-exporter:{__version__}"


def test_change_of_settings_restarts() -> None:
    """A change of the settings changes the pod, so that it is replaced; a change of anything else there does not."""

    def pods(values: Json) -> str:
        return json.dumps(chart.render(values).pod())

    before = pods(chart.watching())
    assert pods(chart.watching(chart.target(api="v2"))) != before
    assert pods(chart.merged(chart.watching(), {"serviceMonitor": {"enabled": True}})) == before


def test_change_of_a_secret_restarts_only_what_cannot_read_it_again() -> None:
    """Files are read again when they change, so the pod stays; variables never are, so it is replaced."""

    def pods(install: str, **data: str) -> str:
        return json.dumps(chart.render(chart.merged(chart.values_of(install), {"credentials": {"data": data}})).pod())

    assert pods("secret-created", password="a") == pods("secret-created", password="b")
    assert pods("secret-env", sk="a") != pods("secret-env", sk="b")


def test_settings_arrive_as_written() -> None:
    """Texts and numbers pass through the values into the settings file without becoming something else."""
    settings = {
        "targets": [chart.target(filters={"users": AWKWARD})],
        "metrics": {"max_series_per_project": 12_345_678, "idle_threshold": 0.000001},
    }
    text = chart.render({"config": settings}).one("ConfigMap")["data"]["config.yaml"]
    loaded = load(text, environ={})
    assert loaded.targets[0].filters.users == tuple(AWKWARD)
    assert loaded.metrics.max_series_per_project == 12_345_678
    assert loaded.metrics.idle_threshold_ratio == 0.000001
