"""The benchmark of outputs runs, and its figures are those of a run without a loss."""

import json
import subprocess
import sys

import pytest
from tests.monitor.receivers import needs_mosquitto


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("mqtt", marks=needs_mosquitto), "webhook"])
def test_a_short_run_delivers_everything_in_order(kind: str) -> None:
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
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(ended.stdout)

    assert (figures["received"], figures["gaps"], figures["lost"]) == (2000, 0, 0)
    assert figures["ended"]
    assert figures["largest_page"] == 500
