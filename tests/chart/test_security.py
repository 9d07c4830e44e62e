"""Permissions of the pods, and the objects that contain secrets."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart import chart
from tests.chart.chart import CI, Json, Rendered

RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
"""Kinds of volumes that the restricted Pod Security Standard allows."""

each_install = pytest.mark.parametrize("path", CI, ids=lambda path: path.stem.removesuffix("-values"))


def pods(rendered: Rendered) -> Iterator[Json]:
    """Specs of all pods of the release: of the Deployment and of the test."""
    yield rendered.pod()["spec"]
    for pod in rendered.of("Pod"):
        yield pod["spec"]


def violations(spec: Json) -> list[str]:
    """Violations of the restricted Pod Security Standard (as of Kubernetes 1.25 and newer) by a pod."""
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    found += [
        f"volume {v['name']}" for v in spec.get("volumes", []) if not (v.keys() - {"name"}) <= RESTRICTED_VOLUMES
    ]
    pod = spec.get("securityContext", {})
    found += ["sysctls"] if pod.get("sysctls") else []
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container.get("securityContext", {})
        either = {**pod, **own}
        found += ["privileged"] if own.get("privileged") else []
        found += ["allowPrivilegeEscalation"] if own.get("allowPrivilegeEscalation", True) else []
        found += ["capabilities.drop"] if "ALL" not in own.get("capabilities", {}).get("drop", []) else []
        found += (
            ["capabilities.add"] if set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"} else []
        )
        found += [] if either.get("runAsNonRoot") else ["runAsNonRoot"]
        found += ["runAsUser"] if either.get("runAsUser") == 0 else []
        found += (
            []
            if either.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"}
            else ["seccompProfile"]
        )
        found += ["hostPort"] if any(port.get("hostPort") for port in container.get("ports", [])) else []
    return found


@each_install
def test_pods_meet_the_restricted_standard(path: Path) -> None:
    """No file in ci/ needs more than the restricted Pod Security Standard allows."""
    for spec in pods(chart.rendered(path)):
        assert violations(spec) == []


@each_install
def test_pods_are_stricter_still(path: Path) -> None:
    """Beyond the standard: a read-only root, a numeric user, no service variables, a memory limit."""
    for spec in pods(chart.rendered(path)):
        assert spec["securityContext"]["runAsUser"] == 65532
        assert spec["enableServiceLinks"] is False
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize(
    "change, breach",
    [
        pytest.param(
            {"securityContext": {"allowPrivilegeEscalation": True}}, "allowPrivilegeEscalation", id="escalation"
        ),
        pytest.param({"securityContext": {"capabilities": {"drop": []}}}, "capabilities.drop", id="capabilities"),
        pytest.param({"podSecurityContext": {"runAsNonRoot": False}}, "runAsNonRoot", id="root"),
        pytest.param(
            {"podSecurityContext": {"seccompProfile": {"type": "Unconfined"}}}, "seccompProfile", id="seccomp"
        ),
        pytest.param({"extraVolumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "volume host", id="volume"),
    ],
)
def test_the_check_finds_violations(change: Json, breach: str) -> None:
    """`violations` reports values that weaken the pod."""
    spec = chart.render(chart.merged(chart.with_targets(), change)).pod()["spec"]
    assert violations(spec) == [breach]


@each_install
def test_token_is_mounted_for_pod_identity_only(path: Path) -> None:
    """Only a pod with a pod identity gets a service account token, and no role grants it permissions."""
    rendered = chart.rendered(path)
    assert rendered.pod()["spec"]["automountServiceAccountToken"] is (path.stem == "pod-identity-values")
    assert all(account["automountServiceAccountToken"] is False for account in rendered.of("ServiceAccount"))
    assert all(pod["spec"]["automountServiceAccountToken"] is False for pod in rendered.of("Pod"))
    assert not [made for made in rendered.manifests if "Role" in made["kind"]]


@pytest.mark.parametrize("install", ["secret-created", "secret-env"])
def test_secrets_are_only_in_the_secret(install: str) -> None:
    """The content of credentials.data is in the Secret, and in no other object or in the notes."""
    rendered = chart.render(chart.values_of(install))
    others = json.dumps([made for made in rendered.manifests if made["kind"] != "Secret"]) + rendered.notes
    for text in chart.values_of(install)["credentials"]["data"].values():
        assert text not in others


def test_credentials_are_a_whole_directory() -> None:
    """The Secret is mounted as a directory readable by the exporter's group only: a subPath is never updated."""
    rendered = chart.render(chart.values_of("secret-files"))
    (mount,) = [m for m in rendered.container()["volumeMounts"] if m["name"] == "credentials"]
    assert mount == {"name": "credentials", "mountPath": "/var/run/secrets/modelarts-exporter", "readOnly": True}
    (volume,) = [v for v in rendered.pod()["spec"]["volumes"] if v["name"] == "credentials"]
    assert volume["secret"] == {"secretName": "modelarts-credentials", "defaultMode": 0o440}
    assert rendered.pod()["spec"]["securityContext"]["fsGroup"] == 65532


def policy(*changes: Json, install: str = "node-agency") -> Json:
    """Spec of the NetworkPolicy of an install, with changed values."""
    values = chart.merged(chart.values_of(install), *changes)
    spec = chart.render(values).one("NetworkPolicy")["spec"]
    assert isinstance(spec, dict)
    return spec


def test_only_prometheus_and_the_test_may_connect() -> None:
    """The policy allows ingress from the monitoring namespace and the test pod to one port. It covers egress too."""
    spec = policy()
    (rule,) = spec["ingress"]
    test = chart.render(chart.values_of("node-agency")).one("Pod")["metadata"]["labels"]
    namespace, own = rule["from"]
    assert namespace == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert own["podSelector"]["matchLabels"].items() <= test.items()
    assert rule["ports"] == [{"port": "http", "protocol": "TCP"}]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert len(policy({"helmTest": {"enabled": False}})["ingress"][0]["from"]) == 1


def test_only_the_cloud_and_dns_are_reachable() -> None:
    """The policy allows egress to port 443, DNS, and the metadata service if a target uses it; in the demo none."""
    ports = [sorted({port["port"] for port in rule["ports"]}) for rule in policy()["egress"]]
    assert ports == [[443], [53], [80]]
    assert policy()["egress"][2]["to"] == [{"ipBlock": {"cidr": "169.254.169.254/32"}}]
    with_key = chart.merged(chart.values_of("secret-files"), {"networkPolicy": {"enabled": True}})
    assert len(chart.render(with_key).one("NetworkPolicy")["spec"]["egress"]) == 2
    assert policy(install="demo")["egress"] == []
