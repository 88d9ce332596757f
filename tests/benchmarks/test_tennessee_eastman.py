"""The evaluation on Tennessee Eastman: delays, limits, and the one file that is stored transposed."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.sensor_models import Windows
from benchmarks.tennessee_eastman import FAULTS, ONSET, Line, at_limit, delay_rows, limit_of, read, render


def test_a_delay_ends_with_the_first_of_three_alarms_in_a_row() -> None:
    assert delay_rows(np.array([True, True, False, True, True, True])) == 3
    assert delay_rows(np.array([True, True, False, True, True])) is None


def test_the_limit_lets_one_good_row_in_a_hundred_pass_at_most() -> None:
    good = np.random.default_rng(0).permutation(960).astype(float)

    assert (good > limit_of(good)).sum() == 9
    assert (good > limit_of(good, 0.05)).sum() == 47


def test_rows_before_the_onset_are_false_alarms_and_those_after_it_misses() -> None:
    scores = np.zeros(960)
    scores[10], scores[ONSET + 5 :] = 9.0, 9.0
    runs = {
        fault: Windows(ends=np.arange(960), scores={"score": scores}, rejected=np.zeros(960, np.bool_))
        for fault in FAULTS
    }

    missed, false_alarms, delays = at_limit(runs, "score", 1.0)

    assert missed == pytest.approx((5 / 800,) * 21)
    assert false_alarms == pytest.approx(1 / 160)
    assert delays == (15.0,) * 21


def test_means_are_with_and_without_the_faults_that_nobody_sees() -> None:
    missed = tuple(1.0 if fault in (3, 9, 15) else 0.25 for fault in FAULTS)
    line = Line(detector="pca", score="q", limit="1 %", missed=missed, false_alarms=0.01, delay_minutes=(None,) * 21)

    assert line.mean_missed == pytest.approx((3 + 18 * 0.25) / 21)
    assert line.mean_missed_seen == 0.25
    assert line.median_delay is None
    assert "never" in render([line])


@pytest.mark.data
def test_every_run_has_its_rows_below_each_other(andon_data: Path) -> None:
    folder = andon_data / "tennessee_eastman"

    assert [read(folder / name).shape for name in ("d00.dat.gz", "d01.dat.gz", "d00_te.dat.gz")] == [
        (500, 52), (480, 52), (960, 52),
    ]  # fmt: skip
