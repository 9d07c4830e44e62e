from pathlib import Path

import pytest

from tests.certificates import Authority, Pair


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that all clients trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def server(authority: Authority) -> Pair:
    """The certificate of a server on 127.0.0.1."""
    return authority.issue("server", "IP:127.0.0.1", "DNS:localhost")


@pytest.fixture
def folder(tmp_path: Path, authority: Authority, server: Pair) -> Path:
    """A folder with cert.pem, key.pem and ca.pem, for web configurations."""
    for name, path in (("cert.pem", server.certificate), ("key.pem", server.key), ("ca.pem", authority.certificate)):
        (tmp_path / name).write_bytes(path.read_bytes())
    return tmp_path
