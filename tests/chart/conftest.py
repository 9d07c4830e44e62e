import json
import shutil
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.chart import chart
from tests.chart.pod import Secrets

PASSWORD = "an-invented-password"
"""The password whose hash is in ci/tls-basic-auth-values.yaml."""


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    """The Secrets that the values in ci/ refer to: certificates, a login, and a web configuration."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: TLS OF THE CHART IS NOT TESTED")
    authority = Authority(tmp_path_factory.mktemp("authority"))
    names = ("DNS:modelarts-exporter.monitoring.svc", "DNS:modelarts-exporter.example")
    pairs = {
        "modelarts-exporter-tls": authority.issue("server", *names),
        "prometheus-client-tls": authority.issue("client", "DNS:prometheus"),
    }

    def read(path: Path) -> str:
        return path.read_text(encoding="utf-8")

    users = chart.values_of("tls-basic-auth")["web"]["basicAuth"]["users"]
    folder = "/etc/modelarts-exporter-web/tls"
    tls = {"cert_file": f"{folder}/tls.crt", "key_file": f"{folder}/tls.key"}
    return {
        **{
            name: {
                "tls.crt": read(pair.certificate),
                "tls.key": read(pair.key),
                "ca.crt": read(authority.certificate),
            }
            for name, pair in pairs.items()
        },
        "modelarts-exporter-login": {"username": "prometheus", "password": PASSWORD},
        "modelarts-exporter-web-config": {
            "web-config.yaml": json.dumps({"tls_server_config": tls, "basic_auth_users": users})
        },
    }
