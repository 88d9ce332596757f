"""The benchmark of OPC UA runs, and its figures are those of a run without a loss."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("asyncua", reason="asyncua is not installed")


def run(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.opcua", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, cwd=Path(__file__).parents[2], check=True
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.mark.slow
def test_a_short_run_of_changes_has_a_cost_for_each_receiver() -> None:
    figures = run("changes", "--count", "1000", "--turns", "1")

    assert figures["changes"] == 1000
    assert 0.0 < figures["subscription_us"] < figures["windows_us"]


@pytest.mark.slow
def test_a_hung_server_is_noticed_by_source_and_controller() -> None:
    figures = run("hang", "--count", "1")

    assert 1.9 < figures["stale_s"][0] < 6.0
    assert 0.9 < figures["write_s"][0] < 3.0


@pytest.mark.slow
def test_a_short_run_of_writes_ends_with_the_last_number() -> None:
    assert run("write", "--count", "20")["writes"] == 20
