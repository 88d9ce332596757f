"""Damage is visible, marked at the right place, and the same for the same seed."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.damage.kinds import FOR_TRAINING, HELD_OUT, LARGEST, SHARES, VISIBLE, Picture, damaged
from andon.training.contract.synthetic_data import synthetic_frame


def good(number: int = 0, size: tuple[int, int] = (96, 80), channels: int = 3) -> Picture:
    """Return a picture with stripes. A smear on a smooth picture is not visible and is not drawn."""
    smooth = synthetic_frame(number, size)[:, :, :channels].astype(np.float32)
    rows, columns = np.mgrid[: size[0], : size[1]]
    stripes = 40 * np.sign(np.sin(rows / 2.5 + number) * np.cos(columns / 4))
    return np.asarray(np.clip(smooth + stripes[:, :, np.newaxis], 0, 255), np.uint8)


@pytest.mark.parametrize("kind", FOR_TRAINING + HELD_OUT)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_kind_changes_a_picture_where_its_mask_says_and_hardly_elsewhere(kind: str, channels: int) -> None:
    before = good(channels=channels)
    made = [damaged(np.random.default_rng(seed), kind, before, good(1, channels=channels)) for seed in range(20)]
    drawn = [each for each in made if each is not None]

    assert len(drawn) >= (10 if kind == "blend" else 18)  # a blended piece of such regular pictures may not be visible
    for after in drawn:
        change = np.abs(after.picture.astype(float) - before).mean(axis=2)
        assert after.picture.shape == before.shape
        assert after.picture.dtype == np.uint8
        assert 0 < after.mask.mean() <= LARGEST
        assert np.percentile(change[after.mask], 80) > 2 * VISIBLE
        assert (change[~after.mask] > 6 * VISIBLE).mean() < 0.002


@pytest.mark.parametrize("kind", FOR_TRAINING + HELD_OUT)
def test_the_same_seed_draws_the_same_damage(kind: str) -> None:
    one, two = (damaged(np.random.default_rng(4), kind, good(), good(1)) for _ in range(2))

    assert one is not None
    assert two is not None
    assert np.array_equal(one.picture, two.picture)
    assert np.array_equal(one.mask, two.mask)


@settings(max_examples=40)
@given(
    st.sampled_from(FOR_TRAINING + HELD_OUT),
    st.integers(0, 2**31),
    st.tuples(st.integers(16, 150), st.integers(16, 150)),
    st.sampled_from([1, 3]),
)
def test_pictures_of_any_size_are_damaged_or_left_alone_but_never_break(
    kind: str, seed: int, size: tuple[int, int], channels: int
) -> None:
    before = good(size=size, channels=channels)
    kept = before.copy()
    made = damaged(np.random.default_rng(seed), kind, before, good(1, size, channels))

    assert np.array_equal(before, kept)
    assert made is None or made.mask.shape == size


def test_what_nobody_could_see_is_not_called_damage() -> None:
    flat = np.full((64, 64, 3), 128, np.uint8)

    assert damaged(np.random.default_rng(0), "smear", flat, flat) is None


def test_damage_looks_alike_in_a_picture_and_in_the_same_enlarged() -> None:
    """Check that damage on a large camera frame is still visible after the network has made the frame small."""
    small, large = good(size=(256, 256)), good(size=(1024, 1024))
    shares = {
        size: np.median(
            [
                made.mask.mean()
                for seed in range(30)
                if (made := damaged(np.random.default_rng(seed), "spot", picture, picture)) is not None
            ]
        )
        for size, picture in (("small", small), ("large", large))
    }

    assert shares["large"] == pytest.approx(shares["small"], rel=0.4)


def test_a_scratch_ends_at_the_border_and_does_not_come_in_again_on_the_other_side() -> None:
    before = good(size=(96, 96))
    both = 0
    for seed in range(60):
        made = damaged(np.random.default_rng(seed), "scratch", before, before)
        assert made is not None
        touched = [made.mask[:2].any(), made.mask[-2:].any(), made.mask[:, :2].any(), made.mask[:, -2:].any()]
        both += int((touched[0] and touched[1]) or (touched[2] and touched[3]))

    assert both <= 2  # as long as the picture


def test_what_is_measured_by_is_never_learnt_from() -> None:
    assert not set(FOR_TRAINING) & set(HELD_OUT)
    assert set(SHARES) == set(FOR_TRAINING)
    assert sum(SHARES.values()) == pytest.approx(1.0)
    assert SHARES["cutpaste"] <= 0.25


def test_importing_what_draws_leaves_opencv_to_the_host() -> None:
    script = (
        "import os, sys; import andon.damage.kinds, andon.training.fitting.relighting, andon.training.fitting.symmetry; "
        "print('cv2' in sys.modules, [name for name in os.environ if name.startswith('OPENCV')])"
    )
    bare = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV")}
    told = subprocess.run([sys.executable, "-c", script], env=bare, capture_output=True, text=True, check=True)

    assert told.stdout == "False []\n"


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(FOR_TRAINING + HELD_OUT),
    st.integers(0, 2**31),
    st.tuples(st.integers(0, 60), st.integers(0, 50)),
    st.tuples(st.integers(6, 36), st.integers(6, 30)),
)
def test_damage_with_a_mask_lies_within_the_pixels_that_may_change(
    kind: str, seed: int, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    judged = np.zeros((96, 80), np.bool_)
    judged[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]] = True
    before = good()

    drawn = damaged(np.random.default_rng(seed), kind, before, good(1), judged)

    if drawn is not None:
        assert (drawn.picture[~judged] == before[~judged]).all()
        assert not (drawn.mask & ~judged).any()
        assert drawn.mask.any()


# a blended piece of a few stripes is hardly ever visible
@pytest.mark.parametrize("kind", [kind for kind in FOR_TRAINING + HELD_OUT if kind != "blend"])
def test_most_damage_finds_its_place_in_a_region_of_a_tenth_of_the_picture(kind: str) -> None:
    judged = np.zeros((96, 80), np.bool_)
    judged[50:80, 20:46] = True

    made = [damaged(np.random.default_rng(seed), kind, good(), good(1), judged) for seed in range(20)]

    assert sum(one is not None for one in made) >= 15


def test_pixels_that_may_all_change_change_nothing_about_the_limits_of_damage() -> None:
    everywhere = np.ones((96, 80), np.bool_)

    drawn = damaged(np.random.default_rng(3), "scratch", good(), good(1), everywhere)

    assert drawn is not None
    assert 0 < drawn.mask.mean() <= LARGEST
