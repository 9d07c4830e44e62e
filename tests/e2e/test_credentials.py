"""Credentials from their source to a successful poll, and the result when they change, expire or are missing."""

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
from tests.e2e.harness import AKSK, BARE_HOST, BY_PASSWORD, Harness, harness_for, settings_for
from tests.e2e.test_commands import run_command, write_config

HOUR_S = 3600
DAY_S = 86_400
EXPIRY = "modelarts_exporter_credentials_expiry_timestamp_seconds"


def write(path: Path, text: str) -> None:
    """Replace a secret."""
    path.write_text(text, encoding="utf-8")


def remove(path: Path) -> None:
    """Remove a secret."""
    path.unlink()


def calls(harness: Harness, **labels: str) -> float:
    """Number of counted calls with these labels."""
    return sum(harness.samples("modelarts_exporter_api_requests_total", **labels).values())


async def poll_after(harness: Harness, clock: ManualClock, *, after_s: float = 30) -> float | None:
    """Advance time and poll. Returns `modelarts_up`."""
    clock.turn(after_s)
    await harness.poll()
    return harness.value("modelarts_up")


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """The mounted secret key."""
    path = tmp_path / "sk"
    path.write_text(SECRET_KEY + "\n")
    return path


async def test_a_rotated_key_is_used_from_the_next_call(
    cloud: Simulator, clock: ManualClock, secret_file: Path
) -> None:
    """When API and file change to another secret key, the next poll signs with it, without a refused call."""
    credentials = {**AKSK, "secret_key": f"${{file:{secret_file}}}"}
    async with harness_for(settings_for(cloud, api="v2", credentials=credentials), clock) as harness:
        assert await poll_after(harness, clock) == 1
        cloud.state.keys.rotate(secret_key="RotatedSecretKeyRotatedSecretKey00000002")
        write(secret_file, "RotatedSecretKeyRotatedSecretKey00000002\n")
        assert await poll_after(harness, clock) == 1
        assert calls(harness, outcome="denied") == 0


async def test_a_late_rotation_recovers_after_the_pause(
    cloud: Simulator, clock: ManualClock, secret_file: Path
) -> None:
    """Until the file has the new key, two calls are refused; the next trial reads the new file and succeeds."""
    credentials = {**AKSK, "secret_key": f"${{file:{secret_file}}}"}
    async with harness_for(settings_for(cloud, api="v2", credentials=credentials), clock) as harness:
        assert await poll_after(harness, clock) == 1
        cloud.state.keys.rotate(secret_key="RotatedSecretKeyRotatedSecretKey00000002")
        for _ in range(8):
            assert await poll_after(harness, clock) == 0
        assert calls(harness, outcome="denied") == 2
        assert calls(harness, outcome="circuit_open") > 0
        write(secret_file, "RotatedSecretKeyRotatedSecretKey00000002")
        assert await poll_after(harness, clock, after_s=330) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(remove, id="missing"),
        pytest.param(lambda path: path.write_text(""), id="empty"),
        pytest.param(lambda path: path.write_bytes(b"\xff\x00"), id="binary"),
    ],
)
async def test_an_unreadable_secret(cloud: Simulator, clock: ManualClock, secret_file: Path, spoil: object) -> None:
    """Up is 0 with the outcome denied and one sentence; no call is made; it ends with a readable file."""
    assert callable(spoil)
    credentials = {**AKSK, "secret_key": f"${{file:{secret_file}}}"}
    async with harness_for(settings_for(cloud, api="v2", credentials=credentials), clock) as harness:
        assert await poll_after(harness, clock) == 1
        spoil(secret_file)
        cloud.requests.clear()
        with capture_logs() as logs:
            assert await poll_after(harness, clock) == 0
        assert cloud.requests.count() == 0
        assert calls(harness, outcome="denied") > 0
        (failed,) = (line for line in logs if line["event"] == "poll.failed")
        assert failed["outcome"] == "denied"
        assert f"targets[0].credentials.secret_key: {secret_file}: " in failed["error"]
        write(secret_file, SECRET_KEY)
        assert await poll_after(harness, clock) == 1


async def test_a_permanent_key_has_no_expiry(cloud: Simulator, clock: ManualClock) -> None:
    """Credentials without an expiry have no expiry series."""
    async with harness_for(settings_for(cloud, api="v2"), clock) as harness:
        assert await poll_after(harness, clock) == 1
        assert harness.samples(EXPIRY) == {}


async def test_a_token_is_renewed_before_it_expires(cloud: Simulator, clock: ManualClock) -> None:
    """A token is valid for a day and renewed after four fifths of it; no call is refused."""
    async with harness_for(settings_for(cloud, api="v2", credentials=BY_PASSWORD), clock) as harness:
        bought_at = clock.time() + 30
        assert await poll_after(harness, clock) == 1
        assert harness.value(EXPIRY, project="vision") == bought_at + DAY_S
        assert await poll_after(harness, clock, after_s=0.79 * DAY_S) == 1
        assert harness.value(EXPIRY, project="vision") == bought_at + DAY_S
        assert await poll_after(harness, clock, after_s=0.02 * DAY_S) == 1
        assert harness.value(EXPIRY, project="vision") == pytest.approx(bought_at + 1.81 * DAY_S, abs=5)
        assert calls(harness, outcome="denied") == 0


@pytest.mark.parametrize("fault", ["500", "403", "hang:delay=1", "truncated", "429:retry_after=30", "204"])
async def test_a_failed_renewal_keeps_the_token_while_it_is_valid(
    cloud: Simulator, clock: ManualClock, fault: str
) -> None:
    """While IAM fails, the old token is used until it expires; then up is 0 until IAM is back."""
    collection = {"timeout": "1s"}
    settings = settings_for(cloud, api="v2", credentials=BY_PASSWORD, collection=collection)
    async with harness_for(settings, clock) as harness:
        assert await poll_after(harness, clock) == 1
        expires_at = harness.value(EXPIRY, project="vision")
        assert expires_at is not None
        cloud.faults.add(fault if ":" in fault else f"{fault}:operation=iam.token")
        for each in cloud.faults:
            each.operation = "iam.token"
        clock.turn(0.8 * DAY_S)
        with capture_logs() as logs:
            await harness.poll()
        assert harness.value("modelarts_up") == 1
        assert [line["event"] for line in logs if line["log_level"] == "warning"].count(
            "credentials.refresh_failed"
        ) == 1
        assert await poll_after(harness, clock, after_s=expires_at - clock.time() - 5) == 1
        assert harness.value(EXPIRY, project="vision") == expires_at
        assert await poll_after(harness, clock, after_s=30) == 0
        assert harness.value(EXPIRY, project="vision") == expires_at
        cloud.faults.clear()
        assert await poll_after(harness, clock, after_s=330) == 1
        assert (harness.value(EXPIRY, project="vision") or 0) > expires_at


async def test_a_rotated_password_is_used_for_the_next_token(
    cloud: Simulator, clock: ManualClock, tmp_path: Path
) -> None:
    """A new password invalidates the tokens; after the 401 the same poll gets a token with the new password."""
    path = tmp_path / "password"
    write(path, PASSWORD)
    credentials = {**BY_PASSWORD, "password": f"${{file:{path}}}"}
    async with harness_for(settings_for(cloud, api="v2", credentials=credentials), clock) as harness:
        assert await poll_after(harness, clock) == 1
        cloud.state.keys.rotate(password="rotated-password")
        write(path, "rotated-password")
        assert await poll_after(harness, clock) == 1
        assert cloud.requests.count("iam.token") == 2


async def test_a_wrong_password_is_rarely_tried_again(cloud: Simulator, clock: ManualClock) -> None:
    """A refused password is tried twice, then once in 330 s, so that the account is not locked."""
    credentials = {**BY_PASSWORD, "password": "wrong"}
    async with harness_for(settings_for(cloud, api="auto", credentials=credentials), clock) as harness:
        for _ in range(120):
            assert await poll_after(harness, clock) == 0
        assert cloud.requests.count() == cloud.requests.count("iam.token")
        assert 2 <= cloud.requests.count() <= 2 + HOUR_S // 330


@pytest.mark.parametrize("quirks", [[], ["metadata-no-token"]], ids=["with-session", "without-session"])
async def test_the_nodes_agency(clock: ManualClock, quirks: list[str]) -> None:
    """The agency's key signs with its token and is renewed before it expires for a day; no call is refused."""
    options = Options(empty=True, quirks=frozenset(quirks))
    async with Simulator(options, clock=clock) as cloud:
        host = replace(BARE_HOST, metadata_url=cloud.url)
        settings = settings_for(cloud, api="both", credentials={"type": "metadata"})
        async with harness_for(settings, clock, host=host) as harness:
            for _ in range(DAY_S // 600):
                clock.turn(600)
                await harness.poll()
                assert harness.publisher.newest.projects[0].up
                expires_at = harness.registry.get_sample_value(EXPIRY, {"project": "vision"})
                assert expires_at is not None
                assert 0 < expires_at - clock.time() <= HOUR_S
            assert calls(harness, outcome="denied") == 0
            # renewed after 48 of 60 minutes, when the node may return the same key again: at most twice an hour
            assert 24 <= cloud.requests.count("metadata.securitykey") <= 2 * 24
            assert cloud.requests.count("metadata.token") <= (2 * 24 if quirks else 6)


async def test_a_node_without_agency_is_denied_and_recovers(clock: ManualClock) -> None:
    """Without an agency up is 0 with the outcome denied; once it has one, the next poll succeeds."""
    options = Options(empty=True, quirks=frozenset({"metadata-no-agency"}))
    async with Simulator(options, clock=clock) as cloud:
        host = replace(BARE_HOST, metadata_url=cloud.url)
        settings = settings_for(cloud, api="v2", credentials={"type": "metadata"})
        async with harness_for(settings, clock, host=host) as harness:
            with capture_logs() as logs:
                assert await poll_after(harness, clock) == 0
            assert [line["outcome"] for line in logs if line["event"] == "poll.failed"] == ["denied"]
            assert harness.samples(EXPIRY) == {}
            cloud.quirks.off("metadata-no-agency")
            assert await poll_after(harness, clock) == 1


async def test_a_machine_without_metadata_service(cloud: Simulator, clock: ManualClock) -> None:
    """Without a metadata service up is 0 and the calls for keys are unreachable."""
    async with harness_for(settings_for(cloud, api="v2", credentials={"type": "metadata"}), clock) as harness:
        assert await poll_after(harness, clock) == 0
        assert calls(harness, operation="metadata_token", outcome="unreachable") > 0
        assert cloud.requests.count() == 0


def in_a_pod(cloud: Simulator, token: Path) -> Settings:
    """Settings of a pod with an identity."""
    text = settings_text(cloud, "{type: pod_identity}")
    return load(text, environ=pod_environment(cloud, token))


def settings_text(cloud: Simulator, credentials: str) -> str:
    """Settings with one v2 target."""
    return (
        f"targets: [{{project: vision, api: v2, project_id: '{PROJECT_ID}', endpoint: '{cloud.url}', "
        f"iam_endpoint: '{cloud.url}', credentials: {credentials}}}]"
    )


def pod_environment(cloud: Simulator, token: Path) -> Mapping[str, str]:
    """Environment variables that CCE sets."""
    return {
        "HC_CONTAINER_CREDENTIALS_FULL_URI": f"{cloud.url}/pod-identity/credentials",
        "HC_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
    }


@pytest.fixture
def pod_token(tmp_path: Path) -> Path:
    """The token mounted into the pod."""
    path = tmp_path / "token"
    path.write_text(POD_IDENTITY_TOKEN)
    return path


async def test_the_pods_identity(cloud: Simulator, clock: ManualClock, pod_token: Path) -> None:
    """The pod's key signs, its expiry is exported, and a rotated token is read at the renewal."""
    host = replace(BARE_HOST, environ=pod_environment(cloud, pod_token))
    async with harness_for(in_a_pod(cloud, pod_token), clock, host=host) as harness:
        obtained_at = clock.time() + 30
        assert await poll_after(harness, clock) == 1
        assert harness.value(EXPIRY, project="vision") == obtained_at + HOUR_S
        cloud.state.keys.pod_identity_token = "rotated-pod-token"
        write(pod_token, "rotated-pod-token")
        assert await poll_after(harness, clock, after_s=3000) == 1
        assert cloud.requests.count("identity.credentials") == 2
        assert calls(harness, outcome="denied") == 0


async def test_revoked_temporary_keys_are_fetched_again(
    cloud: Simulator, clock: ManualClock, pod_token: Path
) -> None:
    """When temporary keys are revoked before their expiry, the 401 fetches new ones and the poll succeeds."""
    host = replace(BARE_HOST, environ=pod_environment(cloud, pod_token))
    async with harness_for(in_a_pod(cloud, pod_token), clock, host=host) as harness:
        assert await poll_after(harness, clock) == 1
        cloud.state.keys.expire_temporary()
        assert await poll_after(harness, clock) == 1
        assert calls(harness, outcome="denied") == 1


async def test_a_missing_pod_token(cloud: Simulator, clock: ManualClock, pod_token: Path) -> None:
    """Without the token the key is used until it expires; then up is 0, denied, and the sentence names the file."""
    host = replace(BARE_HOST, environ=pod_environment(cloud, pod_token))
    async with harness_for(in_a_pod(cloud, pod_token), clock, host=host) as harness:
        assert await poll_after(harness, clock) == 1
        remove(pod_token)
        assert await poll_after(harness, clock, after_s=3500) == 1
        with capture_logs() as logs:
            assert await poll_after(harness, clock, after_s=300) == 0
        (failed,) = (line for line in logs if line["event"] == "poll.failed")
        assert failed["outcome"] == "denied"
        assert str(pod_token) in failed["error"]


SDK_VARIABLES = {
    "HUAWEICLOUD_SDK_AK": ACCESS_KEY,
    "HUAWEICLOUD_SDK_SK": SECRET_KEY,
    "HUAWEICLOUD_SDK_PROJECT_ID": PROJECT_ID,
}
OPENSTACK_VARIABLES = {
    "OS_USERNAME": USER,
    "OS_PASSWORD": PASSWORD,
    "OS_USER_DOMAIN_NAME": DOMAIN,
    "OS_PROJECT_NAME": PROJECT_NAME,
}


@pytest.mark.parametrize(
    "kind, environ",
    [pytest.param("aksk", SDK_VARIABLES, id="vendor"), pytest.param("password", OPENSTACK_VARIABLES, id="openstack")],
)
async def test_the_environments_names(
    cloud: Simulator, clock: ManualClock, kind: str, environ: Mapping[str, str]
) -> None:
    """With only the type in the file, the variables of the vendor's SDK or of OpenStack give all values."""
    text = settings_text(cloud, f"{{type: {kind}}}").replace(f"project_id: '{PROJECT_ID}', ", "")
    async with harness_for(load(text, environ=environ), clock) as harness:
        assert await poll_after(harness, clock) == 1
        assert [dict(labels)["project_id"] for labels in harness.samples("modelarts_project_info")] == [PROJECT_ID]


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
    """The start ends with exit code 2 and a sentence for each missing secret, without an API call."""
    config = write_config(tmp_path, cloud, credentials=credentials)
    code, out, err = await run_command("serve", f"--config.file={config}", env={"PATH": ""})
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err
    assert cloud.requests.count() == 0


async def test_redirects_are_not_followed(cloud: Simulator, clock: ManualClock) -> None:
    """A redirect is a failure for every credential type; no request goes to its target."""
    async with Simulator(Options(empty=True), clock=clock) as elsewhere:
        cloud.faults.add(f"redirect:operation=*,location={elsewhere.url}/v3/auth/tokens")
        for credentials in (AKSK, BY_PASSWORD):
            async with harness_for(settings_for(cloud, api="both", credentials=credentials), clock) as harness:
                assert await poll_after(harness, clock) == 0
                assert calls(harness, outcome="refused") > 0
        assert elsewhere.requests.count() == 0
