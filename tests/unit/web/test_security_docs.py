"""The pages on security: their examples work, and the tests they name exist."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from exporter.web.config import load_web_config
from exporter.web.limits import Limits
from exporter.web.tls import KEYS
from tests.programs import found

ROOT = Path(__file__).parents[3]
SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
THREATS = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")


def examples() -> list[str]:
    """The YAML blocks of the page, without their indentation."""
    blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```$", SECURITY, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in blocks]


@pytest.mark.parametrize("text", [text for text in examples() if "tls_server_config" in text])
def test_web_configurations_of_the_page_work(folder: Path, text: str) -> None:
    """Each web configuration that is shown can be used as it stands, beside files of the names it gives."""
    for name, given in (("tls.crt", "cert.pem"), ("tls.key", "key.pem"), ("ca.crt", "ca.pem")):
        (folder / given).rename(folder / name)
    path = folder / "web.yml"
    path.write_text(text, encoding="utf-8")
    assert load_web_config(path).tls is not None


def test_page_has_both_kinds_of_example() -> None:
    """The page shows users and client certificates, and how to configure Prometheus."""
    keys = {key for text in examples() for key in yaml.safe_load(text)}
    assert keys == {"tls_server_config", "basic_auth_users", "scrape_configs"}


def test_prometheus_takes_the_example(tmp_path: Path) -> None:
    """The scrape configuration that is shown is one, but for files that stand elsewhere."""
    (text,) = (text for text in examples() if "scrape_configs" in text)
    for name in ("tls.crt", "password"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    path = tmp_path / "prometheus.yml"
    path.write_text(text.replace("/etc/prometheus/modelarts-exporter", str(tmp_path)), encoding="utf-8")
    done = subprocess.run(
        [found("promtool"), "check", "config", "--syntax-only", str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_explained(key: str) -> None:
    """Every TLS key is documented."""
    assert f"{key}`" in SECURITY


def test_bounds_are_those_in_force() -> None:
    """The table of limits has the values of the code."""
    limits = Limits()
    for fact in (
        f"| connections | {limits.connections} |",
        f"first byte | {limits.request_s:g} s | cut |",
        f"| {limits.line_bytes} bytes | 400 |",
        f"| {limits.head_bytes // 1024} KiB, {limits.headers} headers | 431, 400 |",
        f"| {limits.idle_s:g} s | closed |",
        f"| {limits.response_s:g} s | cut |",
    ):
        assert fact in SECURITY
    assert limits.handshake_s == limits.request_s


def test_each_proof_is_a_test() -> None:
    """Every test that the threat model names exists."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", THREATS))
    assert len(named) > 30
    assert {name for name in named if f"def {name}(" not in sources} == set()
