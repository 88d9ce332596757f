"""Figures over judged parts."""

import math

import numpy as np
import pytest

from andon.evaluation.figures.part_figures import score_spread
from andon.foundation.errors import DataError


def test_a_spread_is_that_of_the_sample_and_one_score_has_none() -> None:
    some = score_spread(np.array([1.0, 2.0, 6.0]))

    assert (some.mean, some.sd) == pytest.approx((3.0, math.sqrt(7)))
    assert score_spread(np.array([1.0])).sd is None
    with pytest.raises(DataError, match="n >= 1"):
        score_spread(np.array([]))
