"""The benchmark of outputs runs, and its figures are those of a run without a loss."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.monitor.receivers import needs_mosquitto


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        pytest.param("mqtt", True, marks=needs_mosquitto),
        pytest.param("mqtt", False, marks=needs_mosquitto),
        ("kafka", False),
        ("webhook", False),
    ],
)
def test_a_short_run_delivers_everything_in_order(kind: str, stored: bool, tmp_path: Path) -> None:
    if kind == "kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed (extra [kafka])")
    command = [
        sys.executable,
        "-m",
        "benchmarks.outputs",
        kind,
        "--events",
        "2000",
        "--away-s",
        "0.5",
        "--hang-s",
        "0.5",
    ]
    command += ["--store", str(tmp_path)] if stored else []
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(ended.stdout)

    assert (figures["received"], figures["gaps"], figures["lost"]) == (2000, 0, 0)
    assert figures["ended"]
