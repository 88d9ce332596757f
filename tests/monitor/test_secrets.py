"""A secret that is placed wherever secrets go is in no output, log, metric, error, repr or answer. Complaint 25."""

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.monitor.statuses import FULL
from tests.runtime.hand_made import FRAME, model_bytes

from andon.foundation.errors import ConfigError
from andon.foundation.redaction import REVEALED
from andon.foundation.secret import Secret
from andon.monitor.config import read_configuration
from andon.monitor.logs import LogForm, logging_to
from andon.monitor.status import ProcessStatus
from andon.monitor.web.server import WebServer
from andon.monitor.web.settings import WebSettings, check_web

PASSWORD = "canary7f3a/p@ss w:rd?%"
ENCODED = urllib.parse.quote(PASSWORD, safe="")
ADDRESS = f"rtsp://admin:{ENCODED}@127.0.0.1:1/live?token=canary-t0ken-88"
TOKEN = "canary-view-token-0123456789"
LEAKS = ("canary", "p@ss", "p%40ss", "w:rd", "w%3Ard", "t0ken")
ANDON = "import sys; from andon.cli import main; sys.exit(main())"


def leaks(*texts: object) -> list[str]:
    joined = "\n".join(map(str, texts))
    return [leak for leak in LEAKS if leak.lower() in joined.lower()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A line whose camera address is a secret in the environment, and a token in a file."""
    monkeypatch.setenv("ANDON_TEST_CAMERA", ADDRESS)
    (tmp_path / "model.onnx").write_bytes(model_bytes(FRAME))
    (tmp_path / "view").write_text(TOKEN)
    (tmp_path / "view").chmod(0o600)
    (tmp_path / "line.toml").write_text(
        '[[line]]\nname = "bottles"\nmodel = "model.onnx"\n'
        '[line.source]\nkind = "camera"\naddress = { env = "ANDON_TEST_CAMERA" }\n'
        '[[line.sinks]]\nkind = "json_lines"\npath = "verdicts.jsonl"\n'
        '[web]\nport = 0\nview_token = { file = "view" }\n'
    )
    return tmp_path


def run(folder: Path, *words: str, seconds: float) -> tuple[str, int]:
    """Run a command, end it after a while like a service manager, and return all that it wrote."""
    command = [sys.executable, "-c", ANDON, *words]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ.copy()
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    written = [path.read_text(errors="replace") for path in folder.iterdir() if path.name not in ("view", "model.onnx")]
    return "\n".join([output.decode(errors="replace"), *written]), process.returncode


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("-v", "check", "line.toml"), ("-v", "monitor", "line.toml")], ids=["check", "monitor"]
)
def test_the_commands_write_it_nowhere_when_the_camera_refuses(words: tuple[str, ...], folder: Path) -> None:
    output, _ = run(folder, *words, seconds=6)

    assert "127.0.0.1:1" in output
    assert leaks(output) == []


@pytest.fixture
def leaky(folder: Path) -> ProcessStatus:
    """A status in which every text of a library has it, in several spellings."""
    Secret(env="ANDON_TEST_CAMERA").reveal()
    return replace(
        FULL,
        lines=tuple(
            replace(
                line,
                source=ADDRESS,
                failure=f"Connection to {ADDRESS} refused",
                reload_error=f"user info {PASSWORD}",
                model_name=f"x {json.dumps(PASSWORD)}",
            )
            for line in FULL.lines
        ),
        store=FULL.store and replace(FULL.store, failing=f"{ENCODED} and canary-t0ken-88"),
        outputs=tuple(replace(output, failing=repr(PASSWORD)) for output in FULL.outputs),
    )


@pytest.mark.parametrize("form", ["plain", "json"])
def test_no_answer_and_no_log_line_of_the_server_has_it(form: LogForm, leaky: ProcessStatus, folder: Path) -> None:
    settings = WebSettings(port=0, view_token=Secret(file=str(folder / "view")))
    failing = [False]

    def status() -> ProcessStatus:
        if failing[0]:
            raise OSError(f"cannot read {ADDRESS} with {PASSWORD} and {TOKEN}")
        return leaky

    stream = io.StringIO()
    answers = []
    with logging_to(stream, form), WebServer(status, settings) as server:
        for broken in (False, True):
            failing[0] = broken
            time.sleep(1.05 if broken else 0.0)  # the cache of the answers
            for path in ("/metrics", "/livez", "/readyz", "/status", f"/{ENCODED}?token={TOKEN}"):
                for headers in ({"Authorization": f"Bearer {TOKEN}"}, {"Authorization": f"Bearer {TOKEN}-wrong"}, {}):
                    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
                    connection.request("GET", path, headers=headers)
                    answer = connection.getresponse()
                    answers.append(f"{answer.status} {answer.headers} {answer.read().decode()}")
                    connection.close()

    assert {answer[:3] for answer in answers} >= {"200", "401", "500"}
    assert "cannot read" in stream.getvalue()
    assert leaks(*answers) == []
    assert leaks(stream.getvalue()) == []


def test_no_repr_of_an_object_has_it(leaky: ProcessStatus, folder: Path) -> None:
    settings = WebSettings(port=0, view_token=Secret(file=str(folder / "view")))
    with WebServer(lambda: leaky, settings) as server:
        assert leaks(repr(server), repr(settings), repr(REVEALED), repr(read_configuration(folder / "line.toml"))) == []


def test_no_error_about_a_setting_has_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("canary", "canary with spaces in the middle", "cänary" * 8):
        monkeypatch.setenv("ANDON_TEST_VIEW", value)
        with pytest.raises(ConfigError) as refusal:
            check_web(WebSettings(view_token=Secret(env="ANDON_TEST_VIEW")))
        assert leaks(refusal.value, repr(refusal.value)) == []
        assert refusal.value.__cause__ is refusal.value.__context__ is None
