"""Volumes of the pod for the state file and the credentials, and how a kubelet updates them."""

import json
from pathlib import Path

import pytest

from exporter.polling.statefile import StateFile
from exporter.settings import Settings, load
from tests.chart import chart, pod
from tests.chart.chart import Json, Rendered

MOUNT = "/var/lib/modelarts-exporter"


def settings(release: Rendered) -> Settings:
    """The content of the settings file in the pod."""
    return load(release.one("ConfigMap")["data"]["config.yaml"], environ={})


def volume(release: Rendered) -> Json | None:
    """The volume of the state file; None if the pod has none."""
    container = release.container()
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    found = [v for v in release.pod()["spec"]["volumes"] if v["name"] == "state"]
    assert ("state" in mounts) == bool(found)
    if not found:
        return None
    assert mounts["state"] == MOUNT
    assert isinstance(found[0], dict)
    return found[0]


@pytest.mark.parametrize(
    "values, source",
    [
        pytest.param({}, {"emptyDir": {}}, id="default"),
        pytest.param(
            {"persistence": {"enabled": True}},
            {"persistentVolumeClaim": {"claimName": "modelarts-exporter-state"}},
            id="claim",
        ),
        pytest.param(
            {"persistence": {"enabled": True, "existingClaim": "ours"}},
            {"persistentVolumeClaim": {"claimName": "ours"}},
            id="existing-claim",
        ),
    ],
)
def test_state_file_is_in_a_volume(values: Json, source: Json) -> None:
    """The state file of the settings is in the volume of the values, which belongs to the exporter's group."""
    release = chart.render(chart.merged(chart.with_targets(), values))
    assert settings(release).state.file == f"{MOUNT}/state.json"
    assert volume(release) == {"name": "state", **source}
    claims = [claim["metadata"]["name"] for claim in release.of("PersistentVolumeClaim")]
    assert claims == (["modelarts-exporter-state"] if "-state" in json.dumps(source) else [])
    assert release.pod()["spec"]["securityContext"]["fsGroup"] == 65532


@pytest.mark.parametrize(
    "file, kept",
    [
        pytest.param("", False, id="off"),
        pytest.param(f"{MOUNT}/deeper.json", True, id="another-name"),
        pytest.param("/other/state.json", False, id="another-volume"),
        pytest.param("${env:STATE_FILE}", False, id="reference"),
    ],
)
def test_configured_state_file_is_kept(file: str, *, kept: bool) -> None:
    """`config.state.file` is not changed; the chart adds a volume only if the file is in it."""
    values = {
        "config": {"state": {"file": file}},
        "extraVolumes": [{"name": "other", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "other", "mountPath": "/other"}],
    }
    release = chart.render(chart.merged(chart.with_targets(), values))
    assert json.loads(release.one("ConfigMap")["data"]["config.yaml"])["state"]["file"] == file
    assert (volume(release) is not None) is kept


def test_claim_has_the_configured_fields() -> None:
    """The claim has size, class, modes and annotations of the values; without a class it gets the default."""
    values = {"persistence": {"enabled": True, "accessModes": ["ReadWriteOncePod"], "size": "500Mi"}}
    spec = chart.render(chart.merged(chart.with_targets(), values)).one("PersistentVolumeClaim")["spec"]
    assert spec == {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "500Mi"}}}
    claim = chart.render(chart.values_of("persistence")).one("PersistentVolumeClaim")
    assert claim["spec"]["storageClassName"] == "csi-disk"
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


@pytest.mark.parametrize("mode", ["ReadWriteOnce", "ReadWriteMany"])
def test_two_pods_never_share_a_claim(mode: str) -> None:
    """With a claim, the old pod ends before the new one starts: both would write one file, or one cannot start."""
    values = {"persistence": {"enabled": True, "accessModes": [mode]}}
    release = chart.render(chart.merged(chart.with_targets(), values))
    assert release.one("Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_demo_has_no_state() -> None:
    """The demo has no settings and no state, so it has no volumes for them."""
    assert "volumes" not in chart.render({"demo": {"enabled": True}}).pod()["spec"]


def test_state_is_written_to_a_writable_mount(tmp_path: Path) -> None:
    """The state file can be written and read in the layout of the pod, and is in no read-only mount."""
    release = chart.render(chart.values_of("persistence"))
    loaded = load(pod.files(release, folder=tmp_path).read_text(encoding="utf-8"), environ={})
    StateFile(Path(loaded.state.file)).save({})
    assert StateFile(Path(loaded.state.file)).load() == ({}, "")
    (mount,) = [m for m in release.container()["volumeMounts"] if m["name"] == "state"]
    assert "readOnly" not in mount


def bring(folder: Path, version: str, secret: dict[str, str]) -> None:
    """Write the files of a Secret as a kubelet does: into a new folder, then it replaces one symbolic link."""
    (folder / version).mkdir()
    for key, text in secret.items():
        (folder / version / key).write_text(text, encoding="utf-8")
    swapped = folder / "..data_tmp"
    swapped.symlink_to(version)
    swapped.replace(folder / "..data")
    for key in secret:
        (folder / key).unlink(missing_ok=True)
        (folder / key).symlink_to(f"..data/{key}")


def test_rotated_secret_is_read_again(tmp_path: Path) -> None:
    """After the kubelet has replaced the files of a Secret, the next read returns the new key."""
    release = chart.render(chart.values_of("secret-files"))
    config = pod.files(release, folder=tmp_path)
    place = Path(pod.moved("/var/run/secrets/modelarts-exporter", folder=tmp_path))
    bring(place, "..2026_01", {"access-key": "AN-OLD-KEY", "secret-key": "an-old-secret"})
    credentials = load(config.read_text(encoding="utf-8"), environ={}).targets[0].credentials
    seen = []
    for version, age in (("..2026_02", "NEW"), ("..2026_03", "NEWER")):
        seen.append(credentials.access_key.reveal())  # type: ignore[union-attr] # the install has a key pair
        bring(place, version, {"access-key": f"A-{age}-KEY", "secret-key": "an-invented-secret"})
    seen.append(credentials.access_key.reveal())  # type: ignore[union-attr] # as above
    assert seen == ["AN-OLD-KEY", "A-NEW-KEY", "A-NEWER-KEY"]
