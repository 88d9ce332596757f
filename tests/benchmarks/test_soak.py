"""The soak of the monitor in a short form."""

from pathlib import Path

import pytest

pytest.importorskip("torch")


# Complaint 28: memory is not given back after a reload, or grows with each change of a source.
@pytest.mark.slow
def test_memory_threads_and_files_stay_constant_over_source_losses_and_reloads(tmp_path: Path) -> None:
    from benchmarks.soak import soak

    figures = soak(frames=24_000, losses=6, reloads=4, root=tmp_path, look_every=4000)

    assert figures["judged"] == figures["delivered"] == 24_000
    assert figures["exact"]
    assert figures["losses"] >= 6
    assert figures["reloads"] == 8
    assert len(figures["threads"]) == 1
    assert max(figures["open_files"]) - min(figures["open_files"]) <= 2
    assert figures["growth_mb"] < 32, figures
