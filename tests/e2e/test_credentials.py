"""Credentials from their source to a good poll, and what is shown when they change, run out or are missing."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.settings import Settings, load
from exporter.simulator import (
    ACCESS_KEY,
    DOMAIN,
    PASSWORD,
    POD_IDENTITY_TOKEN,
    PROJECT_ID,
    PROJECT_NAME,
    SECRET_KEY,
    USER,
    Options,
    Simulator,
)
from tests.clock import ManualClock
from tests.e2e.harness import AKSK, BY_PASSWORD, HERE, Rig, rig_for, settings_for
from tests.e2e.test_commands import finished, written

HOUR_S = 3600
DAY_S = 86_400
EXPIRY = "modelarts_exporter_credentials_expiry_timestamp_seconds"


def write(path: Path, text: str) -> None:
    """Replace a secret."""
    path.write_text(text, encoding="utf-8")


def remove(path: Path) -> None:
    """Take a secret away."""
    path.unlink()


def calls(rig: Rig, **labels: str) -> float:
    """How many calls were counted with these labels."""
    return sum(rig.samples("modelarts_exporter_api_requests_total", **labels).values())


async def polled(rig: Rig, clock: ManualClock, *, after_s: float = 30) -> float | None:
    """Let time pass and poll; whether it is up."""
    clock.turn(after_s)
    await rig.poll()
    return rig.value("modelarts_up")


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """The mounted secret."""
    path = tmp_path / "sk"
    path.write_text(SECRET_KEY + "\n")
    return path


async def test_a_rotated_key_is_used_from_the_next_call(
    cloud: Simulator, clock: ManualClock, secret_file: Path
) -> None:
    """When cloud and file go over to another secret key, the next poll signs with it; nothing was refused."""
    credentials = {**AKSK, "secret_key": f"${{file:{secret_file}}}"}
    async with rig_for(settings_for(cloud, api="v2", credentials=credentials), clock) as rig:
        assert await polled(rig, clock) == 1
        cloud.state.keys.rotate(secret_key="RotatedSecretKeyRotatedSecretKey00000002")
        write(secret_file, "RotatedSecretKeyRotatedSecretKey00000002\n")
        assert await polled(rig, clock) == 1
        assert calls(rig, outcome="denied") == 0


async def test_a_rotation_that_is_late_heals_after_the_pause(
    cloud: Simulator, clock: ManualClock, secret_file: Path
) -> None:
    """Until the file follows the cloud, two calls are refused and no more; the new file ends it at the next trial."""
    credentials = {**AKSK, "secret_key": f"${{file:{secret_file}}}"}
    async with rig_for(settings_for(cloud, api="v2", credentials=credentials), clock) as rig:
        assert await polled(rig, clock) == 1
        cloud.state.keys.rotate(secret_key="RotatedSecretKeyRotatedSecretKey00000002")
        for _ in range(8):
            assert await polled(rig, clock) == 0
        assert calls(rig, outcome="denied") == 2
        assert calls(rig, outcome="circuit_open") > 0
        write(secret_file, "RotatedSecretKeyRotatedSecretKey00000002")
        assert await polled(rig, clock, after_s=330) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(remove, id="missing"),
        pytest.param(lambda path: path.write_text(""), id="empty"),
        pytest.param(lambda path: path.write_bytes(b"\xff\x00"), id="binary"),
    ],
)
async def test_a_secret_that_cannot_be_read_any_more(
    cloud: Simulator, clock: ManualClock, secret_file: Path, spoil: object
) -> None:
    """Up is 0 and the outcome denied, in one sentence that names the key; nothing is sent; it ends with the file."""
    assert callable(spoil)
    credentials = {**AKSK, "secret_key": f"${{file:{secret_file}}}"}
    async with rig_for(settings_for(cloud, api="v2", credentials=credentials), clock) as rig:
        assert await polled(rig, clock) == 1
        spoil(secret_file)
        cloud.requests.clear()
        with capture_logs() as logs:
            assert await polled(rig, clock) == 0
        assert cloud.requests.count() == 0
        assert calls(rig, outcome="denied") > 0
        (failed,) = (line for line in logs if line["event"] == "poll.failed")
        assert failed["outcome"] == "denied"
        assert f"targets[0].credentials.secret_key: {secret_file}: " in failed["error"]
        write(secret_file, SECRET_KEY)
        assert await polled(rig, clock) == 1


async def test_a_permanent_key_has_no_expiry(cloud: Simulator, clock: ManualClock) -> None:
    """There is no expiry series where nothing expires."""
    async with rig_for(settings_for(cloud, api="v2"), clock) as rig:
        assert await polled(rig, clock) == 1
        assert rig.samples(EXPIRY) == {}


async def test_a_token_is_renewed_before_it_runs_out(cloud: Simulator, clock: ManualClock) -> None:
    """The expiry is a day after the purchase; at four fifths of it there is another one, and no call is refused."""
    async with rig_for(settings_for(cloud, api="v2", credentials=BY_PASSWORD), clock) as rig:
        bought_at = clock.time() + 30
        assert await polled(rig, clock) == 1
        assert rig.value(EXPIRY, project="vision") == bought_at + DAY_S
        assert await polled(rig, clock, after_s=0.79 * DAY_S) == 1
        assert rig.value(EXPIRY, project="vision") == bought_at + DAY_S
        assert await polled(rig, clock, after_s=0.02 * DAY_S) == 1
        assert rig.value(EXPIRY, project="vision") == pytest.approx(bought_at + 1.81 * DAY_S, abs=5)
        assert calls(rig, outcome="denied") == 0


@pytest.mark.parametrize("fault", ["500", "403", "hang:delay=1", "truncated", "429:retry_after=30", "204"])
async def test_a_failed_renewal_keeps_the_token_while_it_is_valid(
    cloud: Simulator, clock: ManualClock, fault: str
) -> None:
    """While IAM fails the old token serves to its end and its expiry stays; then up is 0, until IAM is back."""
    collection = {"timeout": "1s"}
    settings = settings_for(cloud, api="v2", credentials=BY_PASSWORD, collection=collection)
    async with rig_for(settings, clock) as rig:
        assert await polled(rig, clock) == 1
        expires_at = rig.value(EXPIRY, project="vision")
        assert expires_at is not None
        cloud.faults.add(fault if ":" in fault else f"{fault}:operation=iam.token")
        for each in cloud.faults:
            each.operation = "iam.token"
        clock.turn(0.8 * DAY_S)
        with capture_logs() as logs:
            await rig.poll()
        assert rig.value("modelarts_up") == 1
        assert [line["event"] for line in logs if line["log_level"] == "warning"].count(
            "credentials.refresh_failed"
        ) == 1
        assert await polled(rig, clock, after_s=expires_at - clock.time() - 5) == 1
        assert rig.value(EXPIRY, project="vision") == expires_at
        assert await polled(rig, clock, after_s=30) == 0
        assert rig.value(EXPIRY, project="vision") == expires_at
        cloud.faults.clear()
        assert await polled(rig, clock, after_s=330) == 1
        assert (rig.value(EXPIRY, project="vision") or 0) > expires_at


async def test_a_rotated_password_is_used_from_the_next_purchase(
    cloud: Simulator, clock: ManualClock, tmp_path: Path
) -> None:
    """A new password voids the tokens; the 401 buys one with the new password from the file, in the same poll."""
    path = tmp_path / "password"
    write(path, PASSWORD)
    credentials = {**BY_PASSWORD, "password": f"${{file:{path}}}"}
    async with rig_for(settings_for(cloud, api="v2", credentials=credentials), clock) as rig:
        assert await polled(rig, clock) == 1
        cloud.state.keys.rotate(password="rotated-password")
        write(path, "rotated-password")
        assert await polled(rig, clock) == 1
        assert cloud.requests.count("iam.token") == 2


async def test_a_wrong_password_is_not_tried_again_and_again(cloud: Simulator, clock: ManualClock) -> None:
    """Over an hour a refused password is tried twice, then once in 330 s: accounts are locked as keys are."""
    credentials = {**BY_PASSWORD, "password": "wrong"}
    async with rig_for(settings_for(cloud, api="auto", credentials=credentials), clock) as rig:
        for _ in range(120):
            assert await polled(rig, clock) == 0
        assert cloud.requests.count() == cloud.requests.count("iam.token")
        assert 2 <= cloud.requests.count() <= 2 + HOUR_S // 330


@pytest.mark.parametrize("quirks", [[], ["metadata-no-token"]], ids=["with-session", "without-session"])
async def test_the_nodes_agency(clock: ManualClock, quirks: list[str]) -> None:
    """The agency's key signs with its token, is replaced before it expires all day long, and no call is refused."""
    options = Options(empty=True, quirks=frozenset(quirks))
    async with Simulator(options, clock=clock) as cloud:
        place = replace(HERE, metadata_url=cloud.url)
        settings = settings_for(cloud, api="both", credentials={"type": "metadata"})
        async with rig_for(settings, clock, place=place) as rig:
            for _ in range(DAY_S // 600):
                clock.turn(600)
                await rig.poll()
                assert rig.publisher.newest.projects[0].up
                expires_at = rig.registry.get_sample_value(EXPIRY, {"project": "vision"})
                assert expires_at is not None
                assert 0 < expires_at - clock.time() <= HOUR_S
            assert calls(rig, outcome="denied") == 0
            # an hour's key is due after 48 minutes, when the node may still give the same one: twice an hour
            assert 24 <= cloud.requests.count("metadata.securitykey") <= 2 * 24
            assert cloud.requests.count("metadata.token") <= (2 * 24 if quirks else 6)


async def test_a_node_without_agency_is_denied_and_recovers(clock: ManualClock) -> None:
    """Without an agency up is 0, the outcome denied; when somebody gives it one the next poll succeeds."""
    options = Options(empty=True, quirks=frozenset({"metadata-no-agency"}))
    async with Simulator(options, clock=clock) as cloud:
        place = replace(HERE, metadata_url=cloud.url)
        settings = settings_for(cloud, api="v2", credentials={"type": "metadata"})
        async with rig_for(settings, clock, place=place) as rig:
            with capture_logs() as logs:
                assert await polled(rig, clock) == 0
            assert [line["outcome"] for line in logs if line["event"] == "poll.failed"] == ["denied"]
            assert rig.samples(EXPIRY) == {}
            cloud.quirks.off("metadata-no-agency")
            assert await polled(rig, clock) == 1


async def test_a_machine_without_metadata_service(cloud: Simulator, clock: ManualClock) -> None:
    """Where no metadata service answers, up is 0 and the calls for keys are unreachable."""
    async with rig_for(settings_for(cloud, api="v2", credentials={"type": "metadata"}), clock) as rig:
        assert await polled(rig, clock) == 0
        assert calls(rig, operation="metadata_token", outcome="unreachable") > 0
        assert cloud.requests.count() == 0


def in_a_pod(cloud: Simulator, token: Path) -> Settings:
    """Settings of a pod with an identity."""
    text = settings_text(cloud, "{type: pod_identity}")
    return load(text, environ=pod_environment(cloud, token))


def settings_text(cloud: Simulator, credentials: str) -> str:
    """A file with one target of v2."""
    return (
        f"targets: [{{project: vision, api: v2, project_id: '{PROJECT_ID}', endpoint: '{cloud.url}', "
        f"iam_endpoint: '{cloud.url}', credentials: {credentials}}}]"
    )


def pod_environment(cloud: Simulator, token: Path) -> Mapping[str, str]:
    """What CCE sets."""
    return {
        "HC_CONTAINER_CREDENTIALS_FULL_URI": f"{cloud.url}/pod-identity/credentials",
        "HC_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
    }


@pytest.fixture
def pod_token(tmp_path: Path) -> Path:
    """The token that is mounted into the pod."""
    path = tmp_path / "token"
    path.write_text(POD_IDENTITY_TOKEN)
    return path


async def test_the_pods_identity(cloud: Simulator, clock: ManualClock, pod_token: Path) -> None:
    """The pod's key signs, its expiry shows, and a rotated token is read when the key is due."""
    place = replace(HERE, environ=pod_environment(cloud, pod_token))
    async with rig_for(in_a_pod(cloud, pod_token), clock, place=place) as rig:
        obtained_at = clock.time() + 30
        assert await polled(rig, clock) == 1
        assert rig.value(EXPIRY, project="vision") == obtained_at + HOUR_S
        cloud.state.keys.pod_identity_token = "rotated-pod-token"
        write(pod_token, "rotated-pod-token")
        assert await polled(rig, clock, after_s=3000) == 1
        assert cloud.requests.count("identity.credentials") == 2
        assert calls(rig, outcome="denied") == 0


async def test_keys_that_are_void_early_are_fetched_again(
    cloud: Simulator, clock: ManualClock, pod_token: Path
) -> None:
    """When the cloud voids temporary keys before their time, the 401 fetches others, and the poll succeeds."""
    place = replace(HERE, environ=pod_environment(cloud, pod_token))
    async with rig_for(in_a_pod(cloud, pod_token), clock, place=place) as rig:
        assert await polled(rig, clock) == 1
        cloud.state.keys.expire_temporary()
        assert await polled(rig, clock) == 1
        assert calls(rig, outcome="denied") == 1


async def test_a_pods_token_that_is_gone(cloud: Simulator, clock: ManualClock, pod_token: Path) -> None:
    """Without its token the key serves to its end; then up is 0, denied, with the file in the sentence."""
    place = replace(HERE, environ=pod_environment(cloud, pod_token))
    async with rig_for(in_a_pod(cloud, pod_token), clock, place=place) as rig:
        assert await polled(rig, clock) == 1
        remove(pod_token)
        assert await polled(rig, clock, after_s=3500) == 1
        with capture_logs() as logs:
            assert await polled(rig, clock, after_s=300) == 0
        (failed,) = (line for line in logs if line["event"] == "poll.failed")
        assert failed["outcome"] == "denied"
        assert str(pod_token) in failed["error"]


VENDORS = {
    "HUAWEICLOUD_SDK_AK": ACCESS_KEY,
    "HUAWEICLOUD_SDK_SK": SECRET_KEY,
    "HUAWEICLOUD_SDK_PROJECT_ID": PROJECT_ID,
}
OPENSTACKS = {
    "OS_USERNAME": USER,
    "OS_PASSWORD": PASSWORD,
    "OS_USER_DOMAIN_NAME": DOMAIN,
    "OS_PROJECT_NAME": PROJECT_NAME,
}


@pytest.mark.parametrize(
    "kind, environ",
    [pytest.param("aksk", VENDORS, id="vendor"), pytest.param("password", OPENSTACKS, id="openstack")],
)
async def test_the_environments_names(
    cloud: Simulator, clock: ManualClock, kind: str, environ: Mapping[str, str]
) -> None:
    """With nothing but the type in the file, the names of the vendor's SDK and of OpenStack give all there is."""
    text = settings_text(cloud, f"{{type: {kind}}}").replace(f"project_id: '{PROJECT_ID}', ", "")
    async with rig_for(load(text, environ=environ), clock) as rig:
        assert await polled(rig, clock) == 1
        assert [dict(labels)["project_id"] for labels in rig.samples("modelarts_project_info")] == [PROJECT_ID]


@pytest.mark.parametrize(
    "credentials, sentence",
    [
        pytest.param(
            {**AKSK, "secret_key": "${file:/does/not/exist}"},
            "targets[0].credentials.secret_key: /does/not/exist",
            id="missing-file",
        ),
        pytest.param(
            {**AKSK, "secret_key": "${env:NO_SUCH_NAME}"},
            "targets[0].credentials.secret_key: ",
            id="missing-variable",
        ),
        pytest.param({"type": "aksk"}, "targets[0].credentials.access_key: ", id="no-key"),
        pytest.param({"type": "password"}, "targets[0].credentials.password: ", id="no-password"),
        pytest.param({"type": "pod_identity"}, "targets[0].credentials: pod_identity needs", id="no-pod"),
    ],
)
async def test_a_secret_that_is_missing_at_the_start(
    cloud: Simulator, tmp_path: Path, credentials: Mapping[str, str], sentence: str
) -> None:
    """The start ends with 2 and a sentence for each missing secret, and the cloud is not asked."""
    config = written(tmp_path, cloud, credentials=credentials)
    code, out, err = await finished("serve", f"--config.file={config}", env={"PATH": ""})
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err
    assert cloud.requests.count() == 0


async def test_redirects_take_no_credentials_along(cloud: Simulator, clock: ManualClock) -> None:
    """An answer that points elsewhere is a failure, whatever the credential; nobody asks there."""
    async with Simulator(Options(empty=True), clock=clock) as elsewhere:
        cloud.faults.add(f"redirect:operation=*,location={elsewhere.url}/v3/auth/tokens")
        for credentials in (AKSK, BY_PASSWORD):
            async with rig_for(settings_for(cloud, api="both", credentials=credentials), clock) as rig:
                assert await polled(rig, clock) == 0
                assert calls(rig, outcome="refused") > 0
        assert elsewhere.requests.count() == 0
