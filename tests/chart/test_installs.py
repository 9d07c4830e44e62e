"""Every supported way to install, checked with Kubernetes schemas, the exporter itself, and a golden file.

`pytest tests/chart --write-golden` rewrites the golden files; review the difference.
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
"""Variables that CCE adds to a pod with an identity."""
AWKWARD = [
    *("no", "off", "~", "null", "yes", "0x10", "1_000", "12e34567", "1:30", "2024-01-01", ".inf", "=", "<<", "0o17"),
    *("00112233445566778899001122334455", "1e3", " padded ", "a: b", "#", "'", '"', "\\", "{{ .Values }}", "é"),
]
"""Texts that YAML could read as another type."""


def _name(path: Path) -> str:
    return path.stem.removesuffix("-values")


each_install = pytest.mark.parametrize("path", CI, ids=_name)


def labelled(rendered: Rendered) -> Iterator[tuple[str, dict[str, str]]]:
    """Labels of every object and of the pod template."""
    for manifest in rendered.manifests:
        yield manifest["kind"], manifest["metadata"].get("labels", {})
    yield "pod", rendered.pod()["metadata"]["labels"]


def installed(values: Json, *, kubernetes: str, path: Path = PATH, namespace: str = "monitoring") -> Json:
    """Return the release that Helm would store (`helm install --dry-run=client`). Raises helm.HelmError."""
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
def test_lint_reports_nothing(values: Json) -> None:
    """`helm lint --strict` reports nothing for the defaults and for every file in ci/."""
    report = helm.lint(PATH, values, strict=True, kube_version=f"v{NEWEST}.0")
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@each_install
def test_file_begins_with_its_purpose(path: Path) -> None:
    """Each file in ci/ begins with a comment about its purpose."""
    assert path.read_text(encoding="utf-8").startswith("# For ")


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
@each_install
def test_every_manifest_fits_its_schema(path: Path, kubernetes: str) -> None:
    """Every manifest fits the strict schema of its kind in the oldest and the newest supported Kubernetes."""
    rendered = chart.rendered(path, kubernetes=kubernetes)
    for manifest in rendered.manifests:
        schemas.check(manifest, kubernetes=kubernetes)


@each_install
def test_rendering_is_golden(path: Path, request: pytest.FixtureRequest) -> None:
    """The rendered manifests equal the reviewed golden file."""
    golden = GOLDEN / f"{_name(path)}.yaml"
    hint = f"run `pytest tests/chart --write-golden` and review the changes of {golden.name}"
    text = summarize(chart.rendered(path))
    if request.config.getoption("--write-golden"):
        golden.write_text(text, encoding="utf-8")
    assert golden.exists(), hint
    assert text == golden.read_text(encoding="utf-8"), hint


def test_no_golden_file_is_left_over() -> None:
    """Each golden file belongs to a file in ci/."""
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
def test_arguments_are_valid(path: Path) -> None:
    """The command line accepts the arguments of the container, and its port is the one of the probes."""
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
    """Service, monitor, policy and budget select the exporter's pod and not the test pod."""
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
def test_every_object_has_a_namespace(path: Path) -> None:
    """Every object has its namespace, and no two have the same kind and name."""
    rendered = chart.rendered(path)
    places = [(m["kind"], m["metadata"]["namespace"], m["metadata"]["name"]) for m in rendered.manifests]
    assert len(places) == len(set(places))


@each_install
def test_notes_have_the_next_command(path: Path) -> None:
    """After an install, Helm prints how to check the exporter, and which settings are missing."""
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
def test_notes_depend_on_the_operator(*, operator: bool, hint: str) -> None:
    """The notes about scraping depend on whether the cluster has the Prometheus Operator."""
    assert hint in chart.render(chart.with_targets(), operator=operator).notes


def test_an_enabled_monitor_is_rendered_without_the_operator() -> None:
    """An enabled monitor is always rendered, even if Helm does not find the CRDs of the operator."""
    values = chart.values_of("kube-prometheus-stack")
    blind = chart.render(values, operator=False)
    assert blind.manifests == chart.render(values).manifests


def test_budget_lets_unready_pods_be_evicted() -> None:
    """From Kubernetes 1.27 on, a pod that is not ready does not block a drain."""
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
    """An install into a Kubernetes release that is too old fails before it changes anything."""
    if refused:
        with pytest.raises(helm.HelmError, match="chart requires kubeVersion"):
            installed(chart.with_targets(), kubernetes=kubernetes)
    else:
        assert installed(chart.with_targets(), kubernetes=kubernetes)["manifest"]


def test_long_names_stay_valid() -> None:
    """With the longest release name that Helm allows, all names fit the 63 characters of a DNS label."""
    rendered = chart.render(chart.with_targets(), name="r" * 53)
    for manifest in rendered.manifests:
        assert len(manifest["metadata"]["name"]) <= 63
    for _, labels in labelled(rendered):
        assert all(len(value) <= 63 for value in labels.values())


def test_chart_packages(tmp_path: Path) -> None:
    """The packaged chart renders the same, and does not contain ci/."""
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
    """A release with all features stays far below 1 MiB, the size limit of the Secret in which Helm stores it."""
    everything = chart.merged(chart.values_of("kube-prometheus-stack"), {"networkPolicy": {"enabled": True}})
    release = json.dumps(installed(everything, kubernetes=NEWEST)).encode()
    sources = b"".join(path.read_bytes() for path in sorted(PATH.rglob("*")) if path.is_file())
    stored = len(gzip.compress(release + sources)) * 4 / 3  # base64
    assert stored < 512 * 1024


def test_dashboards_can_be_applied() -> None:
    """Each ConfigMap has one dashboard file, and is below 256 KiB, the limit of the annotation of `kubectl apply`."""
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
    """Both appVersion and the image tag are the version of the exporter."""
    assert chart.load(PATH / "Chart.yaml")["appVersion"] == __version__
    image = chart.render(chart.with_targets()).container()["image"]
    assert image == f"ghcr.io/modelarts-exporter/modelarts-exporter:{__version__}"


def test_change_of_settings_restarts() -> None:
    """A change of the settings replaces the pod; a change of other values does not."""

    def pods(values: Json) -> str:
        return json.dumps(chart.render(values).pod())

    before = pods(chart.with_targets())
    assert pods(chart.with_targets(chart.target(api="v2"))) != before
    assert pods(chart.merged(chart.with_targets(), {"serviceMonitor": {"enabled": True}})) == before


def test_change_of_a_secret_restarts_only_for_variables() -> None:
    """Changed files are reloaded, so the pod is not replaced; changed variables need a new pod."""

    def pods(install: str, **data: str) -> str:
        return json.dumps(chart.render(chart.merged(chart.values_of(install), {"credentials": {"data": data}})).pod())

    assert pods("secret-created", password="a") == pods("secret-created", password="b")
    assert pods("secret-env", sk="a") != pods("secret-env", sk="b")


def test_settings_arrive_as_written() -> None:
    """Texts and numbers in the values keep their type and content in the settings file."""
    settings = {
        "targets": [chart.target(filters={"users": AWKWARD})],
        "metrics": {"max_series_per_project": 12_345_678, "idle_threshold": 0.000001},
    }
    text = chart.render({"config": settings}).one("ConfigMap")["data"]["config.yaml"]
    loaded = load(text, environ={})
    assert loaded.targets[0].filters.users == tuple(AWKWARD)
    assert loaded.metrics.max_series_per_project == 12_345_678
    assert loaded.metrics.idle_threshold_ratio == 0.000001
