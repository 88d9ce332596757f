"""Memory does not depend on the number of undelivered events."""

from pathlib import Path

import pytest
from benchmarks.store_memory import measure


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not report memory there")
def test_memory_does_not_grow_with_undelivered_events(tmp_path: Path) -> None:
    figures = measure(tmp_path, 20_000)

    assert figures["rss_peak_mb"] - figures["rss_after_tenth_mb"] < 12
