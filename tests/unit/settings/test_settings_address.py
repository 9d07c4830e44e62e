"""URLs of the API: presets, overrides, and invalid URLs."""

import pytest

from exporter.settings import SettingsError, Target, load

PROJECT_ID = "0123456789abcdef0123456789abcdef"
PASSWORD = "{type: password, username: u, password: p, domain_name: d}"


def target(keys: str, *, credentials: str = "{type: metadata}") -> Target:
    """A target with these keys."""
    text = f"targets: [{{project: vision, project_id: {PROJECT_ID}, credentials: {credentials}, {keys}}}]"
    return load(text, environ={}).targets[0]


def problems(keys: str, *, credentials: str = "{type: metadata}") -> tuple[str, ...]:
    """The problems of a target with these keys."""
    with pytest.raises(SettingsError) as caught:
        target(keys, credentials=credentials)
    return caught.value.problems


@pytest.mark.parametrize(
    "cloud, region, endpoint, iam_endpoint",
    [
        pytest.param(
            "otc",
            "eu-de",
            "https://modelarts.eu-de.otc.t-systems.com",
            "https://iam.eu-de.otc.t-systems.com",
            id="otc",
        ),
        pytest.param(
            "otc",
            "eu-ch2",
            "https://modelarts.eu-ch2.sc.otc.t-systems.com",
            "https://iam-pub.eu-ch2.sc.otc.t-systems.com",
            id="otc-swiss",
        ),
        pytest.param(
            "huaweicloud",
            "cn-north-4",
            "https://modelarts.cn-north-4.myhuaweicloud.com",
            "https://iam.cn-north-4.myhuaweicloud.com",
            id="huaweicloud",
        ),
        pytest.param(
            "huaweicloud",
            "eu-west-101",
            "https://modelarts.eu-west-101.myhuaweicloud.eu",
            "https://iam.eu-west-101.myhuaweicloud.eu",
            id="huaweicloud-eu",
        ),
        pytest.param(
            "huaweicloud",
            "xx-new-9",
            "https://modelarts.xx-new-9.myhuaweicloud.com",
            "https://iam.xx-new-9.myhuaweicloud.com",
            id="region-of-tomorrow",
        ),
    ],
)
def test_cloud_and_region_give_both_addresses(cloud: str, region: str, endpoint: str, iam_endpoint: str) -> None:
    """The presets follow the hosts of the API reference §10."""
    found = target(f"cloud: {cloud}, region: {region}")

    assert (found.endpoint, found.iam_endpoint) == (endpoint, iam_endpoint)


def test_an_address_in_the_file_wins_over_the_preset() -> None:
    """Each URL overrides its own preset only; a trailing slash is removed."""
    found = target("cloud: otc, region: eu-de, endpoint: https://other.example/")
    assert (found.endpoint, found.iam_endpoint) == ("https://other.example", "https://iam.eu-de.otc.t-systems.com")

    found = target("cloud: otc, region: eu-de, iam_endpoint: https://other.example")
    assert (found.endpoint, found.iam_endpoint) == (
        "https://modelarts.eu-de.otc.t-systems.com",
        "https://other.example",
    )


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param("api: auto", id="neither"),
        pytest.param("cloud: otc", id="no-region"),
        pytest.param("region: eu-de", id="no-cloud"),
    ],
)
def test_without_a_preset_the_address_must_be_given(keys: str) -> None:
    """The API's URL is always required; IAM's only for password credentials."""
    missing = "missing; give it, or cloud and region"

    assert problems(keys) == (f"targets[0].endpoint: {missing}",)
    assert problems(keys, credentials=PASSWORD) == (
        f"targets[0].endpoint: {missing}",
        f"targets[0].iam_endpoint: {missing}",
    )
    assert target(f"{keys}, endpoint: https://x.example").iam_endpoint == ""


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://modelarts.example.com", id="https"),
        pytest.param("https://modelarts.example.com:8443", id="port"),
        pytest.param("https://10.0.0.7", id="private-address"),
        pytest.param("https://[2001:db8::1]:8443", id="ipv6"),
        pytest.param("http://127.0.0.1:10311", id="loopback"),
        pytest.param("http://127.8.8.8", id="loopback-net"),
        pytest.param("http://[::1]:10311", id="loopback-ipv6"),
        pytest.param("http://localhost:10311", id="localhost"),
        pytest.param("http://cloud.localhost", id="below-localhost"),
    ],
)
def test_https_anywhere_and_http_to_this_machine(url: str) -> None:
    """Plain http is allowed for the local host only, so no token is sent unencrypted."""
    assert target(f"endpoint: '{url}'").endpoint == url


SHAPE = "must be a URL such as https://host"
CLEAR = "must be https, or tokens are sent unencrypted; http is allowed for the local host (127.0.0.1, localhost)"
BARE = "must be scheme and host only, without path or query"


@pytest.mark.parametrize(
    "url, wrong",
    [
        pytest.param("modelarts.example.com", SHAPE, id="no-scheme"),
        pytest.param("ftp://modelarts.example.com", SHAPE, id="scheme"),
        pytest.param("https://", SHAPE, id="no-host"),
        pytest.param("https://a b", SHAPE, id="space"),
        pytest.param("https://host:port", SHAPE, id="port-text"),
        pytest.param("https://host:0", SHAPE, id="port-zero"),
        pytest.param("https://host:99999", SHAPE, id="port-large"),
        pytest.param("https://[::1", SHAPE, id="bracket"),
        pytest.param("http://modelarts.example.com", CLEAR, id="http"),
        pytest.param("http://localhost.example.com", CLEAR, id="http-lookalike"),
        pytest.param("http://127.0.0.1.example.com", CLEAR, id="http-lookalike-address"),
        pytest.param("http://10.0.0.7", CLEAR, id="http-private"),
        pytest.param("https://host/v2", BARE, id="path"),
        pytest.param("https://host/?", BARE, id="empty-query"),
        pytest.param("https://host#x", BARE, id="fragment"),
        pytest.param(
            "https://user:invented@host", "must not contain a user or password; they belong in credentials", id="user"
        ),
    ],
)
def test_unsafe_address_is_rejected_without_repeating_it(url: str, wrong: str) -> None:
    """Both URLs follow the same rules; the URL is not repeated, because it may contain a password."""
    assert problems(f"cloud: otc, region: eu-de, endpoint: '{url}'") == (f"targets[0].endpoint: {wrong}",)
    assert problems(f"cloud: otc, region: eu-de, iam_endpoint: '{url}'") == (f"targets[0].iam_endpoint: {wrong}",)


def test_a_proxy_may_be_http_and_may_hold_a_password() -> None:
    """Proxies use http and have credentials in their URL; it is kept as a secret."""
    found = target("cloud: otc, region: eu-de, proxy: 'http://user:invented@proxy.example:3128'")

    assert found.proxy is not None
    assert "invented" not in repr(found)


def test_an_authority_must_be_a_certificate(tmp_path: object) -> None:
    """A CA file without a PEM certificate would fail each call; it is rejected at the start."""
    file = f"{tmp_path}/ca.pem"
    with open(file, "w", encoding="ascii") as ca:  # noqa: PTH123 - the path is text in the settings
        ca.write("no certificate\n")

    assert problems(f"cloud: otc, region: eu-de, tls: {{ca_file: '{file}'}}") == (
        f"targets[0].tls.ca_file: {file} contains no PEM certificate",
    )
