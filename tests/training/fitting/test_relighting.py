"""Good pictures in other light."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from andon.training.fitting.relighting import relit

GREY = np.full((48, 64, 3), 120, np.uint8)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]), st.floats(0.0, 0.5))
def test_a_picture_keeps_its_shape_and_its_order_of_channels(seed: int, channels: int, strength: float) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (24, 32, channels), np.uint8)

    lit = relit(np.random.default_rng(seed), picture, strength)

    assert lit.shape == picture.shape
    assert lit.dtype == np.uint8


def test_no_strength_changes_nothing() -> None:
    assert np.array_equal(relit(np.random.default_rng(0), GREY, 0.0), GREY)


def test_light_changes_smoothly_over_the_picture_and_alike_in_all_channels() -> None:
    lit = relit(np.random.default_rng(1), GREY, 0.1).astype(int)

    assert np.ptp(lit) > 3
    assert np.abs(np.diff(lit, axis=0)).max() <= 3
    assert np.abs(np.diff(lit, axis=1)).max() <= 3
    assert (lit == lit[:, :, :1]).all()


def test_light_varies_by_about_its_strength() -> None:
    means = [relit(np.random.default_rng(seed), GREY, 0.1).mean() for seed in range(300)]

    assert 0.08 < np.std(np.log(np.array(means) / 120)) < 0.13
