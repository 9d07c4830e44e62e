"""Secrets: never shown, read from their files at each use, and rejected if they cannot be read."""

import copy
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.settings import AkSk, Secret, SecretFile, SecretUnreadable, SettingsError, load

HIDDEN = "invented-secret-0123"


def settings_text(secret_key: str) -> str:
    """A good file with that secret key."""
    return (
        "targets: [{project: vision, cloud: otc, region: eu-de, project_id: '0123456789abcdef0123456789abcdef', "
        f"credentials: {{type: aksk, access_key: EXAMPLEAK, secret_key: '{secret_key}'}}}}]"
    )


def loaded_secret(secret_key: str, **environ: str) -> Secret:
    """The secret key as the settings hold it."""
    (target,) = load(settings_text(secret_key), environ=environ).targets
    assert isinstance(target.credentials, AkSk)
    return target.credentials.secret_key


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(str, id="str"),
        pytest.param(repr, id="repr"),
        pytest.param(lambda secret: f"{secret}", id="f-string"),
        pytest.param(lambda secret: f"{secret:>30}", id="f-string-width"),
        pytest.param(lambda secret: f"{secret!r}", id="f-string-repr"),
        pytest.param(lambda secret: "%s %r" % (secret, secret), id="percent"),  # noqa: UP031 - the old way counts too
        pytest.param(lambda secret: str([secret, {secret: (secret,)}]), id="containers"),
        pytest.param(lambda secret: repr(AkSk(access_key=secret, secret_key=secret)), id="struct"),
    ],
)
def test_no_way_of_printing_shows_a_secret(shown: object) -> None:
    """Every way of printing gives the mask."""
    assert callable(shown)
    text = shown(Secret(HIDDEN, SecretFile(Path("/nowhere"))))

    assert "****" in text
    assert HIDDEN not in text


def test_a_secret_leaves_the_process_by_reveal_only() -> None:
    """Pickling and copying are rejected; there is no attribute dictionary to dump."""
    secret = Secret(HIDDEN)

    assert secret.reveal() == HIDDEN
    assert not hasattr(secret, "__dict__")
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="must not be pickled or copied"):
            leak(secret)


def test_secrets_written_alike_are_equal(tmp_path: Path) -> None:
    """Equality compares the settings, by which a reload finds changes; a rotated file changes no settings."""
    file = tmp_path / "sk"
    file.write_text("one")
    first, second = Secret("x", SecretFile(file)), Secret("x", SecretFile(file), key="elsewhere")
    file.write_text("two")

    assert first == second
    assert hash(first) == hash(second)
    assert first != Secret("x", SecretFile(tmp_path / "other"))
    assert Secret("x") != Secret("y")
    assert Secret("x") != "x"


def test_a_rotated_file_is_used_from_the_next_call(tmp_path: Path) -> None:
    """Written in place with the same size and times, or replaced as Kubernetes does: the new content is used."""
    file = tmp_path / "sk"
    file.write_text("first-secret\n")
    secret = loaded_secret(f"${{file:{file}}}")
    assert secret.reveal() == "first-secret"

    before = file.stat()
    file.write_text("other-secret\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert secret.reveal() == "other-secret"

    swapped = tmp_path / "..data"
    swapped.write_text("third-secret")
    swapped.replace(file)
    assert secret.reveal() == "third-secret"
    assert secret.files == (file,)


def test_a_file_that_vanishes_names_key_and_path_and_comes_back(tmp_path: Path) -> None:
    """An unreadable secret at run time is one sentence; when the file is back, so is the secret."""
    file = tmp_path / "sk"
    file.write_text(HIDDEN)
    secret = loaded_secret(f"${{file:{file}}}")

    file.unlink()
    with pytest.raises(SecretUnreadable) as caught:
        secret.reveal()
    assert str(caught.value) == f"targets[0].credentials.secret_key: {file}: No such file or directory"
    assert caught.value.__cause__ is None
    assert not isinstance(caught.value, OSError)

    file.write_text("again")
    assert secret.reveal() == "again"


@pytest.mark.parametrize(
    "content, wrong",
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"\r\n\n", "is empty", id="newlines-only"),
        pytest.param(
            HIDDEN.encode() + b"\nsecond", "contains control characters or more than one line", id="two-lines"
        ),
        pytest.param(HIDDEN.encode() + b"\x00", "contains control characters or more than one line", id="nul"),
        pytest.param(HIDDEN.encode() + b"\xff", "is not UTF-8 text", id="bytes"),
        pytest.param(HIDDEN.encode() * 4096, "is larger than 64 KiB", id="huge"),
    ],
)
def test_a_file_without_a_usable_secret_is_refused_without_its_content(
    tmp_path: Path, content: bytes, wrong: str
) -> None:
    """What cannot be a secret is a mistake at the start, and the sentence holds nothing of the file."""
    file = tmp_path / "sk"
    file.write_bytes(content)

    with pytest.raises(SettingsError) as caught:
        loaded_secret(f"${{file:{file}}}")

    assert caught.value.problems == (f"targets[0].credentials.secret_key: {file}: {wrong}",)
    assert HIDDEN not in repr(caught.value)


def test_what_would_block_is_not_read(tmp_path: Path) -> None:
    """A pipe without a writer and a folder are rejected, because reading them would block the daemon."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for path in (pipe, tmp_path):
        with pytest.raises(SecretUnreadable, match=r": is not a regular file$"):
            Secret(SecretFile(path), key="k").reveal()


def test_newlines_at_the_end_of_a_file_do_not_count(tmp_path: Path) -> None:
    """Trailing newlines, which editors and `echo` write, are not part of the secret; spaces are kept."""
    file = tmp_path / "sk"
    file.write_bytes(b" with spaces \r\n\n")

    assert Secret(SecretFile(file)).reveal() == " with spaces "


@pytest.mark.parametrize(
    "written, revealed",
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("${env:WHOLE}", "from-env", id="env"),
        pytest.param("a${env:WHOLE}b${env:WHOLE}", "afrom-envbfrom-env", id="inside"),
        pytest.param("$${env:WHOLE}", "${env:WHOLE}", id="escaped"),
        pytest.param("${env:NESTED}", "${env:WHOLE}", id="not-followed-twice"),
        pytest.param("cost$5 {x} $$", "cost$5 {x} $$", id="no-reference"),
        pytest.param("${file:FILE}", "from-file", id="file"),
        pytest.param("${env:WHOLE}:${file:FILE}", "from-env:from-file", id="both"),
    ],
)
def test_references_stand_for_text_whole_or_inside(tmp_path: Path, written: str, revealed: str) -> None:
    """References can be combined with text and with each other; their content is not interpreted."""
    file = tmp_path / "sk"
    file.write_text("from-file\n")

    secret = loaded_secret(written.replace("FILE", str(file)), WHOLE="from-env", NESTED="${env:WHOLE}")

    assert secret.reveal() == revealed


def test_references_work_in_plain_settings_too(tmp_path: Path) -> None:
    """Any text may be a reference: durations, choices, names; the message shows the reference, not the content."""
    file = tmp_path / "region"
    file.write_text("eu-de\n")
    text = settings_text("s").replace("eu-de", f"'${{file:{file}}}'").replace("vision", "'team-${env:TEAM}'")
    more = "\ncollection: {jobs_interval: '${env:EVERY}'}\nmetrics: {user_label: '${env:USERS}'}"
    good = {"TEAM": "a", "EVERY": "10s", "USERS": "drop"}

    settings = load(text + more, environ=good)
    assert settings.targets[0].project == "team-a"
    assert settings.targets[0].endpoint == "https://modelarts.eu-de.otc.t-systems.com"
    assert settings.collection.jobs_interval_s == 10.0
    assert settings.metrics.user_label == "drop"

    file.unlink()
    with pytest.raises(SettingsError) as caught:
        load(text + more, environ={"TEAM": "a", "EVERY": HIDDEN, "USERS": HIDDEN})
    assert caught.value.problems == (
        f"targets[0].region: {file}: No such file or directory",
        'collection.jobs_interval: must be a duration such as 30s, 5m or 1h30m, not "${env:EVERY}"',
        'metrics.user_label: must be one of drop, hash, keep, not "${env:USERS}"',
    )


ANYTHING = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)


@given(before=ANYTHING, after=ANYTHING)
def test_no_problem_repeats_a_secret(before: str, after: str) -> None:
    """Valid or rejected, in the file or in the environment, nothing printed contains the secret."""
    secret = before + HIDDEN + after
    for source, environ in (
        (settings_text(secret.replace("'", "''")), {}),
        (settings_text("${env:SK}"), {"SK": secret}),
        (settings_text("$${" + secret.replace("'", "''")), {}),
        (settings_text("s").replace("eu-de", "'${env:SK}'"), {"SK": secret}),
        (settings_text("s") + "\nmetrics: {idle_threshold: '${env:SK}', user_label: '${env:SK}'}", {"SK": secret}),
    ):
        try:
            printed = repr(load(source, environ=environ).targets[0].credentials)
        except SettingsError as error:
            printed = f"{error} {error!r}"
        assert HIDDEN not in printed


@given(
    before=st.text(alphabet="*&!|>%@`\"'#-?:[]{} ", max_size=3),
    after=st.text(alphabet="*&!|>%@`\"'[]{}\\ ", max_size=3),
)
def test_a_secret_that_breaks_the_yaml_is_not_repeated(before: str, after: str) -> None:
    """Without quotes a secret may become an alias, a tag or a broken string; no message shows it."""
    source = settings_text("s").replace("'s'", before + HIDDEN + after)

    try:
        printed = repr(load(source, environ={}).targets[0].credentials)
    except SettingsError as error:
        printed = f"{error} {error!r}"

    assert HIDDEN not in printed
