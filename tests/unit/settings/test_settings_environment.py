"""Environment variables of the vendor's SDK and of OpenStack, used for absent keys."""

from pathlib import Path

import pytest

from exporter.settings import AkSk, Password, PodIdentity, SettingsError, Target, load

PROJECT_ID = "0123456789abcdef0123456789abcdef"
KEYS = {"HUAWEICLOUD_SDK_AK": "ENVAK", "HUAWEICLOUD_SDK_SK": "env-secret"}
OPENSTACK = {"OS_USERNAME": "bob", "OS_PASSWORD": "env-password", "OS_USER_DOMAIN_NAME": "acme"}


def target(credentials: str, environ: dict[str, str], *, project: str = f"project_id: {PROJECT_ID}, ") -> Target:
    """The only target of a file with these credentials."""
    text = f"targets: [{{project: vision, cloud: otc, region: eu-de, {project}credentials: {{{credentials}}}}}]"
    return load(text, environ=environ).targets[0]


def problems(credentials: str, environ: dict[str, str], **more: str) -> tuple[str, ...]:
    """The problems of such a file."""
    with pytest.raises(SettingsError) as caught:
        target(credentials, environ, **more)
    return caught.value.problems


def key_pair(found: Target) -> tuple[str, str, str | None]:
    """Access key, secret key and token, revealed."""
    assert isinstance(found.credentials, AkSk)
    token = found.credentials.security_token
    pair = found.credentials.access_key.reveal(), found.credentials.secret_key.reveal()
    return (*pair, token.reveal() if token else None)


def test_the_vendors_names_give_a_pair_and_its_token() -> None:
    """Without a key in the file the pair comes from the environment, with the token if set."""
    assert key_pair(target("type: aksk", KEYS)) == ("ENVAK", "env-secret", None)
    assert key_pair(target("type: aksk", KEYS | {"HUAWEICLOUD_SDK_SECURITY_TOKEN": "t"})) == (
        "ENVAK",
        "env-secret",
        "t",
    )


def test_a_pair_is_never_put_together_from_two_places() -> None:
    """If the file has one key, the keys and the token of the environment are not used."""
    environ = KEYS | {"HUAWEICLOUD_SDK_SECURITY_TOKEN": "t"}

    assert key_pair(target("type: aksk, access_key: A, secret_key: S", environ)) == ("A", "S", None)
    assert problems("type: aksk, access_key: A", environ) == ("targets[0].credentials.secret_key: missing",)
    assert problems("type: aksk, secret_key: S", environ) == ("targets[0].credentials.access_key: missing",)


def test_missing_keys_name_the_variables() -> None:
    """The sentence names the key and the variables; an empty variable counts as absent."""
    assert problems("type: aksk", {"HUAWEICLOUD_SDK_AK": ""}) == (
        "targets[0].credentials.access_key: missing; give it, or set HUAWEICLOUD_SDK_AK in the environment",
        "targets[0].credentials.secret_key: missing; give it, or set HUAWEICLOUD_SDK_SK in the environment",
    )


def test_a_variable_with_a_newline_is_refused() -> None:
    """A secret that cannot be sent in a header is rejected at the start, from any source."""
    assert problems("type: aksk", KEYS | {"HUAWEICLOUD_SDK_SK": "a\nb"}) == (
        "targets[0].credentials.secret_key: must not contain control characters",
    )


def test_openstacks_names_fill_in_key_by_key() -> None:
    """The file overrides the environment; OS_DOMAIN_NAME is the older name and comes second."""
    found = target("type: password, username: alice", OPENSTACK | {"OS_DOMAIN_NAME": "old"}).credentials
    assert isinstance(found, Password)
    assert [found.username.reveal(), found.password.reveal(), found.domain_name.reveal()] == [
        "alice",
        "env-password",
        "acme",
    ]

    older = {"OS_USERNAME": "bob", "OS_PASSWORD": "p", "OS_DOMAIN_NAME": "old"}
    found = target("type: password", older).credentials
    assert isinstance(found, Password)
    assert found.domain_name.reveal() == "old"


@pytest.mark.parametrize(
    "credentials, project, environ, expected",
    [
        pytest.param("type: aksk", "", {"HUAWEICLOUD_SDK_PROJECT_ID": PROJECT_ID}, (PROJECT_ID, ""), id="vendor-id"),
        pytest.param("type: metadata", "", {"OS_PROJECT_ID": PROJECT_ID}, (PROJECT_ID, ""), id="openstack-id"),
        pytest.param(
            "type: password",
            "",
            {"OS_PROJECT_ID": PROJECT_ID, "OS_PROJECT_NAME": "eu-de_x"},
            (PROJECT_ID, ""),
            id="id-before-name",
        ),
        pytest.param("type: password", "", {"OS_PROJECT_NAME": "eu-de_x"}, ("", "eu-de_x"), id="openstack-name"),
        pytest.param(
            "type: password",
            "project_name: eu-de_y, ",
            {"OS_PROJECT_ID": PROJECT_ID},
            ("", "eu-de_y"),
            id="file-before-environment",
        ),
    ],
)
def test_the_only_target_finds_its_project_in_the_environment(
    credentials: str, project: str, environ: dict[str, str], expected: tuple[str, str]
) -> None:
    """The file overrides the environment, an id overrides a name, and a name works for passwords only."""
    found = target(credentials, KEYS | OPENSTACK | environ, project=project)

    assert (found.project_id, found.project_name) == expected


@pytest.mark.parametrize(
    "credentials, project, environ, expected",
    [
        pytest.param("type: metadata", "", {}, "project_id: missing", id="nothing"),
        pytest.param("type: password", "", {}, "project_id: missing; give it or project_name", id="nothing-password"),
        pytest.param("type: aksk", "", {"OS_PROJECT_NAME": "x"}, "project_id: missing", id="name-without-password"),
        pytest.param(
            "type: aksk",
            "project_name: eu-de_x, ",
            {},
            "project_name: works with password credentials only; give project_id",
            id="name-with-keys",
        ),
        pytest.param(
            "type: password",
            f"project_name: eu-de_x, project_id: {PROJECT_ID}, ",
            {},
            "project_name: must not be given together with project_id",
            id="both",
        ),
        pytest.param(
            "type: aksk",
            "",
            {"OS_PROJECT_ID": "eu-de"},
            "project_id: must be 32 hexadecimal digits, but OS_PROJECT_ID in the environment is not",
            id="no-id",
        ),
    ],
)
def test_an_undetermined_project_is_one_sentence(
    credentials: str, project: str, environ: dict[str, str], expected: str
) -> None:
    """Neither, both, or a name that these credentials cannot resolve to an id."""
    assert problems(credentials, KEYS | OPENSTACK | environ, project=project) == (f"targets[0].{expected}",)


def test_with_several_targets_the_environment_names_no_project() -> None:
    """One variable cannot name two projects, so each target must have its own."""
    one = "{project: %s, cloud: otc, region: eu-de, credentials: {type: metadata}}"

    with pytest.raises(SettingsError) as caught:
        load(f"targets: [{one % 'a'}, {one % 'b'}]", environ={"OS_PROJECT_ID": PROJECT_ID})

    assert caught.value.problems == ("targets[0].project_id: missing", "targets[1].project_id: missing")


POD_URL, POD_FILE = "HC_CONTAINER_CREDENTIALS_FULL_URI", "HC_CONTAINER_AUTHORIZATION_TOKEN_FILE"
URL = "http://127.0.0.1:8099/credentials"


def test_a_pod_finds_its_identity_in_the_environment(tmp_path: Path) -> None:
    """With the two variables of CCE and a token file no other setting is needed."""
    token = tmp_path / "token"
    token.write_text("invented-token\n")

    found = target("type: pod_identity", {POD_URL: URL, POD_FILE: str(token)})

    assert found.credentials == PodIdentity()


@pytest.mark.parametrize(
    "environ, sentences",
    [
        pytest.param(
            {}, [f"pod_identity needs {POD_URL} and {POD_FILE} in the environment, which CCE sets"], id="none"
        ),
        pytest.param(
            {POD_URL: URL}, [f"pod_identity needs {POD_FILE} in the environment, which CCE sets"], id="no-file"
        ),
        pytest.param(
            {POD_URL: URL, POD_FILE: "/does/not/exist"},
            [f"{POD_FILE}: /does/not/exist: No such file or directory"],
            id="no-such-file",
        ),
        pytest.param(
            {POD_URL: "http://[", POD_FILE: "/dev/null"},
            [f"{POD_URL} in the environment is not a URL", f"{POD_FILE}: /dev/null: is not a regular file"],
            id="both-wrong",
        ),
        pytest.param(
            {POD_URL: "metadata", POD_FILE: "/does/not/exist"},
            [
                f"{POD_URL} in the environment is not a URL",
                f"{POD_FILE}: /does/not/exist: No such file or directory",
            ],
            id="no-scheme",
        ),
    ],
)
def test_a_pod_without_an_identity_is_one_sentence(environ: dict[str, str], sentences: list[str]) -> None:
    """A missing pod identity is reported at the start, not at the first poll; also with several targets."""
    assert problems("type: pod_identity", environ) == tuple(f"targets[0].credentials: {each}" for each in sentences)
    one = f"region: eu-de, cloud: otc, project_id: {PROJECT_ID}, credentials: {{type: pod_identity}}"
    with pytest.raises(SettingsError) as caught:
        load(f"targets: [{{project: a, {one}}}, {{project: b, {one}}}]", environ=environ)
    assert len(caught.value.problems) == 2 * len(sentences)
