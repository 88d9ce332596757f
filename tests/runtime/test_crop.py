"""The pixels of the crop."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from andon.runtime.crop import WHOLE, window


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_whole_frame_is_all_of_it(height: int, width: int) -> None:
    assert window((height, width), WHOLE) == (slice(0, height), slice(0, width))


@given(st.integers(1, 5000), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_two_crops_that_meet_leave_no_row_out_and_none_twice(side: int, one: float, other: float, third: float) -> None:
    low, middle, high = sorted((one, other, third))

    upper, _ = window((side, 1), (0.0, low, 1.0, middle))
    lower, _ = window((side, 1), (0.0, middle, 1.0, high))
    both, _ = window((side, 1), (0.0, low, 1.0, high))

    rows = np.arange(side)
    assert np.array_equal(np.concatenate([rows[upper], rows[lower]]), rows[both])
