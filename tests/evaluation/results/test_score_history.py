"""Quantiles of scores by day from counts in bins: accurate, and independent of batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from andon.evaluation.results.part_counts import NO_DAY, Mark, Names
from andon.evaluation.results.score_history import ScoreHistory, bins, middle_of

SHARES = [0.05, 0.5, 0.95, 0.99]
finite = st.floats(-(2.0**100), 2.0**100, width=32)


def named(*texts: str) -> Names:
    import pyarrow as pa

    names = Names()
    names.codes(pa.array(list(texts)))
    return names


@given(scores=st_numpy.arrays(np.float32, st.integers(1, 50), elements=finite))
def test_the_bins_keep_the_order_and_the_middle_of_a_bin_is_near_its_numbers(scores: np.ndarray) -> None:
    ordered = np.sort(scores)
    places = bins(ordered)

    assert (np.diff(places) >= 0).all()
    usual = np.abs(ordered) > 1e-35
    assert middle_of(places)[usual] == pytest.approx(ordered[usual], rel=1e-3)


def test_the_quantiles_of_each_day_agree_with_numpy_for_any_batches() -> None:
    generator = np.random.default_rng(1)
    count = 20_000
    score = generator.gamma(3.0, 0.2, count).astype(np.float32)
    line = generator.integers(-1, 2, count).astype(np.int32)
    day = generator.integers(-5, 5, count).astype(np.int32)
    mark = generator.integers(0, 3, count).astype(np.int8)
    history = ScoreHistory()
    for batch in np.array_split(np.arange(count), 7):
        history.add(line[batch], day[batch], mark[batch], score[batch])

    found = history.quantiles(named("b", "a"), SHARES, [Mark.GOOD, Mark.UNKNOWN])

    assert list(found) == ["a", "b", None]
    for code, name in ((0, "b"), (1, "a"), (-1, None)):
        assert found[name].days.tolist() == list(range(-5, 5))
        for place, one_day in enumerate(found[name].days):
            of_day = score[(line == code) & (day == one_day) & (mark != Mark.OTHER)]
            assert found[name].items[place] == len(of_day)
            expected = np.quantile(of_day, SHARES, method="inverted_cdf")
            assert found[name].quantiles[place] == pytest.approx(expected, rel=1e-3)


def test_rows_without_a_time_are_counted_and_left_out() -> None:
    history = ScoreHistory()
    history.add(
        np.array([0, 0], np.int32), np.array([3, NO_DAY], np.int32), np.zeros(2, np.int8), np.ones(2, np.float32)
    )

    assert history.without_day == 1
    assert history.quantiles(named("a"), [0.5], Mark)["a"].items.tolist() == [1]


def test_nothing_gives_no_history() -> None:
    assert ScoreHistory().quantiles(named(), [0.5], Mark) == {}
