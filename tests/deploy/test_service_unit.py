"""The unit of systemd is valid, closed, and agrees with the code."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from andon.monitor.health import LONGEST_START_S
from andon.monitor.web.settings import WebSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = (DEPLOY / "andon.service").read_text(encoding="utf-8")
MOST_EXPOSED = 2.0
"""Upper limit of systemd's own score, from 0 (closed) to 10."""


def _version() -> int:
    """Return the version of systemd, or 0 if it is not installed."""
    if shutil.which("systemd-analyze") is None:
        return 0
    done = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, timeout=60, check=True)
    return int(re.findall(r"systemd (\d+)", done.stdout)[0])


needs_systemd = pytest.mark.skipif(_version() < 252, reason="no systemd-analyze of version 252 or later")


def value(key: str) -> str:
    found = re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)
    assert len(found) == 1
    return str(found[0])


def analyze(*words: object) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@needs_systemd
def test_systemd_accepts_the_unit_without_a_warning(tmp_path: Path) -> None:
    unit = tmp_path / "andon.service"
    # the only change: a program that exists here
    unit.write_text(UNIT.replace("/opt/andon/bin/andon", sys.executable))

    done = analyze("verify", "--man=no", "--recursive-errors=no", unit)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_systemd_reports_a_mistake_in_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "andon.service"
    unit.write_text(UNIT.replace("/opt/andon/bin/andon", sys.executable).replace("WatchdogSec", "WatchdogSeconds"))

    assert "WatchdogSeconds" in analyze("verify", "--man=no", "--recursive-errors=no", unit).stderr


@needs_systemd
def test_the_service_is_closed_as_far_as_systemd_can_measure_it() -> None:
    done = analyze("security", "--offline=true", f"--threshold={int(MOST_EXPOSED * 10)}", DEPLOY / "andon.service")

    assert done.returncode == 0, done.stdout


def test_the_timeouts_of_the_unit_are_those_of_the_code() -> None:
    assert float(value("TimeoutStartSec")) == LONGEST_START_S
    assert int(value("WatchdogSec")) >= 3
    assert value("Type") == "notify"
    assert value("StartLimitIntervalSec") == "0"


def test_the_health_check_of_the_container_asks_the_default_port() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")

    assert f"http://127.0.0.1:{WebSettings().port}/readyz" in text
    assert "NOT BUILT YET" in text
