"""A certificate of its own for each session."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.monitor.web.pages import ACT, VIEW


class Certificate(NamedTuple):
    cert: Path
    key: Path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make a self-signed certificate for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        [*command, *names, "-keyout", str(made.key), "-out", str(made.cert)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    made.key.chmod(0o600)
    return made


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that `protected` names."""
    monkeypatch.setenv("ANDON_TEST_VIEW", VIEW)
    monkeypatch.setenv("ANDON_TEST_ACT", ACT)
