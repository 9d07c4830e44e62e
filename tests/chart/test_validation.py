"""Invalid values are rejected, each with a sentence that names the fix."""

from typing import Any

import helm_python as helm
import pytest

from tests.chart import chart
from tests.chart.chart import PATH, Json

MOUNT = "/var/run/secrets/modelarts-exporter"
AKSK = {"type": "aksk", "access_key": f"${{file:{MOUNT}/ak}}", "secret_key": f"${{file:{MOUNT}/sk}}"}

HASH = "$2b$04$JPfshvThf/oxXTEBldw5eOV276R9j13TC64Ev6ilV1SymXj3O11aS"
MORE: list[tuple[str, Json, str]] = [
    (
        "claim-unused",
        {"persistence": {"existingClaim": "c"}},
        "existingClaim is not used without persistence.enabled",
    ),
    (
        "claim-stays-empty",
        {"persistence": {"enabled": True}, "config": {"state": {"file": "/elsewhere/state.json"}}},
        'a volume that stays empty: config.state.file is "/elsewhere/state.json"',
    ),
    (
        "claim-for-several",
        {"persistence": {"enabled": True}, "replicas": 2},
        "each would overwrite what the others counted",
    ),
    (
        "state-in-no-volume",
        {"config": {"state": {"file": "/nowhere/state.json"}}},
        "where no volume is and nothing can be written",
    ),
    (
        "users-twice",
        {"web": {"configSecret": "w", "basicAuth": {"users": {"u": HASH}, "clientSecret": "l"}}},
        "web.configSecret and web.basicAuth.users contradict each other",
    ),
    ("users-lock-out", {"web": {"basicAuth": {"users": {"u": HASH}}}}, "would lock out Prometheus and the probes"),
    ("login-for-nothing", {"web": {"basicAuth": {"clientSecret": "l"}}}, "logs in where nobody is asked to"),
    ("certificate-without-tls", {"web": {"tls": {"clientSecret": "c"}}}, "mean nothing without TLS"),
    (
        "certificates-lock-out",
        {"web": {"tls": {"existingSecret": "t", "clientAuthType": "RequireAndVerifyClientCert"}}},
        "RequireAndVerifyClientCert would lock out",
    ),
]
"""A name, values to merge with one target, and the error message."""


def with_target(**changes: Any) -> Json:
    """Values with one target and an existing Secret."""
    return chart.merged(
        chart.with_targets(chart.target(**changes)), {"credentials": {"existingSecret": "modelarts-credentials"}}
    )


@pytest.mark.parametrize(
    "values, sentence",
    [
        pytest.param({}, "Nothing to monitor: set config.targets", id="no-targets"),
        pytest.param(
            {"demo": {"enabled": True}, "persistence": {"enabled": True}},
            "the demo keeps no state",
            id="claim-for-demo",
        ),
        pytest.param(
            {"demo": {"enabled": True}, "web": {"tls": {"existingSecret": "t"}}},
            "The demo serves plain HTTP to anybody",
            id="tls-for-demo",
        ),
        pytest.param(
            chart.merged(chart.with_targets(), {"demo": {"enabled": True}}),
            "demo.enabled and config.targets contradict each other",
            id="demo-and-targets",
        ),
        pytest.param(
            chart.merged(chart.with_targets(), {"credentials": {"existingSecret": "a", "data": {"b": "c"}}}),
            "credentials.existingSecret and credentials.data contradict each other",
            id="two-secrets",
        ),
        pytest.param(
            chart.merged(chart.with_targets(), {"credentials": {"env": {"OS_PASSWORD": "password"}}}),
            "credentials.env takes variables from a Secret, but there is none",
            id="variables-of-no-secret",
        ),
        pytest.param(
            chart.merged(
                chart.with_targets(), {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}
            ),
            "would scrape everything twice",
            id="two-monitors",
        ),
        pytest.param(
            chart.merged(chart.with_targets(), {"podDisruptionBudget": {"enabled": True}}),
            "podDisruptionBudget.enabled needs replicas of 2 or more",
            id="budget-for-one",
        ),
        pytest.param(
            with_target(credentials={**AKSK, "secret_key": "an-invented-secret-key"}),
            r"config.targets\[0\].credentials.secret_key would stand in a ConfigMap",
            id="secret-key-in-settings",
        ),
        pytest.param(
            with_target(credentials={**AKSK, "security_token": "an-invented-token"}),
            r"config.targets\[0\].credentials.security_token would stand in a ConfigMap",
            id="token-in-settings",
        ),
        pytest.param(
            with_target(
                credentials={"type": "password", "username": "u", "password": "invented", "domain_name": "d"}
            ),
            r"config.targets\[0\].credentials.password would stand in a ConfigMap",
            id="password-in-settings",
        ),
        pytest.param(
            with_target(proxy="http://user:invented@proxy.example:3128"),
            r"config.targets\[0\].proxy holds a password",
            id="password-in-proxy",
        ),
        pytest.param(
            chart.with_targets(chart.target(credentials=AKSK)), "but no Secret has a key", id="file-of-no-secret"
        ),
        pytest.param(
            chart.merged(chart.with_targets(chart.target(credentials=AKSK)), {"credentials": {"data": {"ak": "a"}}}),
            rf"config refers to \${{file:{MOUNT}/sk}}, but no Secret has a key \"sk\"",
            id="file-of-another-key",
        ),
        *(
            pytest.param(chart.merged(chart.with_targets(), values), sentence, id=id_)
            for id_, values, sentence in MORE
        ),
    ],
)
def test_contradictory_values_are_refused(values: Json, sentence: str) -> None:
    """Rendering refuses values that the schema cannot check, before anything reaches the cluster."""
    with pytest.raises(helm.HelmError, match=sentence):
        chart.render(values)


@pytest.mark.parametrize(
    "proxy",
    [
        pytest.param("http://proxy.example:3128", id="nobody"),
        pytest.param("http://user@proxy.example:3128", id="user-only"),
        pytest.param(f"http://user:${{file:{MOUNT}/proxy}}@proxy.example:3128", id="reference"),
        pytest.param(f"${{file:{MOUNT}/proxy}}", id="whole-reference"),
    ],
)
def test_proxy_without_a_password_is_accepted(proxy: str) -> None:
    """The URL of a proxy is not a secret unless it has a password."""
    assert chart.render(with_target(proxy=proxy)).manifests


@pytest.mark.parametrize(
    "values, path",
    [
        pytest.param({"relicas": 2}, "relicas", id="top"),
        pytest.param({"image": {"repo": "x"}}, "/image", id="nested"),
        pytest.param({"config": {"target": []}}, "/config", id="settings"),
        pytest.param(chart.with_targets(chart.target(regoin="eu-de")), "/config/targets/0", id="target"),
        pytest.param(chart.with_targets(chart.target(project_id="short")), "project_id", id="project-id"),
        pytest.param({"config": {"collection": {"jobs_interval": "30"}}}, "jobs_interval", id="duration"),
        pytest.param({"prometheusRule": {"alerts": {"ModelArtsJobFailed": {}}}}, "ModelArtsJobFailed", id="alert"),
        pytest.param({"prometheusRule": {"groups": {"training": {}}}}, "training", id="group"),
        pytest.param(
            {"prometheusRule": {"alerts": {"ModelArtsTrainingJobFailed": {"threshold": "30m"}}}},
            "ModelArtsTrainingJobFailed/threshold",
            id="threshold-of-another-kind",
        ),
        pytest.param(
            {"prometheusRule": {"alerts": {"ModelArtsTargetDown": {"for": "1m"}}}},
            "ModelArtsTargetDown",
            id="for-is-the-threshold",
        ),
        pytest.param({"replicas": "two"}, "/replicas", id="type"),
        pytest.param({"image": {"digest": "latest"}}, "/image/digest", id="digest"),
        pytest.param({"log": {"level": "loud"}}, "/log/level", id="vocabulary"),
        pytest.param({"serviceMonitor": {"interval": "often"}}, "/serviceMonitor/interval", id="interval"),
        pytest.param(
            {"web": {"basicAuth": {"users": {"u": "an-invented-password"}}}}, "/users/u", id="password-for-hash"
        ),
        pytest.param({"web": {"basicAuth": {"users": {"u:v": HASH}}}}, "u:v", id="colon-in-user"),
        pytest.param({"persistence": {"accessModes": ["ReadOnlyMany"]}}, "/accessModes/0", id="read-only"),
        pytest.param({"networkPolicy": {"cloudCidrs": []}}, "/networkPolicy/cloudCidrs", id="empty-means-anywhere"),
    ],
)
def test_schema_refuses(values: Json, path: str) -> None:
    """The error names the path of an unknown key or invalid value, in `config` too."""
    with pytest.raises(helm.HelmValuesError, match=path):
        chart.render(chart.merged({"demo": {"enabled": True}}, values))
    report = helm.lint(PATH, values, strict=True)
    assert any(message["severity"] == 3 for message in report["messages"])


def test_global_values_are_accepted() -> None:
    """`global`, which Helm passes to every subchart, is accepted."""
    assert chart.render(chart.merged(chart.with_targets(), {"global": {"cluster": "blue"}})).manifests
