"""The simulated device shows the figures on which the defaults rest, without a wall clock."""

import pytest
from benchmarks.micro_batching import simulate

from andon.runtime.micro_batching import BatchRule

# cameras, max_batch, max_wait in ms, 99th percentile in ms, busy share: an independent simulation of the same device
TABLE = [
    (8, 1, 0, 4.6, 0.35),
    (8, 16, 0, 3.5, 0.34),
    (8, 16, 2, 4.3, 0.28),
    (8, 16, 5, 7.5, 0.21),
    (32, 16, 0, 4.5, 0.90),
    (32, 16, 2, 5.0, 0.66),
    (32, 16, 5, 8.5, 0.44),
    (64, 16, 0, 6.6, 0.99),
    (64, 16, 2, 6.7, 0.91),
    (64, 16, 5, 9.9, 0.67),
    (128, 32, 2, 17.7, 1.00),
]


@pytest.mark.parametrize(("cameras", "max_batch", "wait_ms", "p99_ms", "busy"), TABLE)
def test_latency_and_load_are_those_of_the_table(
    cameras: int, max_batch: int, wait_ms: int, p99_ms: float, busy: float
) -> None:
    figures = simulate(cameras, BatchRule(max_batch=max_batch, max_wait_s=wait_ms / 1e3, pad=False), seconds=5)

    assert figures.p99_ms == pytest.approx(p99_ms, rel=0.1)
    assert figures.busy == pytest.approx(busy, rel=0.1)
    assert figures.late == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pad", [False, True])
def test_64_cameras_get_every_verdict_in_time_with_the_default_rule(seed: int, pad: bool) -> None:
    figures = simulate(64, BatchRule(pad=pad), seconds=5, seed=seed)

    assert (figures.frames, figures.late) == (64 * 125, 0)
    assert figures.p99_ms < 10


def test_an_overloaded_device_loses_only_the_frames_that_it_cannot_judge() -> None:
    # a device with batches of 16 judges 16 / 5.5 ms = 2909 of 3200 frames a second
    figures = simulate(128, BatchRule(max_batch=16, pad=False), seconds=5)

    assert figures.late / figures.frames == pytest.approx(1 - 2909 / 3200, abs=0.02)


def test_one_frame_at_a_time_is_not_enough_for_32_cameras() -> None:
    assert simulate(32, BatchRule(max_batch=1, max_wait_s=0), seconds=5).late > 0
