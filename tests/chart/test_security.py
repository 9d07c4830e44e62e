"""What the pods may do, and what stands where everybody can read it."""

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
    """Specs of every pod of the release: the Deployment's and the test's."""
    yield rendered.pod()["spec"]
    for pod in rendered.of("Pod"):
        yield pod["spec"]


def breaches(spec: Json) -> list[str]:
    """What the restricted Pod Security Standard (as of Kubernetes 1.25 and newer) says against a pod."""
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
    """No supported way to install needs more than the restricted Pod Security Standard allows."""
    for spec in pods(chart.rendered(path)):
        assert breaches(spec) == []


@each_install
def test_pods_are_stricter_still(path: Path) -> None:
    """Beyond the standard: a read-only root, a number as the user, no variables of other services, a memory limit."""
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
def test_standard_is_really_checked(change: Json, breach: str) -> None:
    """Values that loosen the pod are noticed by the check that the tests above rest on."""
    spec = chart.render(chart.merged(chart.watching(), change)).pod()["spec"]
    assert breaches(spec) == [breach]


@each_install
def test_token_is_mounted_for_pod_identity_only(path: Path) -> None:
    """Only a pod that asks the cloud by its own identity gets a token of the cluster; nobody gets rights there."""
    rendered = chart.rendered(path)
    assert rendered.pod()["spec"]["automountServiceAccountToken"] is (path.stem == "pod-identity-values")
    assert all(account["automountServiceAccountToken"] is False for account in rendered.of("ServiceAccount"))
    assert all(pod["spec"]["automountServiceAccountToken"] is False for pod in rendered.of("Pod"))
    assert not [made for made in rendered.manifests if "Role" in made["kind"]]


@pytest.mark.parametrize("install", ["secret-created", "secret-env"])
def test_secrets_stand_in_the_secret_only(install: str) -> None:
    """What credentials.data holds is found in the Secret, and in no other object or note."""
    rendered = chart.render(chart.values_of(install))
    others = json.dumps([made for made in rendered.manifests if made["kind"] != "Secret"]) + rendered.notes
    for text in chart.values_of(install)["credentials"]["data"].values():
        assert text not in others


def test_credentials_are_a_whole_directory() -> None:
    """The Secret is mounted as a directory that only the exporter's group reads; single files would never change."""
    rendered = chart.render(chart.values_of("secret-files"))
    (mount,) = [m for m in rendered.container()["volumeMounts"] if m["name"] == "credentials"]
    assert mount == {"name": "credentials", "mountPath": "/var/run/secrets/modelarts-exporter", "readOnly": True}
    (volume,) = [v for v in rendered.pod()["spec"]["volumes"] if v["name"] == "credentials"]
    assert volume["secret"] == {"secretName": "modelarts-credentials", "defaultMode": 0o440}
    assert rendered.pod()["spec"]["securityContext"]["fsGroup"] == 65532


def policy(*changes: Json, install: str = "node-agency") -> Json:
    """The spec of the NetworkPolicy of an install, with these values over its own."""
    values = chart.merged(chart.values_of(install), *changes)
    spec = chart.render(values).one("NetworkPolicy")["spec"]
    assert isinstance(spec, dict)
    return spec


def test_only_prometheus_and_the_test_get_in() -> None:
    """The policy lets in the monitoring namespace and the test pod, to the one port; and governs both directions."""
    spec = policy()
    (rule,) = spec["ingress"]
    test = chart.render(chart.values_of("node-agency")).one("Pod")["metadata"]["labels"]
    namespace, own = rule["from"]
    assert namespace == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert own["podSelector"]["matchLabels"].items() <= test.items()
    assert rule["ports"] == [{"port": "http", "protocol": "TCP"}]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert len(policy({"helmTest": {"enabled": False}})["ingress"][0]["from"]) == 1


def test_only_the_cloud_and_names_are_reached() -> None:
    """The policy lets out port 443 and DNS; the metadata service where a target asks it; in the demo nothing."""
    ports = [sorted({port["port"] for port in rule["ports"]}) for rule in policy()["egress"]]
    assert ports == [[443], [53], [80]]
    assert policy()["egress"][2]["to"] == [{"ipBlock": {"cidr": "169.254.169.254/32"}}]
    with_key = chart.merged(chart.values_of("secret-files"), {"networkPolicy": {"enabled": True}})
    assert len(chart.render(with_key).one("NetworkPolicy")["spec"]["egress"]) == 2
    assert policy(install="demo")["egress"] == []
