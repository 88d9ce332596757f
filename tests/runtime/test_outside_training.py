"""Limits for windows far outside the good ones, and the statistics that the graph compares with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from andon.runtime.calibration_facts import ChannelHealth, Range
from andon.runtime.outside_training import NO_LIMIT, limits, outside, ranges, statistics
from andon.runtime.schema import Channel, Context, OutsideCheck, WindowSpec


def spec_of(good: np.ndarray, *, known: bool = True) -> WindowSpec:
    """Return the specification of good windows ``[n, T, C]`` with their ranges."""
    seen = statistics(good)
    channels = tuple(
        Channel(
            name=f"c{place}",
            center=float(good[..., place].mean()),
            low=low.low if known else None,
            high=high.high if known else None,
            spread=spread if known else None,
            rate=rate if known else None,
        )
        for place, (low, high, spread, rate) in enumerate(
            zip(ranges(seen.low), ranges(seen.high), ranges(seen.spread), ranges(seen.rate), strict=True)
        )
    )
    return WindowSpec(steps=good.shape[1], hop=1, period_s=1.0, channels=channels, outside=OutsideCheck())


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@given(seed=st.integers(0, 1000), steps=st.integers(1, 12), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_no_good_window_is_outside(seed: int, steps: int, scale: float) -> None:
    good = (noise(6, steps, 3, seed=seed) * np.float32(scale)).astype(np.float32)
    spec = spec_of(good)
    assert all(outside(window, spec, limits(spec)) == [] for window in good)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_value_more_than_its_own_range_beyond_the_range_is_outside(sign: int) -> None:
    good = noise(20, 8, 2)
    spec = spec_of(good)
    edge = good[..., 1].max() if sign > 0 else good[..., 1].min()
    width = good[..., 1].max() - good[..., 1].min()
    window = good[0].copy()
    window[:, 1] = edge + sign * 0.99 * width
    window[0, 1] = window[1, 1]
    assert outside(window, spec, limits(spec)) == []
    window[:, 1] = edge + sign * 1.01 * width
    (found,) = outside(window, spec, limits(spec))
    assert (found.channel, found.kind) == ("c1", "value")
    assert found.detail.startswith(f"c1: {window[0, 1]:.6g} (limits ")


def test_a_spread_or_a_rate_more_than_three_times_the_highest_good_one_is_outside_although_all_values_are_within() -> (
    None
):
    slow = np.stack([np.linspace(start, start + 0.2, 16) for start in np.linspace(0, 10, 20)])[..., np.newaxis]
    spec = spec_of(slow.astype(np.float32))
    shaking = (5 + np.resize([1.0, -1.0], 16)[:, np.newaxis]).astype(np.float32)
    assert {one.kind for one in outside(shaking, spec, limits(spec))} == {"spread", "rate"}


@pytest.mark.parametrize(("level", "moved"), [(50.0, 50.5), (0.0, 1.0), (1.0, 0.0), (-3.0, -3.1)])
def test_a_channel_that_never_moved_and_moves_now_is_outside(level: float, moved: float) -> None:
    good = np.full((10, 8, 1), level, np.float32)
    spec = spec_of(good)
    window = np.full((8, 1), level, np.float32)
    assert outside(window, spec, limits(spec)) == []
    window[4:] = moved
    assert outside(window, spec, limits(spec))[0].channel == "c0"


def test_a_constant_channel_may_show_the_noise_of_its_converter() -> None:
    good = np.full((10, 8, 1), 2048.0, np.float32)
    spec = spec_of(good)
    window = good[0].copy()
    window[3] += 1.0  # one step of 12 bit at mid-scale
    assert outside(window, spec, limits(spec)) == []


def test_calibration_windows_widen_the_limits_so_that_none_of_them_is_outside() -> None:
    spec = spec_of(noise(20, 8, 1))
    elsewhere = noise(20, 8, 1, seed=1) + np.float32(100)
    assert outside(elsewhere[0], spec, limits(spec))
    seen = statistics(elsewhere)
    health = ChannelHealth(
        name="c0",
        low=float(seen.low.min()),
        high=float(seen.high.max()),
        spread=Range(low=0.0, high=float(seen.spread.max())),
        rate=Range(low=0.0, high=float(seen.rate.max())),
    )
    assert all(outside(window, spec, limits(spec, [health])) == [] for window in elsewhere)


def test_a_channel_without_ranges_has_no_limit() -> None:
    spec = spec_of(noise(5, 8, 2), known=False)
    assert limits(spec).tolist() == [np.float32(NO_LIMIT)] * 8
    assert outside(np.full((8, 2), 1e30, np.float32), spec, limits(spec)) == []


def test_the_farthest_channel_is_the_first() -> None:
    good = noise(20, 8, 3)
    spec = spec_of(good)
    window = good[0].copy()
    window[:, 0] += 50
    window[:, 2] += 5000
    assert next(one.channel for one in outside(window, spec, limits(spec))) == "c2"


@given(center=st.floats(-1e3, 1e3), shift=st.floats(-1e3, 1e3))
def test_the_limits_do_not_depend_on_the_centre_except_for_rounding(center: float, shift: float) -> None:
    good = noise(10, 8, 1)
    spec = spec_of(good)
    other = replace(spec, channels=(replace(spec.channels[0], center=center),))
    window = good[0] + np.float32(shift)
    assert bool(outside(window, spec, limits(spec))) == bool(outside(window, other, limits(other))) or abs(shift) < 30


def test_a_context_channel_is_never_outside_because_it_is_not_judged() -> None:
    good = noise(20, 8, 2)
    good[..., 0] = 1.0
    spec = replace(spec_of(good), context=Context(channel="c0", by="value", bounds=(1.0, 2.0)))
    window = good[0].copy()
    window[4:, 0] = 2.0

    assert outside(window, spec, limits(spec)) == []
    assert outside(window, replace(spec, context=None), limits(replace(spec, context=None))) != []
