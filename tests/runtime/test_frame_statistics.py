"""Statistics of frames: within their bounds, and equal to a slow reference."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from andon.runtime.frame_statistics import FrameStatistics, Sample, measure

Frame = NDArray[np.uint8]


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))),
    st.integers(0, 3),
)
def test_any_frame_can_be_measured_within_bounds_and_equals_itself(frame: Frame, stripes: int) -> None:
    if stripes:
        frame = np.repeat(frame, stripes, axis=0)
    first, sample = measure(frame)
    again, _ = measure(frame, sample)

    assert 0 <= again.low <= again.high <= 255
    assert 0 <= again.overexposed <= 1
    assert 0 <= again.contrast <= 127.5
    assert 0 <= again.repeated_rows <= 1
    assert again.row_jump > 0
    assert (first.difference, again.difference) == (None, 0.0)
    assert msgspec.json.decode(msgspec.json.encode(again), type=FrameStatistics) == again


@given(arrays.arrays(np.uint8, st.tuples(st.integers(4, 40), st.integers(4, 40), st.just(1))))
def test_levels_and_sharpness_agree_with_slow_numpy(frame: Frame) -> None:
    seen, _ = measure(frame)
    grey = frame[:, :, 0].astype(np.float64)
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]

    assert seen.contrast == pytest.approx(grey.std(), abs=1e-9)
    assert seen.overexposed == (grey >= 250).mean()
    assert seen.high == np.quantile(grey, 0.99, method="inverted_cdf")
    assert seen.low == np.quantile(grey, 0.01, method="inverted_cdf")
    assert seen.sharpness == pytest.approx(laplacian.var(), rel=1e-4, abs=0.1)


def test_a_sample_of_another_size_is_ignored() -> None:
    other = Sample((5, 5, 1), np.zeros((5, 5), np.uint8))

    assert measure(np.zeros((40, 60, 3), np.uint8), other)[0].difference is None


@pytest.mark.parametrize("frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 1)), np.zeros((0, 4, 1), np.uint8)])
def test_an_array_that_is_not_a_frame_is_refused(frame: Any) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, C\] with pixels"):
        measure(frame)
