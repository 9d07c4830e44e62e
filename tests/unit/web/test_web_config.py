"""`--web.config.file`: its meaning, its problems, and that promtool agrees."""

import ssl
import subprocess
from pathlib import Path

import pytest

from exporter.settings import SettingsError
from exporter.web.config import WebConfig, load_web_config
from tests.programs import found

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
TLS = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
NEWER = ("client_allowed_sans", "client_ca", "rate_limit")
"""Keys newer than the promtool of some distributions."""


def loaded(folder: Path, text: str) -> WebConfig:
    """Load a file with this text."""
    path = folder / "web.yml"
    path.write_text(text, encoding="utf-8")
    return load_web_config(path)


def problems(folder: Path, text: str) -> tuple[str, ...]:
    """The problems of this text."""
    with pytest.raises(SettingsError) as refused:
        loaded(folder, text)
    return refused.value.problems


ACCEPTED = [
    pytest.param("", id="empty"),
    pytest.param("# nothing yet\n---\n", id="empty document"),
    pytest.param("tls_server_config:\nbasic_auth_users:\n", id="empty sections"),
    pytest.param(TLS, id="certificate"),
    pytest.param(TLS + "  client_auth_type: NoClientCert\n", id="no client certificate"),
    pytest.param(
        TLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n", id="client may have one"
    ),
    pytest.param(
        TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n", id="client must have one"
    ),
    pytest.param(
        TLS
        + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
        + "  client_allowed_sans: [prometheus.example, 10.0.0.1]\n",
        id="client of a certain name",
    ),
    pytest.param(TLS + "  min_version: TLS13\n  max_version: TLS13\n", id="only TLS 1.3"),
    pytest.param(TLS + "  max_version: TLS12\n", id="only TLS 1.2"),
    pytest.param(
        TLS
        + "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256]\n"
        + "  prefer_server_cipher_suites: false\n",
        id="cipher suites",
    ),
    pytest.param(TLS + "  curve_preferences: [CurveP384]\n", id="curve"),
    pytest.param("http_server_config:\n  http2: true\n", id="HTTP/2 not refused"),
    pytest.param(
        "http_server_config:\n  http2: false\n  headers:\n    Strict-Transport-Security: max-age=31536000\n"
        "    X-Frame-Options: deny\n    X-Content-Type-Options: nosniff\n    X-XSS-Protection: '0'\n"
        "    Content-Security-Policy: default-src 'self'\n",
        id="every header",
    ),
    pytest.param("http_server_config:\n  headers:\n    X-XSS-Protection: ''\n", id="blank header"),
    pytest.param(f"basic_auth_users:\n  prometheus: {HASH}\n  42: {HASH}\n  müller: {HASH}\n", id="users"),
    pytest.param("rate_limit:\n  interval: 100ms\n  burst: 20\n", id="rate"),
    pytest.param("rate_limit:\n  interval: 0s\n  burst: 0\n", id="no rate"),
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_promtool_accepts_what_we_accept(folder: Path, text: str) -> None:
    """A file that we accept is valid for promtool, except for keys newer than promtool."""
    promtool = found("promtool")
    loaded(folder, text)
    done = subprocess.run(
        [promtool, "check", "web-config", str(folder / "web.yml")], check=False, capture_output=True, text=True
    )
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if "  line " in line]
    if not any(f"{key}:" in text for key in NEWER):
        assert (done.returncode, complaints) == (0, [])
    assert all(any(f"field {key} not found" in line for key in NEWER) for line in complaints)


def test_empty_file_means_plain_http(folder: Path) -> None:
    """An empty file means plain HTTP without authentication, and only the file itself is watched."""
    assert loaded(folder, "") == WebConfig(path=folder / "web.yml", files=(folder / "web.yml",))


def test_files_are_relative_to_the_file(folder: Path) -> None:
    """Certificates are relative to the file or at an absolute path, and all are watched."""
    absolute = loaded(folder, TLS.replace("key.pem", str(folder / "key.pem")))
    assert absolute.files == (folder / "web.yml", folder / "cert.pem", folder / "key.pem")


def test_defaults_of_tls(folder: Path) -> None:
    """With a certificate only: TLS 1.2 to 1.3, server cipher preference, no client certificates."""
    tls = loaded(folder, TLS).tls
    assert tls is not None
    assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert tls.context.maximum_version is ssl.TLSVersion.TLSv1_3
    assert tls.context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert tls.context.options & ssl.OP_NO_RENEGOTIATION
    assert tls.context.verify_mode is ssl.CERT_NONE
    assert tls.allowed_sans == frozenset()


def test_suites_are_those_named(folder: Path) -> None:
    """For TLS 1.2 exactly the named suites are offered, in their order; TLS 1.3 suites are always offered."""
    named = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    tls = loaded(folder, TLS + f"  cipher_suites: [{named}]\n  prefer_server_cipher_suites: false\n").tls
    assert tls is not None
    offered = [suite["name"] for suite in tls.context.get_ciphers() if suite["protocol"] != "TLSv1.3"]
    assert offered == ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256"]
    assert not tls.context.options & ssl.OP_CIPHER_SERVER_PREFERENCE


def test_only_suites_of_tls_13_leave_only_tls_13(folder: Path) -> None:
    """If no suite of TLS 1.2 is named, TLS 1.2 is disabled."""
    tls = loaded(folder, TLS + "  cipher_suites: [TLS_AES_256_GCM_SHA384]\n").tls
    assert tls is not None
    assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_inline_client_ca(folder: Path) -> None:
    """The CA can be given inline."""
    pem = (folder / "ca.pem").read_text(encoding="utf-8").replace("\n", "\n    ")
    tls = loaded(folder, TLS + f"  client_auth_type: RequireAndVerifyClientCert\n  client_ca: |\n    {pem}\n").tls
    assert tls is not None
    assert len(tls.context.get_ca_certs()) == 1


def test_headers_that_are_blank_are_not_sent(folder: Path) -> None:
    """An empty value unsets a header."""
    text = "http_server_config:\n  headers: {X-XSS-Protection: '', X-Frame-Options: sameorigin}\n"
    assert loaded(folder, text).headers == {"X-Frame-Options": "sameorigin"}


def test_users_are_kept_and_not_shown(folder: Path) -> None:
    """Users are compared as the bytes a client sends, and the repr of the configuration contains no hash."""
    config = loaded(folder, f"basic_auth_users: {{müller: {HASH}}}\n")
    assert config.users == {"müller".encode(): HASH.encode()}
    assert HASH not in repr(config)


@pytest.mark.parametrize(
    "written, interval_s",
    [
        pytest.param("1s", 1.0, id="second"),
        pytest.param("250ms", 0.25, id="milliseconds"),
        pytest.param("1m30s", 90.0, id="minute and a half"),
        pytest.param("1.5h", 5400.0, id="hours"),
        pytest.param("20us", 0.00002, id="microseconds"),
    ],
)
def test_intervals_are_written_as_go_does(folder: Path, written: str, interval_s: float) -> None:
    """The interval of the rate limit is a Go duration."""
    rate = loaded(folder, f"rate_limit: {{interval: {written}, burst: 3}}\n").rate
    assert rate is not None
    assert rate.interval_s == pytest.approx(interval_s)
    assert rate.burst == 3


@pytest.mark.parametrize("written", ["0", "0s", "00", "0.0s"])
def test_no_interval_is_no_limit(folder: Path, written: str) -> None:
    """An interval of 0 disables the limit."""
    assert loaded(folder, f"rate_limit: {{interval: {written}, burst: 0}}\n").rate is None


@pytest.mark.parametrize(
    "text, expected",
    [
        pytest.param(
            "tls_server: {}\n", "tls_server: unknown key; did you mean tls_server_config?", id="unknown key"
        ),
        pytest.param("- a\n", "must be a mapping, not a list", id="list"),
        pytest.param("a: [\n", "line 2, column 1: not YAML: while parsing a flow node", id="not YAML"),
        pytest.param(
            "tls_server_config: on\n", 'tls_server_config: must be a mapping, not "on"', id="text for a section"
        ),
        pytest.param(
            TLS + "  min_versio: TLS13\n",
            "tls_server_config.min_versio: unknown key; did you mean min_version?",
            id="unknown key of TLS",
        ),
        pytest.param(
            "tls_server_config: {min_version: TLS12}\n", "tls_server_config.cert_file: missing", id="no pair"
        ),
        pytest.param(TLS.replace("  key_file: key.pem\n", ""), "tls_server_config.key_file: missing", id="no key"),
        pytest.param(
            TLS.replace("key.pem", "none.pem"),
            "tls_server_config.key_file: FOLDER/none.pem: cannot be read: No such file or directory",
            id="key not there",
        ),
        pytest.param(
            TLS.replace("cert.pem", "."), "tls_server_config.cert_file: FOLDER: is not a regular file", id="folder"
        ),
        pytest.param(
            TLS.replace("cert.pem", '"a\\nb"'),
            "tls_server_config.cert_file: must not contain control characters",
            id="line break in a path",
        ),
        pytest.param(
            TLS.replace("cert.pem", "ca.pem"),
            "tls_server_config.cert_file: does not match the key in key_file",
            id="another's certificate",
        ),
        pytest.param(
            TLS.replace("cert.pem", "web.yml"),
            "tls_server_config.cert_file: must be a PEM certificate, and key_file its unencrypted PEM key",
            id="no PEM",
        ),
        pytest.param(
            "tls_server_config: {cert: x, key_file: key.pem}\n",
            "tls_server_config.cert: is not supported by Python's ssl; write it to a file and name the file in "
            "cert_file",
            id="inline certificate",
        ),
        pytest.param(
            "tls_server_config: {cert_file: cert.pem, key: x}\n",
            "tls_server_config.key: is not supported by Python's ssl; write it to a file and name the file in "
            "key_file",
            id="inline key",
        ),
        *(
            pytest.param(
                TLS + f"  client_auth_type: {name}\n",
                f"tls_server_config.client_auth_type: {name} does not verify, which Python's ssl does not support; "
                "use RequireAndVerifyClientCert",
                id=name,
            )
            for name in ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
        ),
        pytest.param(
            TLS + "  client_auth_type: RequireAndVerify\n",
            "tls_server_config.client_auth_type: must be one of NoClientCert, VerifyClientCertIfGiven, "
            'RequireAndVerifyClientCert, not "RequireAndVerify"; did you mean RequireAndVerifyClientCert?',
            id="unknown client_auth_type",
        ),
        pytest.param(
            TLS + "  client_auth_type: RequireAndVerifyClientCert\n",
            "tls_server_config.client_ca_file: missing; RequireAndVerifyClientCert needs a client CA",
            id="no client CA",
        ),
        pytest.param(
            TLS + "  client_ca_file: ca.pem\n",
            "tls_server_config.client_auth_type: must be given together with a client CA, or the CA is not used",
            id="CA without use",
        ),
        pytest.param(
            TLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: key.pem\n",
            "tls_server_config.client_ca_file: contains no usable PEM certificates",
            id="no CA",
        ),
        pytest.param(
            TLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca: käse\n",
            "tls_server_config.client_ca: contains no usable PEM certificates",
            id="no inline CA",
        ),
        pytest.param(
            TLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca: x\n  client_ca_file: ca.pem\n",
            "tls_server_config.client_ca: must not be given together with client_ca_file",
            id="two CAs",
        ),
        pytest.param(
            TLS + "  client_allowed_sans: [a]\n",
            "tls_server_config.client_allowed_sans: needs client_auth_type RequireAndVerifyClientCert or "
            "VerifyClientCertIfGiven",
            id="names without certificates",
        ),
        pytest.param(
            TLS
            + "  client_allowed_sans: []\n  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n",
            "tls_server_config.client_allowed_sans: must not be empty: no client could connect",
            id="no names",
        ),
        pytest.param(
            TLS + "  client_allowed_sans: a\n  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n",
            'tls_server_config.client_allowed_sans: must be a list, not "a"',
            id="names no list",
        ),
        pytest.param(
            TLS + "  min_version: TLS11\n",
            "tls_server_config.min_version: TLS 1.0 and 1.1 are deprecated (RFC 8996); use TLS12 or TLS13",
            id="deprecated version",
        ),
        pytest.param(
            TLS + "  min_version: SSL3\n",
            'tls_server_config.min_version: must be one of TLS12, TLS13, not "SSL3"',
            id="unknown version",
        ),
        pytest.param(
            TLS + "  min_version: TLS13\n  max_version: TLS12\n",
            "tls_server_config.max_version: must not be lower than min_version",
            id="versions crossed",
        ),
        pytest.param(
            TLS + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n",
            "tls_server_config.cipher_suites: 'TLS_RSA_WITH_RC4_128_SHA' is not a suite that Go considers secure",
            id="weak suite",
        ),
        pytest.param(
            TLS + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n  max_version: TLS12\n",
            "tls_server_config.cipher_suites: names no suite of TLS 1.2, but max_version is TLS12",
            id="no suite left",
        ),
        pytest.param(
            TLS + "  cipher_suites: [1]\n",
            "tls_server_config.cipher_suites[0]: must be text, not the number 1; put it in quotes",
            id="number for a suite",
        ),
        pytest.param(
            TLS + "  curve_preferences: [CurveP256, X25519]\n",
            "tls_server_config.curve_preferences: must name one curve: Python's ssl supports only one",
            id="several curves",
        ),
        pytest.param(
            TLS + "  curve_preferences: [P256]\n",
            "tls_server_config.curve_preferences: 'P256' is not one of CurveP256, CurveP384, CurveP521, X25519",
            id="unknown curve",
        ),
        pytest.param(
            TLS + "  prefer_server_cipher_suites: yes\n",
            'tls_server_config.prefer_server_cipher_suites: must be true or false, not "yes"',
            id="yes is text",
        ),
        pytest.param(
            "http_server_config: {headers: {Server: x}}\n",
            "http_server_config.headers.Server: unknown key",
            id="header that may not be set",
        ),
        pytest.param(
            "http_server_config: {headers: {X-Frame-Options: allow}}\n",
            "http_server_config.headers.X-Frame-Options: must be deny or sameorigin, not 'allow'",
            id="value that may not be set",
        ),
        pytest.param(
            'http_server_config: {headers: {X-XSS-Protection: "0\\r\\nSet-Cookie: a=b"}}\n',
            "http_server_config.headers.X-XSS-Protection: must be printable ASCII on one line",
            id="header in a header",
        ),
        pytest.param(
            "basic_auth_users: {prometheus: hunter2}\n",
            "basic_auth_users.prometheus: must be a bcrypt hash, as `htpasswd -nBC 10 USER` prints it",
            id="password in the clear",
        ),
        pytest.param(
            "basic_auth_users: {prometheus: 12345678}\n",
            "basic_auth_users.prometheus: must be text, not a number; put it in quotes",
            id="number for a hash",
        ),
        pytest.param(
            f"basic_auth_users: {{'a:b': {HASH}}}\n",
            "basic_auth_users.a:b: a user name must not be empty and must not contain a colon",
            id="colon in a name",
        ),
        pytest.param(
            f"basic_auth_users: {{a: {HASH.replace('$10$', '$19$')}}}\n",
            "basic_auth_users.a: must have a bcrypt cost from 4 to 16, not 19",
            id="hash that takes a minute",
        ),
        pytest.param(
            "rate_limit: {interval: 5, burst: 1}\n",
            "rate_limit.interval: must be a duration in Go's notation, such as 500ms or 1m30s",
            id="interval without a unit",
        ),
        pytest.param(
            "rate_limit: {interval: 1s}\n",
            "rate_limit.burst: must be at least 1; with 0 no request would be answered",
            id="no burst",
        ),
        pytest.param(
            "rate_limit: {interval: 1s, burst: -1}\n",
            "rate_limit.burst: must be a whole number in plain digits, not the number -1",
            id="negative burst",
        ),
    ],
)
def test_problem_is_one_sentence(folder: Path, text: str, expected: str) -> None:
    """What is invalid, or would protect less than it seems to, is rejected with a sentence that names its key."""
    received = problems(folder, text)
    assert any(sentence.startswith(expected.replace("FOLDER", str(folder))) for sentence in received), received


def test_all_problems_are_reported_at_once(folder: Path) -> None:
    """All problems are reported at once, and none repeats a value given for a password."""
    received = problems(
        folder,
        "tls_server_config: {min_version: TLS10}\nbasic_auth_users: {a: hunter2}\n"
        "http_server_config: {http3: true}\n",
    )
    assert sorted(sentence.partition(": ")[0] for sentence in received) == [
        "basic_auth_users.a",
        "http_server_config.http3",
        "tls_server_config.cert_file",
        "tls_server_config.key_file",
        "tls_server_config.min_version",
    ]
    assert "hunter2" not in "".join(received)


def test_missing_file_is_a_problem(tmp_path: Path) -> None:
    """A missing file is reported as a problem."""
    with pytest.raises(SettingsError) as refused:
        load_web_config(tmp_path / "none.yml")
    assert refused.value.problems == ("cannot be read: No such file or directory",)


def test_file_too_large_for_a_certificate(folder: Path) -> None:
    """An endless file is not read to its end."""
    (folder / "cert.pem").write_bytes(b"x" * (1024 * 1024 + 1))
    (sentence,) = problems(folder, TLS)
    assert sentence == f"tls_server_config.cert_file: {folder / 'cert.pem'}: is larger than 1 MiB"


def test_encrypted_key_is_refused_without_asking_the_terminal(folder: Path) -> None:
    """A key with a passphrase is rejected, without a prompt on the terminal."""
    subprocess.run(
        [
            *("openssl", "ec", "-aes256", "-passout", "pass:invented"),
            *("-in", str(folder / "key.pem"), "-out", str(folder / "locked.pem")),
        ],
        check=True,
        capture_output=True,
    )
    (sentence,) = problems(folder, TLS.replace("key.pem", "locked.pem"))
    assert sentence.endswith("must be a PEM certificate, and key_file its unencrypted PEM key")
