"""Loading a whole file: the settings of a valid one, and the problems of an invalid one."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from exporter.settings import (
    AkSk,
    Collection,
    Filters,
    Metadata,
    Metrics,
    Password,
    RateLimit,
    Regex,
    Secret,
    SettingsError,
    StateSettings,
    Tls,
    load,
)
from exporter.settings.decode import Decoder
from exporter.settings.problems import Problems
from exporter.settings.yaml_nodes import parse

FIXTURES = Path(__file__).parents[2] / "fixtures" / "settings"
PROJECT_ID = "0123456789abcdef0123456789abcdef"
MINIMAL = f"""
targets:
  - project: vision
    cloud: otc
    region: eu-de
    project_id: {PROJECT_ID}
    credentials: {{type: metadata}}
"""


def target_with(lines: str, *, credentials: str = "{type: metadata}") -> str:
    """A valid target with additional lines, from line 4 on; `credentials` replaces the block."""
    return (
        f"targets:\n- project: vision\n  credentials: {credentials}\n"
        + "".join(f"  {line}\n" for line in lines.splitlines())
        + ("" if "region" in lines else "  cloud: otc\n  region: eu-de\n")
        + ("" if "project_" in lines else f"  project_id: {PROJECT_ID}\n")
    )


def problems(source: str | Path, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The problems of loading; fails if there are none."""
    with pytest.raises(SettingsError) as caught:
        load(source, environ=environ or {})
    return caught.value.problems


def test_the_smallest_file_has_every_default() -> None:
    """Absent keys have the documented default, and the preset fills in the URLs."""
    settings = load(MINIMAL, environ={})

    (target,) = settings.targets
    assert target.project == "vision"
    assert target.project_id == PROJECT_ID
    assert target.endpoint == "https://modelarts.eu-de.otc.t-systems.com"
    assert target.iam_endpoint == "https://iam.eu-de.otc.t-systems.com"
    assert (target.api, target.workspaces, target.proxy) == ("auto", "all", None)
    assert target.credentials == Metadata()
    assert target.filters == Filters(names=Regex(".*"), exclude_names=None, pools=(), users=())
    assert target.rate_limit == RateLimit(requests_per_second=5.0, burst=10, concurrency=4)
    assert target.tls == Tls(ca_file="", insecure_skip_verify=False)
    times = settings.collection
    assert (times.jobs_interval_s, times.usage_interval_s, times.pools_interval_s) == (30.0, 60.0, 60.0)
    assert (times.sweep_interval_s, times.stale_after_s) == (6 * 3600.0, 300.0)
    assert (times.retention_s, times.timeout_s) == (24 * 3600.0, 30.0)
    assert settings.metrics == Metrics(
        max_series_per_project=100_000, per_task=False, job_labels=(), user_label="keep", idle_threshold_ratio=0.05
    )
    assert settings.state == StateSettings(file="")


def test_every_key_is_decoded() -> None:
    """Each key of the file is decoded into its own field, and a password needs no id if it has a name."""
    settings = load(FIXTURES / "full.yaml", environ={"AK": "EXAMPLEAK", "TOKEN": "invented-token"})

    first, second = settings.targets
    assert first.endpoint == "https://modelarts.example.com"
    assert first.iam_endpoint == "https://iam.example.com:8443"
    assert (first.api, first.workspaces) == ("both", ("0", "team-a"))
    assert isinstance(first.credentials, AkSk)
    assert first.credentials.access_key.reveal() == "EXAMPLEAK"
    assert first.credentials.secret_key.reveal() == "invented-secret"
    assert first.credentials.security_token is not None
    assert first.credentials.security_token.reveal() == "invented-token"
    assert first.filters == Filters(
        names=Regex("train-.*"), exclude_names=Regex(".*-debug"), pools=("pool-a", ""), users=("alice",)
    )
    assert first.rate_limit == RateLimit(requests_per_second=2.5, burst=3, concurrency=1)
    assert first.tls == Tls(insecure_skip_verify=True)
    assert first.proxy is not None
    assert first.proxy.reveal() == "http://user:invented-password@proxy.example:3128"
    assert (second.project, second.cloud, second.region) == ("speech", "huaweicloud", "cn-north-4")
    assert (second.project_id, second.project_name) == ("", "cn-north-4_speech")
    assert second.endpoint == "https://modelarts.cn-north-4.myhuaweicloud.com"
    assert isinstance(second.credentials, Password)
    assert second.credentials.username.reveal() == "bob"
    assert second.credentials.password.reveal() == "invented-password"
    assert second.credentials.domain_name.reveal() == "acme"
    times = settings.collection
    assert (times.jobs_interval_s, times.usage_interval_s, times.pools_interval_s) == (10.0, 20.0, 40.0)
    assert (times.sweep_interval_s, times.stale_after_s) == (5400.0, 60.0)
    assert (times.retention_s, times.timeout_s) == (2 * 86400.0, 5.5)
    assert settings.metrics == Metrics(
        max_series_per_project=1000,
        per_task=True,
        job_labels=("job_name", "user"),
        user_label="hash",
        idle_threshold_ratio=1.0,
    )
    assert settings.state.file == "/var/lib/modelarts-exporter/state"


def test_ten_problems_make_ten_sentences() -> None:
    """All problems of a file are reported at once, each in one sentence with its path."""
    expected = (FIXTURES / "ten_mistakes.txt").read_text().splitlines()

    assert list(problems(FIXTURES / "ten_mistakes.yaml")) == expected
    assert len(expected) == 10


def test_the_error_prints_all_its_sentences() -> None:
    """An uncaught error shows the same sentences as `problems`."""
    with pytest.raises(
        SettingsError, match=r"^targets: missing\nextra: unknown key$|^extra: unknown key\ntargets: m"
    ):
        load("extra: 1", environ={})


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    """A missing file and a folder are reported with their path."""
    missing = tmp_path / "missing.yaml"

    assert problems(missing) == (f"{missing}: cannot be read: No such file or directory",)
    assert problems(tmp_path) == (f"{tmp_path}: cannot be read: Is a directory",)


@pytest.mark.parametrize(
    "source, expected",
    [
        pytest.param("", "the file is empty; at least `targets` must be given", id="empty"),
        pytest.param("# nothing\n", "the file is empty; at least `targets` must be given", id="comment"),
        pytest.param("[]", "must be a mapping, not a list", id="list"),
        pytest.param("hello", 'must be a mapping, not "hello"', id="text"),
        pytest.param("42", "must be a mapping, not the number 42", id="number"),
        pytest.param("!thing {}", "must be a mapping, not a tagged value", id="tagged-mapping"),
        pytest.param("null", "targets: missing", id="null"),
        pytest.param("{}", "targets: missing", id="no-keys"),
        pytest.param("targets:", "targets: must not be empty", id="no-targets-null"),
        pytest.param("targets: []", "targets: must not be empty", id="no-targets"),
        pytest.param("targets: {}", "targets: must be a list, not a mapping", id="targets-mapping"),
        pytest.param("targets: [vision]", 'targets[0]: must be a mapping, not "vision"', id="target-text"),
        pytest.param("targets: !!set [1]", "targets: must be a list, not a tagged value", id="tagged-list"),
    ],
)
def test_a_root_of_the_wrong_shape_is_one_sentence(source: str, expected: str) -> None:
    """A wrong type of the root or of the targets is named."""
    assert problems(source) == (expected,)


@pytest.mark.parametrize(
    "source, expected",
    [
        pytest.param(
            "targets:\n  - project: 'vision",
            "line 2, column 21: not YAML: while scanning a quoted scalar, found unexpected end of stream",
            id="unclosed-quote",
        ),
        pytest.param("a: b: c", "line 1, column 5: not YAML: mapping values are not allowed here", id="two-colons"),
        pytest.param(
            "a: 1\n---\nb: 2",
            "line 2, column 1: not YAML: expected a single document in the stream, but found another document",
            id="two-documents",
        ),
        pytest.param("a: *hidden-text", "line 1, column 4: not YAML: found undefined alias", id="alias-not-shown"),
        pytest.param("a: \x00", "not YAML: contains bytes or characters that YAML does not allow", id="control"),
        pytest.param("[" * 500, "nested too deeply", id="deep"),
    ],
)
def test_a_syntax_error_names_the_line_and_never_the_text(source: str, expected: str) -> None:
    """A syntax error gives line and column; the text could be a secret and is not repeated."""
    assert problems(source) == (expected,)


def test_bytes_that_are_no_text_are_one_sentence(tmp_path: Path) -> None:
    """A file in another encoding is rejected without a traceback."""
    file = tmp_path / "latin1.yaml"
    file.write_bytes(b"targets: \xff\xe4")

    assert problems(file) == ("not YAML: contains bytes or characters that YAML does not allow",)


@pytest.mark.parametrize(
    "lines, expected",
    [
        pytest.param("api: v1\napi: v2", "targets[0].api: given twice, on lines 4 and 5", id="duplicate-key"),
        pytest.param("1: x", "targets[0].1: unknown key", id="number-as-key"),
        pytest.param("~: x", "targets[0]: line 4: a key must be text", id="null-as-key"),
        pytest.param("[a]: x", "targets[0]: line 4: a key must be text", id="list-as-key"),
        pytest.param('"a\\nb": x', "targets[0].a\\nb: unknown key", id="newline-in-key"),
        pytest.param(f"{'k' * 90}: x", f"targets[0].{'k' * 61}...: unknown key", id="long-key"),
        pytest.param("proxies: x", "targets[0].proxies: unknown key; did you mean proxy?", id="near-key"),
        pytest.param("quite_else: x", "targets[0].quite_else: unknown key", id="far-key"),
        pytest.param("type: x", "targets[0].type: unknown key", id="type-only-where-it-tags"),
        pytest.param('" ": x', "targets[0].' ': unknown key", id="blank-key"),
        pytest.param("api: v3", 'targets[0].api: must be one of auto, both, v1, v2, not "v3"', id="enum"),
        pytest.param(
            "api: V2", 'targets[0].api: must be one of auto, both, v1, v2, not "V2"; did you mean v2?', id="case"
        ),
        pytest.param(
            "api: 2", "targets[0].api: must be one of auto, both, v1, v2, not the number 2", id="enum-number"
        ),
        pytest.param("api:", "targets[0].api: must be one of auto, both, v1, v2, not empty", id="enum-null"),
        pytest.param("api: [v1]", "targets[0].api: must be one of auto, both, v1, v2, not a list", id="enum-list"),
        pytest.param(
            "workspaces: everything", 'targets[0].workspaces: must be all or a list, not "everything"', id="ws-text"
        ),
        pytest.param("workspaces: []", "targets[0].workspaces: must not be empty", id="ws-none"),
        pytest.param(
            "workspaces: [0]",
            "targets[0].workspaces[0]: must be text, not the number 0; put it in quotes",
            id="ws-number",
        ),
        pytest.param(
            "project_id: 12345678901234567890123456789012",
            "targets[0].project_id: must be text, not the number 12345678901234567890123456789012; put it in quotes",
            id="id-of-digits",
        ),
        pytest.param(
            "project_id: 012345678901234567890123456789e5",
            "targets[0].project_id: must be text, not the number 012345678901234567890123456789e5; put it in quotes",
            id="id-like-a-float",
        ),
        pytest.param(
            "project_id: true",
            "targets[0].project_id: must be text, not the boolean true; put it in quotes",
            id="id-truth",
        ),
        pytest.param(
            "project_id: abc",
            'targets[0].project_id: must be 32 hexadecimal digits, in quotes, not "abc"',
            id="id-short",
        ),
        pytest.param(
            "cloud: otc\nregion: eu.de",
            'targets[0].region: must be a region such as eu-de, not "eu.de"',
            id="region-with-dot",
        ),
        pytest.param(
            "endpoint:", 'targets[0].endpoint: must be text, not empty; write "" for none', id="endpoint-null"
        ),
        pytest.param("endpoint: {}", "targets[0].endpoint: must be text, not a mapping", id="endpoint-mapping"),
        pytest.param(
            "endpoint: !!binary aGk=", "targets[0].endpoint: must be text, not a tagged value", id="endpoint-tagged"
        ),
        pytest.param(
            'project_name: "a\\tb"', "targets[0].project_name: must not contain control characters", id="control"
        ),
        pytest.param(
            "filters: {users: alice}", 'targets[0].filters.users: must be a list, not "alice"', id="list-text"
        ),
        pytest.param(
            "filters: {names: '['}",
            "targets[0].filters.names: is not a regular expression: unterminated character set",
            id="regex",
        ),
        pytest.param(
            "filters: {names: '[[:alpha:]]'}",
            "targets[0].filters.names: is not a regular expression: nested character sets are not supported",
            id="regex-posix-class",
        ),
        pytest.param(
            "filters: {exclude_names: 'a{9999999999}'}",
            "targets[0].filters.exclude_names: is not a regular expression: too large",
            id="regex-too-large",
        ),
        pytest.param(
            "filters: {names: 3}",
            "targets[0].filters.names: must be text, not the number 3; put it in quotes",
            id="regex-number",
        ),
        pytest.param("rate_limit: 5", "targets[0].rate_limit: must be a mapping, not the number 5", id="section"),
        pytest.param(
            "rate_limit: {requests_per_second: 0}",
            "targets[0].rate_limit.requests_per_second: must be more than 0, not 0",
            id="rate-zero",
        ),
        pytest.param(
            "rate_limit: {requests_per_second: -.5}",
            "targets[0].rate_limit.requests_per_second: must be more than 0, not -.5",
            id="rate-negative",
        ),
        pytest.param(
            "rate_limit: {requests_per_second: .inf}",
            "targets[0].rate_limit.requests_per_second: must be a number, not the number .inf",
            id="rate-infinite",
        ),
        pytest.param(
            "rate_limit: {requests_per_second: 1e999}",
            "targets[0].rate_limit.requests_per_second: must be a number, not the number 1e999",
            id="rate-overflow",
        ),
        pytest.param(
            "rate_limit: {requests_per_second: !!float x}",
            "targets[0].rate_limit.requests_per_second: must be a number, not the number x",
            id="rate-tagged-nonsense",
        ),
        pytest.param(
            "rate_limit: {requests_per_second: ['5']}",
            "targets[0].rate_limit.requests_per_second: must be a number, not a list",
            id="rate-list",
        ),
        pytest.param(
            "rate_limit: {burst: 0}", "targets[0].rate_limit.burst: must be at least 1, not 0", id="burst-zero"
        ),
        pytest.param(
            "rate_limit: {burst: 1.5}",
            "targets[0].rate_limit.burst: must be a whole number in plain digits, not the number 1.5",
            id="burst-fraction",
        ),
        pytest.param(
            "rate_limit: {burst: 010}",
            "targets[0].rate_limit.burst: must be a whole number in plain digits, not the number 010",
            id="burst-octal-or-ten",
        ),
        pytest.param(
            f"rate_limit: {{burst: {'9' * 40}}}",
            f"targets[0].rate_limit.burst: must be a whole number in plain digits, not the number {'9' * 40}",
            id="burst-beyond-64-bits",
        ),
        pytest.param(
            "rate_limit: {burst: '10'}",
            'targets[0].rate_limit.burst: must be a whole number in plain digits, not "10"',
            id="burst-text",
        ),
        pytest.param(
            "rate_limit: {concurrency: yes}",
            'targets[0].rate_limit.concurrency: must be a whole number in plain digits, not "yes"',
            id="concurrency-yes",
        ),
        pytest.param(
            "tls: {insecure_skip_verify: yes}",
            'targets[0].tls.insecure_skip_verify: must be true or false, not "yes"',
            id="truth-yes",
        ),
        pytest.param(
            "tls: {insecure_skip_verify: 1}",
            "targets[0].tls.insecure_skip_verify: must be true or false, not the number 1",
            id="truth-number",
        ),
        pytest.param(
            "tls: {insecure_skip_verify: !!bool maybe}",
            "targets[0].tls.insecure_skip_verify: must be true or false, not the boolean maybe",
            id="truth-tagged-nonsense",
        ),
        pytest.param(
            "tls: {ca_file: /nowhere/ca.pem}",
            "targets[0].tls.ca_file: /nowhere/ca.pem cannot be read: No such file or directory",
            id="ca-missing",
        ),
        pytest.param(
            "tls: {ca_file: 7}", "targets[0].tls.ca_file: must be text, not the number 7; put it in quotes", id="ca-7"
        ),
        pytest.param(
            "proxy: 3128", "targets[0].proxy: must be text, not a number; put it in quotes", id="proxy-number"
        ),
        pytest.param(
            "proxy: proxy.example:3128", "targets[0].proxy: must be a URL such as http://host:3128", id="proxy-bare"
        ),
        pytest.param(
            "proxy: socks5://host", "targets[0].proxy: must be a URL such as http://host:3128", id="proxy-socks"
        ),
        pytest.param(
            "proxy: 'http://[::1'", "targets[0].proxy: must be a URL such as http://host:3128", id="proxy-bracket"
        ),
    ],
)
def test_a_wrong_value_in_a_target_is_one_sentence(lines: str, expected: str) -> None:
    """One wrong line in a valid target gives exactly one sentence, at its path."""
    assert problems(target_with(lines)) == (expected,)


@pytest.mark.parametrize(
    "lines, expected",
    [
        pytest.param(
            "collection: {jobs_interval: 30}",
            "collection.jobs_interval: must be a duration with its unit, such as 30s, not the number 30",
            id="no-unit",
        ),
        pytest.param(
            "collection: {jobs_interval: 30 s}",
            'collection.jobs_interval: must be a duration such as 30s, 5m or 1h30m, not "30 s"',
            id="space",
        ),
        pytest.param(
            'collection: {jobs_interval: "${env:ABSENT}"}',
            "collection.jobs_interval: the environment variable ABSENT is not set",
            id="unset",
        ),
        pytest.param(
            "collection: {usage_interval: 500ms}",
            'collection.usage_interval: must be at least 1s, not "500ms"',
            id="half-a-second",
        ),
        pytest.param("collection: {timeout: 0s}", 'collection.timeout: must be at least 1s, not "0s"', id="zero"),
        pytest.param(
            "collection: {retention: 300y}",
            'collection.retention: must be shorter than 292 years, not "300y"',
            id="ages",
        ),
        pytest.param(
            "collection: {stale_after: 59s}",
            "collection.stale_after: must be at least jobs_interval and timeout together (1m), not 59s: otherwise "
            "one slow poll would withdraw current series",
            id="stale-too-soon",
        ),
        pytest.param(
            "collection: {retention: 29s}",
            "collection.retention: must be at least jobs_interval (30s), not 29s: otherwise a job could end unseen "
            "by any scrape",
            id="retention-too-short",
        ),
        pytest.param(
            "metrics: {max_series_per_project: 999}",
            "metrics.max_series_per_project: must be at least 1000, not 999",
            id="few-series",
        ),
        pytest.param(
            "metrics: {idle_threshold: 1.01}", "metrics.idle_threshold: must be at most 1, not 1.01", id="above-one"
        ),
        pytest.param(
            "metrics: {idle_threshold: -0.1}", "metrics.idle_threshold: must be at least 0, not -0.1", id="below-zero"
        ),
        pytest.param(
            "metrics: {job_labels: [usr]}",
            "metrics.job_labels[0]: must be one of accelerator, accelerator_model, api, engine, flavor, job_name, "
            'kind, pool_id, user, version, workspace_id, not "usr"; did you mean user?',
            id="unknown-label",
        ),
        pytest.param(
            "metrics: {job_labels: [api, kind, api]}", "metrics.job_labels: api is given 2 times", id="label-twice"
        ),
        pytest.param(
            "metrics: {job_labels: [user], user_label: drop}",
            "metrics.job_labels: cannot copy the label user, which metrics.user_label drops",
            id="dropped-label",
        ),
        pytest.param("state: {file: []}", "state.file: must be text, not a list", id="state-list"),
    ],
)
def test_a_wrong_value_outside_the_targets_is_one_sentence(lines: str, expected: str) -> None:
    """One wrong line in another section gives exactly one sentence, at its path."""
    assert problems(MINIMAL + lines) == (expected,)


def test_limits_are_part_of_the_range() -> None:
    """The smallest and largest permitted values are accepted."""
    settings = load(
        MINIMAL
        + "collection: {jobs_interval: 1s, timeout: 1s, stale_after: 2s, retention: 1s}\n"
        + "metrics: {max_series_per_project: 1000, idle_threshold: 0}\n",
        environ={},
    )

    assert settings.collection.stale_after_s == 2.0
    assert settings.metrics.idle_threshold_ratio == 0.0


def test_a_timeout_may_exceed_the_interval() -> None:
    """Polls never overlap, so a deadline beyond the interval only delays the next poll."""
    times = load(MINIMAL + "collection: {jobs_interval: 5s, timeout: 1m}", environ={}).collection

    assert (times.jobs_interval_s, times.timeout_s) == (5.0, 60.0)


def test_rules_over_several_keys_skip_keys_with_a_problem() -> None:
    """The default in place of a wrong value is never reported."""
    found = problems(
        "targets:\n- {project: [], cloud: ibm, credentials: {type: password}, tls: {ca_file: 1}, proxy: 1}\n"
        "- project: vision\n  project_name: 7\n  endpoint: 8\n  credentials: 9\n"
        "- 10\n"
        "collection: {jobs_interval: 11, stale_after: 1s}\n"
        "metrics: {user_label: hide, job_labels: [user]}\n"
    )

    assert found == (
        "targets[0].project: must be text, not a list",
        'targets[0].cloud: must be one of huaweicloud, otc, not "ibm"',
        *(
            f"targets[0].credentials.{key}: missing; give it, or set {names} in the environment"
            for key, names in (
                ("username", "OS_USERNAME"),
                ("password", "OS_PASSWORD"),
                ("domain_name", "OS_USER_DOMAIN_NAME or OS_DOMAIN_NAME"),
            )
        ),
        "targets[0].tls.ca_file: must be text, not the number 1; put it in quotes",
        "targets[0].proxy: must be text, not a number; put it in quotes",
        "targets[1].project_name: must be text, not the number 7; put it in quotes",
        "targets[1].endpoint: must be text, not the number 8; put it in quotes",
        "targets[1].credentials: must be a mapping, not the number 9",
        "targets[2]: must be a mapping, not the number 10",
        "collection.jobs_interval: must be a duration with its unit, such as 30s, not the number 11",
        'metrics.user_label: must be one of drop, hash, keep, not "hide"',
    )


def test_a_project_name_must_be_unique() -> None:
    """Two targets with the same label value would write the same series."""
    one = MINIMAL.removeprefix("\ntargets:\n")

    assert problems("targets:\n" + one + one + one) == (
        'targets[1].project: "vision" is already the project of targets[0]',
        'targets[2].project: "vision" is already the project of targets[0]',
    )


def test_an_empty_project_is_no_label() -> None:
    """Prometheus treats an empty label as absent, so the value must not be empty."""
    assert problems(MINIMAL.replace("vision", '""')) == ("targets[0].project: must not be empty",)


def test_anchors_and_merge_keys_save_repetition() -> None:
    """Own keys override merged ones, and the first merged mapping overrides the next."""
    settings = load(
        "targets:\n"
        f"- &first {{project: one, cloud: otc, region: eu-de, project_id: {PROJECT_ID}, "
        "credentials: {type: metadata}}\n"
        "- &second {<<: *first, project: two, region: eu-nl}\n"
        "- {<<: [*second, *first], project: three}\n",
        environ={},
    )

    assert [target.project for target in settings.targets] == ["one", "two", "three"]
    assert [target.region for target in settings.targets] == ["eu-de", "eu-nl", "eu-nl"]


@pytest.mark.parametrize(
    "merge",
    [
        pytest.param("<<: text", id="text"),
        pytest.param("<<: [[a]]", id="list-of-lists"),
        pytest.param("<<: *itself", id="itself"),
    ],
)
def test_only_other_mappings_can_be_merged(merge: str) -> None:
    """A merge key with another type, or with its own mapping, is a problem and never a loop."""
    found = problems(f"targets:\n- &itself\n  {merge}\n  project: vision\n")

    assert "targets[0].<<: must merge other mappings" in found


def test_merged_mappings_that_contain_each_other_end() -> None:
    """A cycle of merge keys through a nested merge is a problem, not an endless loop."""
    found = problems("targets:\n- &a\n  project: x\n  <<: &b {api: v2, [k]: v, <<: *b}\n")

    assert "targets[0].<<: must merge other mappings" in found


def test_merges_of_merges_do_not_double_at_each_level() -> None:
    """Fifty levels that merge the level before twice are 50 mappings, not 2**50."""
    first = f"project: p0, cloud: otc, region: eu-de, project_id: {PROJECT_ID}, credentials: {{type: metadata}}"
    levels = [f"- &m{level} {{<<: [*m{level - 1}, *m{level - 1}], project: p{level}}}" for level in range(1, 50)]

    settings = load("\n".join(["targets:", f"- &m0 {{api: v1, {first}}}", *levels]), environ={})

    assert [target.api for target in settings.targets] == ["v1"] * 50


def test_a_problem_in_an_anchor_is_reported_at_each_place_of_use() -> None:
    """The path names the place of use, where the operator looks."""
    found = problems(
        f"targets:\n- &t {{project: a, cloud: otc, region: eu-de, project_id: {PROJECT_ID}, api: v9, "
        "credentials: {type: metadata}}\n- {<<: *t, project: b}\n"
    )

    assert [sentence.split(":")[0] for sentence in found] == ["targets[0].api", "targets[1].api"]


def test_sections_may_be_written_and_left_empty() -> None:
    """A section or list whose keys are all commented out means its defaults, as in Prometheus."""
    empty = load(target_with("filters:\nrate_limit:\ntls:\nproxy:") + "collection:\nmetrics:\nstate:\n", environ={})

    assert empty == load(MINIMAL, environ={})
    assert load(target_with("filters: {pools: , users: }"), environ={}) == empty
    assert load(target_with('filters: {exclude_names: ""}\nproxy: ""'), environ={}) == empty
    assert empty.collection == Collection()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("no", id="no"),
        pytest.param("off", id="off"),
        pytest.param("2024-01-01", id="date"),
        pytest.param("12:30", id="clock"),
        pytest.param("<<", id="merge-sign"),
        pytest.param("'7'", id="quoted-number"),
        pytest.param("!!str 7", id="tagged-text"),
    ],
)
def test_text_that_older_yaml_takes_for_something_else_is_text(text: str) -> None:
    """No label value is silently turned into a boolean, a date or a number of minutes."""
    (target,) = load(MINIMAL.replace("vision", text), environ={}).targets

    assert target.project == text.strip("'").removeprefix("!!str ")


@pytest.mark.parametrize(
    "credentials, expected",
    [
        pytest.param("{type: metadata}", Metadata(), id="metadata"),
        pytest.param(
            "{type: aksk, access_key: a, secret_key: s}",
            AkSk(access_key=Secret("a"), secret_key=Secret("s")),
            id="aksk",
        ),
        pytest.param(
            '{type: aksk, access_key: a, secret_key: s, security_token: ""}',
            AkSk(access_key=Secret("a"), secret_key=Secret("s")),
            id="aksk-empty-token",
        ),
        pytest.param(
            "{type: password, username: u, password: p, domain_name: d}",
            Password(username=Secret("u"), password=Secret("p"), domain_name=Secret("d")),
            id="password",
        ),
    ],
)
def test_credentials_are_chosen_by_their_type(credentials: str, expected: object) -> None:
    """`type` determines the keys, and equal targets compare equal."""
    (target,) = load(target_with("", credentials=credentials), environ={}).targets

    assert target.credentials == expected


@pytest.mark.parametrize(
    "credentials, expected",
    [
        pytest.param("{}", "type: missing; must be one of aksk, password, metadata, pod_identity", id="no-type"),
        pytest.param(
            "{type: token}",
            'type: must be one of aksk, password, metadata, pod_identity, not "token"',
            id="unknown-type",
        ),
        pytest.param("{type: metadata, access_key: x}", "access_key: unknown key", id="key-of-another-type"),
        pytest.param("{type: aksk, access_key: a}", "secret_key: missing", id="half-a-pair"),
        pytest.param(
            "{type: aksk, access_key: 7, secret_key: s}",
            "access_key: must be text, not a number; put it in quotes",
            id="number-not-shown",
        ),
        pytest.param('{type: aksk, access_key: "", secret_key: s}', "access_key: must not be empty", id="empty-key"),
        pytest.param(
            '{type: aksk, access_key: "a\\nb", secret_key: s}',
            "access_key: must not contain control characters",
            id="newline-in-key",
        ),
        pytest.param(
            '{type: aksk, access_key: "${vault:x}", secret_key: s}',
            "access_key: contains ${ that is neither ${env:NAME} nor ${file:/path}; write $${ for a literal ${",
            id="unknown-reference",
        ),
        pytest.param(
            '{type: aksk, access_key: "${env:}", secret_key: s}',
            "access_key: contains ${ that is neither ${env:NAME} nor ${file:/path}; write $${ for a literal ${",
            id="nameless-reference",
        ),
        pytest.param(
            '{type: aksk, access_key: "${file:sk}", secret_key: s}',
            "access_key: the path in ${file:...} must be absolute",
            id="relative-path",
        ),
    ],
)
def test_wrong_credentials_are_one_sentence(credentials: str, expected: str) -> None:
    """A problem of a credential is reported without its content."""
    assert problems(target_with("", credentials=credentials)) == (f"targets[0].credentials.{expected}",)


def test_an_optional_secret_may_come_out_empty() -> None:
    """A chart sets the variable of an unused token to an empty value."""
    pair = '{type: aksk, access_key: a, secret_key: s, security_token: "${env:TOKEN}"}'
    (target,) = load(target_with("", credentials=pair), environ={"TOKEN": ""}).targets

    assert target.credentials == AkSk(access_key=Secret("a"), secret_key=Secret("s"))


@pytest.mark.parametrize("odd", [pytest.param(bytes, id="scalar"), pytest.param(int | str, id="union")])
def test_a_field_without_a_decoder_is_a_type_error(odd: object) -> None:
    """A new field of an unsupported type fails at the first file."""
    section = msgspec.defstruct("Odd", [("field", odd)])
    problems = Problems()
    node = parse("field: 1", problems)
    assert node is not None

    with pytest.raises(TypeError, match=r"^field: no decoder for"):
        Decoder(environ={}, problems=problems).section(node, section)
