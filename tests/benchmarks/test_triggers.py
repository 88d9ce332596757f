"""The benchmark of triggers runs, and gets each trigger once and in order."""

import json
import subprocess
import sys

import pytest
from tests.monitor.receivers import needs_mosquitto


@needs_mosquitto
@pytest.mark.slow
def test_a_short_run_gets_each_trigger() -> None:
    command = [sys.executable, "-m", "benchmarks.triggers", "--triggers", "500", "--slow", "20"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(ended.stdout)

    assert figures["triggers"] == 500
    assert 0 < figures["ms_median"] <= figures["ms_longest"]
