"""Fit of the scene check: centre, weights and limits from good and wrong frames."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from andon.calibration.scene import COARSE, NO_LIMIT, TONES, scene_numbers
from andon.calibration.wrong_frames import KINDS, TURNED
from andon.runtime.model_file.format import SceneNumbers

COUNT = TONES + COARSE + 4 * 6


def features(count: int, *, seed: int = 0, shift: float = 0.0) -> NDArray[np.float64]:
    """Return features of frames. `shift` moves a third of them by this number of standard deviations."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(0, 1, (count, COUNT))
    rows[:, ::3] += shift
    return rows


def wrong(shift: float) -> dict[str, NDArray[np.float64]]:
    return {kind: features(5, seed=100 + place, shift=shift) for place, kind in enumerate(KINDS)}


def outside(numbers: SceneNumbers, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which frames exceed a limit, ``[n]``: the arithmetic of the graph, in numpy."""
    blocks = (len(KINDS), rows.shape[1])
    apart = (rows[:, np.newaxis] - numbers.center.reshape(blocks)) * numbers.scale.reshape(blocks)
    return np.asarray((np.sqrt((apart**2).sum(axis=2)) > numbers.limit).any(axis=1))


@settings(deadline=None, max_examples=25)
@given(count=st.integers(8, 60), seed=st.integers(0, 1000))
def test_the_good_frames_of_the_fit_pass_and_frames_far_away_do_not(count: int, seed: int) -> None:
    good = features(count, seed=seed)

    numbers = scene_numbers(good, wrong(30.0))

    assert not outside(numbers, good).any()
    assert outside(numbers, features(10, seed=5, shift=40.0)).all()


def test_new_good_frames_pass() -> None:
    numbers = scene_numbers(features(60), wrong(30.0))

    assert not outside(numbers, features(2000, seed=9)).any()


def test_a_kind_that_looks_like_good_frames_has_no_limit() -> None:
    numbers = scene_numbers(features(60), wrong(0.0))

    assert (numbers.limit == np.float32(NO_LIMIT)).all()
    assert not outside(numbers, features(10, shift=1e6)).any()


def test_a_turned_part_must_differ_more_than_a_dark_one() -> None:
    somewhat = features(5, seed=100, shift=3.0)  # farther than good frames by a factor between 1.3 and 2

    numbers = scene_numbers(features(60), dict.fromkeys(KINDS, somewhat))

    limited = {kind for kind, limit in zip(KINDS, numbers.limit, strict=True) if limit < NO_LIMIT}
    assert limited == set(KINDS) - set(TURNED)


def test_the_limit_lies_between_the_farthest_good_and_the_nearest_wrong_frame() -> None:
    good, shifted = features(80), wrong(20.0)

    numbers = scene_numbers(good, shifted)

    for kind in KINDS:
        assert outside(numbers, shifted[kind]).all()
    assert not outside(numbers, features(50, seed=3, shift=2.0)).any()


def test_a_feature_that_never_varies_does_not_make_new_frames_invalid() -> None:
    good = features(30)
    good[:, TONES : TONES + COARSE] = 7.0

    numbers = scene_numbers(good, wrong(30.0))

    assert np.isfinite(numbers.scale).all()
    nearly = features(30, seed=4)
    nearly[:, TONES : TONES + COARSE] = 7.0 + 1e-9
    assert not outside(numbers, nearly).any()


def test_the_fit_does_not_depend_on_deep_features() -> None:
    grey = TONES + COARSE
    numbers = scene_numbers(features(30)[:, :grey], {kind: rows[:, :grey] for kind, rows in wrong(30.0).items()})

    assert outside(numbers, features(5, shift=40.0)[:, :grey]).all()
