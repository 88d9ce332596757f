"""Selection of a few rows that are near to all others."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from andon.training.nets.core_set import PROJECTED, k_centre, one_thread


def rows(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn((count, width), generator=torch.Generator().manual_seed(seed))


@given(count=st.integers(1, 40), wanted=st.integers(1, 60), width=st.integers(1, 100), seed=st.integers(0, 1000))
def test_as_many_as_wanted_are_chosen_and_none_twice(count: int, wanted: int, width: int, seed: int) -> None:
    chosen = k_centre(rows(count, width, seed), wanted, seed=seed)

    assert len(set(chosen.tolist())) == len(chosen) == min(count, wanted)
    assert 0 <= int(chosen.min()) <= int(chosen.max()) < count


@given(seed=st.integers(0, 1000), width=st.integers(1, PROJECTED), offset=st.sampled_from([0.0, 1000.0]))
def test_each_one_is_the_farthest_from_those_before_it(seed: int, width: int, offset: float) -> None:
    points = rows(30, width, seed) + offset
    chosen = k_centre(points, 10, seed=seed)
    exact = torch.cdist(points.double(), points.double())

    for done in range(1, len(chosen)):
        away = exact[:, chosen[:done]].amin(dim=1)
        assert away[chosen[done]] >= away.max() - 1e-2


def test_wide_rows_are_covered_from_a_projection_too() -> None:
    """Select one row from each of twenty distant clusters of ten rows in 200 dimensions."""
    clusters = rows(20, 200, seed=1) * 10
    points = (clusters.unsqueeze(1) + 0.1 * rows(10, 200)).flatten(0, 1)

    assert sorted((k_centre(points, 20, seed=0) // 10).tolist()) == list(range(20))


def test_equal_rows_are_still_each_chosen_once() -> None:
    assert sorted(k_centre(torch.ones(6, 3), 6, seed=0).tolist()) == list(range(6))


def test_the_seed_decides_the_first_and_nothing_else_is_drawn() -> None:
    points = rows(100, 5)

    assert torch.equal(k_centre(points, 20, seed=4), k_centre(points, 20, seed=4))
    assert len({int(k_centre(points, 1, seed=seed)[0]) for seed in range(20)}) > 10


def test_threads_are_as_before_even_where_progress_raises() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)

    def stop(_what: str, _done: int, _total: int | None) -> None:
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt), one_thread():
            k_centre(rows(10, 3), 5, seed=0, progress=stop)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
