"""Halvings of a map, and doublings back to exactly the same size."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from andon.training.nets.convolutions import doubling, halving


@given(st.integers(3, 40), st.integers(3, 40), st.integers(1, 3))
def test_what_was_halved_is_doubled_to_its_own_size(height: int, width: int, times: int) -> None:
    sizes = [(height, width)]
    for _ in range(times):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    widths = (1, 2, 3, 4)[: times + 1]

    small = halving(widths).eval()(torch.rand(2, 1, height, width))
    large = doubling(widths[::-1], sizes[::-1]).eval()(small)

    assert small.shape == (2, widths[-1], *sizes[-1])
    assert large.shape == (2, 1, height, width)
