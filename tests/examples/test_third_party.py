"""The three example packages install like any other package, and andon finds and uses what they add."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.slow

_CONTRACT = """
import sys
from pathlib import Path
from andon.training.contract.checks import CHECKS, Specimen
from andon.training.recipe.recipe import recipe

specimen = Specimen(recipe("pixel_spread"), Path(sys.argv[1]))
for check in CHECKS:
    check(specimen)
print(len(CHECKS))
"""


_SOURCE_CONTRACT = """
import sys
from andon.sources.contract import CHECKS, Specimen
from andon_numpy_frames import SOURCE

specimen = Specimen(SOURCE, sys.argv[1])
for check in CHECKS:
    check(specimen)
print(len(CHECKS))
"""

_SINK_CONTRACT = """
import socket
import sys
from pathlib import Path
from andon.monitor.contract import CHECKS, Specimen
from andon_syslog import SINK, Settings

for number, check in enumerate(CHECKS):
    path = Path(sys.argv[1], f"{number}.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        check(Specimen(SINK, Settings(address=str(path)), fail=lambda: (server.close(), path.unlink())))
print(len(CHECKS))
"""


_WRONG_ADDRESSES = """
import andon_syslog
from andon.foundation.errors import ConfigError

for address in ("log.example:514", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "log"):
    try:
        andon_syslog.target(address)
    except ConfigError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all packages were installed into, without a network."""
    pytest.importorskip("hatchling", reason="the build backend of the example packages")
    pytest.importorskip("pip")
    target = tmp_path_factory.mktemp("installed")
    for name in ("third_party_detector", "third_party_source", "third_party_sink"):
        pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
        done = subprocess.run(
            [sys.executable, *pip, "--target", str(target), str(EXAMPLES / name)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty noisy grey levels of 40 x 40, as one array."""
    path = tmp_path_factory.mktemp("data") / "frames.npy"
    generator = np.random.default_rng(0)
    np.save(path, generator.normal(120, 20, (80, 40, 40, 3)).clip(0, 255).astype(np.uint8))
    return path


def _python(installed: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    places = os.pathsep.join(filter(None, (str(installed), os.environ.get("PYTHONPATH", ""))))
    return subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"PYTHONPATH": places},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def _andon(installed: Path, *words: str) -> str:
    done = _python(installed, "-m", "andon", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_lists_the_detector_of_another_package_and_its_settings(installed: Path) -> None:
    assert "pixel_spread" in _andon(installed, "train", "--help")
    assert "--floor" in _andon(installed, "train", "pixel_spread", "--help")


def test_the_detector_keeps_the_contract_of_all_detectors(installed: Path, tmp_path: Path) -> None:
    done = _python(installed, "-c", _CONTRACT, str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_the_source_keeps_the_contract_of_all_sources(installed: Path, frames: Path) -> None:
    done = _python(installed, "-c", _SOURCE_CONTRACT, str(frames))

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no local sockets on this system")
def test_the_sink_keeps_the_contract_of_all_sinks(installed: Path, tmp_path: Path) -> None:
    done = _python(installed, "-c", _SINK_CONTRACT, str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5


def test_a_file_is_trained_exported_and_used_with_all_packages(installed: Path, frames: Path, tmp_path: Path) -> None:
    run, model = str(tmp_path / "run"), str(tmp_path / "model.onnx")

    trained = json.loads(_andon(installed, "train", "pixel_spread", "--data", str(frames), "--out", run, "--json"))
    _andon(installed, "export", run, "-o", model)
    lines = _andon(installed, "score", model, str(frames), "--json").splitlines()

    assert (trained["detector"], trained["input"]) == ("pixel_spread v1", "3 x 64 x 64")
    assert len(lines) == 80
    assert json.loads(lines[7])["item"] == "frames.npy#7"

    watched = _andon(installed, "monitor", model, str(frames), "--rate-hz", "400", "--limit", "5").splitlines()

    assert [json.loads(line)["status"] for line in watched] == [json.loads(line)["status"] for line in lines[:5]]

    np.save(tmp_path / "line.npy", np.zeros((3, 40, 40, 3), np.uint8))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20.0)
        to = f"syslog:address=127.0.0.1:{server.getsockname()[1]},tag=press-3"
        done = _python(installed, "-m", "andon", "monitor", model, str(tmp_path / "line.npy"), "--sink", to)
        assert (done.returncode, "3 syslog messages" in done.stderr) == (3, True)  # 3: some items could not be judged
        messages = [server.recv(2048).decode() for _ in range(3)]

    assert [message.partition(" press-3 - - - ")[2] for message in messages] == [
        f"INVALID line.npy#{number} no_contrast" for number in range(3)
    ]
    assert all(message.startswith("<133>1 20") for message in messages)  # facility 16, severity 5, version 1, the year


def test_a_broken_array_is_refused_in_one_line(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "frames.npy").write_bytes(b"no array")
    done = _python(
        installed,
        "-m",
        "andon",
        "train",
        "pixel_spread",
        "--data",
        str(tmp_path / "frames.npy"),
        "--out",
        str(tmp_path / "r"),
    )

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected an array that numpy.save wrote" in done.stderr


def test_an_address_that_the_sink_cannot_use_is_refused(installed: Path) -> None:
    done = _python(installed, "-c", _WRONG_ADDRESSES)

    assert done.returncode == 0, done.stderr
    refusals = done.stdout.splitlines()
    assert len(refusals) == 5
    expected = "address: expected a path or an IPv4 address and a port, for example 127.0.0.1:514, got '"
    assert all(refusal.startswith(expected) for refusal in refusals)
