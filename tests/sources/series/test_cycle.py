"""The dominant cycle of a log."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from andon.sources.series.cycle import autocorrelation, dominant_cycle

Values = NDArray[np.float32]


def cyclic(rows: int, period: float, *, noise: float = 0.3, channels: int = 2, seed: int = 0) -> Values:
    generator = np.random.default_rng(seed)
    phase = 2 * np.pi * np.arange(rows)[:, np.newaxis] / period + generator.uniform(0, 6, channels)
    return (np.sin(phase) + noise * generator.normal(size=(rows, channels))).astype(np.float32)


def autoregressive(rows: int, phi: float, seed: int, channels: int = 3) -> Values:
    steps = np.random.default_rng(seed).normal(size=(rows, channels))
    for row in range(1, rows):
        steps[row] += phi * steps[row - 1]
    return steps.astype(np.float32)


@settings(max_examples=40)
@given(period=st.integers(5, 120), seed=st.integers(0, 100))
def test_a_noisy_cycle_is_found_to_within_a_row_in_thirty(period: int, seed: int) -> None:
    found = dominant_cycle([cyclic(period * 20, period, seed=seed)])
    assert found is not None
    assert abs(found.rows - period) <= max(1, period / 30)
    assert found.channels == 2


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_noise_has_no_cycle(phi: float) -> None:
    # measured: 1 of 900 such series
    found = [dominant_cycle([autoregressive(1000, phi, seed)]) for seed in range(25)]
    assert sum(one is not None for one in found) == 0


def test_a_trend_and_constant_channels_have_no_cycle() -> None:
    rows = np.linspace(0, 5, 500, dtype=np.float32)[:, np.newaxis]
    assert dominant_cycle([rows, np.full((500, 1), 7.0, np.float32)]) is None
    assert dominant_cycle([np.full((500, 3), 7.0, np.float32)]) is None
    assert dominant_cycle([]) is None


@settings(max_examples=20)
@given(scale=st.sampled_from([1e-3, 1.0, 1e4]), shift=st.sampled_from([-1e3, 0.0, 50.0]), trend=st.floats(-3, 3))
def test_scale_level_and_trend_do_not_change_the_cycle(scale: float, shift: float, trend: float) -> None:
    plain = cyclic(600, 40)
    changed = plain * scale + shift * scale + np.linspace(0, trend * scale, 600)[:, np.newaxis]
    before, after = dominant_cycle([plain]), dominant_cycle([changed.astype(np.float32)])
    assert before is not None
    assert after is not None
    assert abs(before.rows - after.rows) <= 1


def test_the_cycle_is_found_over_several_runs_of_which_none_is_long() -> None:
    found = dominant_cycle([cyclic(200, 25, seed=seed) for seed in range(5)])
    assert found is not None
    assert found.rows == 25


def test_a_cycle_in_too_few_channels_is_not_that_of_the_machine() -> None:
    noise = autoregressive(1000, 0.0, 0, channels=9)
    one = cyclic(1000, 50, channels=1)
    assert dominant_cycle([np.concatenate([one, noise[:, :3]], axis=1)]) is not None
    assert dominant_cycle([np.concatenate([one, noise], axis=1)]) is None


def test_the_first_of_equally_high_peaks_is_the_cycle() -> None:
    found = dominant_cycle([cyclic(2000, 20, noise=0.0)])
    assert found is not None
    assert found.rows == 20


def test_the_autocorrelation_agrees_with_its_definition() -> None:
    values = autoregressive(80, 0.5, 3, channels=1)[:, 0].astype(np.float64)
    place = np.linspace(-1, 1, 80)
    left = values - np.polyval(np.polyfit(place, values, 1), place)
    slow = [np.mean(left[: 80 - lag] * left[lag:]) / np.mean(left**2) for lag in range(41)]
    assert autocorrelation([values]) == pytest.approx(slow, abs=1e-9)
