"""An acknowledged event survives the end of the process at any moment."""

import sys
from pathlib import Path

import pytest
from benchmarks.store_kills import run_kills


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the system has no kill -9")
def test_no_acknowledged_event_is_lost_and_none_is_out_of_order_after_kills(tmp_path: Path) -> None:
    figures = run_kills(tmp_path, kills=5, seed=1, longest_s=0.3)

    assert figures.acknowledged > 0
    assert figures.stored >= figures.acknowledged
    assert figures.delivered >= figures.stored
    assert figures.intents > 0
