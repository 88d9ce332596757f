"""The benchmark of Modbus runs, and nothing is lost or out of order."""

import json
import subprocess
import sys

import pytest
from tests.modbus_server import needs_pymodbus


@needs_pymodbus
@pytest.mark.slow
def test_a_short_run_gives_every_signal_and_reads_every_value() -> None:
    command = [sys.executable, "-m", "benchmarks.modbus", "--signals", "10", "--calls", "100", "--seconds", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    found = {line.get("intents", line["what"]): line for line in lines}

    assert [found[name]["fired"] for name in ("memory", "store")] == [10, 10]
    assert [found[name]["coil_on"] for name in ("memory", "store")] == [10, 10]
    assert [found[name]["right"] for name in ("poll", "write")] == [100, 100]
    assert found["sample"]["samples"] > 0
    assert found["order"]["in_order"]
