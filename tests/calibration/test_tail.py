"""Formula 8: the embedded step table, compared with the exact conformal p-value."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from andon.calibration.tail import Tail, tail
from andon.foundation.errors import CalibrationError

tied_scores = arrays(np.float32, st.integers(1, 40), elements=st.integers(-20, 20).map(lambda i: i / 4))
free_scores = arrays(np.float32, st.integers(1, 40), elements=st.floats(-(2.0**100), 2.0**100, width=32))


@st.composite
def many_scores(draw: st.DrawFn) -> NDArray[np.float32]:
    """Return more scores than knots, with ties of any size. numpy draws them, because hypothesis is slow with long arrays."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    digits = draw(st.integers(0, 6))
    return rng.lognormal(0, 1, draw(st.integers(200, 1500))).round(digits).astype(np.float32)


few_scores = st.one_of(tied_scores, free_scores)
scores = st.one_of(few_scores, many_scores())


def as_the_graph_does(table: Tail, score: np.float32) -> np.float32:
    return np.float32(table.p[int(np.sum(table.x <= score))])


def looked_up(table: Tail, scores: NDArray[Any]) -> NDArray[np.float32]:
    """Look up many scores at once."""
    return table.p[np.searchsorted(table.x, scores.astype(np.float32), side="right")]


def exact(good: NDArray[np.float32], score: np.float32) -> Fraction:
    return Fraction(1 + int((good >= score).sum()), len(good) + 1)


@given(good=scores, asked=st.floats(width=32, allow_nan=False))
def test_p_is_never_below_the_exact_conformal_p(good: NDArray[np.float32], asked: float) -> None:
    table = tail(good)

    for score in [np.float32(asked), *good[:20], *np.nextafter(good[:20], np.float32(np.inf))]:
        assert Fraction(float(as_the_graph_does(table, score))) >= exact(good, score)


@given(
    good=st.one_of(few_scores, many_scores().map(lambda good: good[:256])), asked=st.floats(width=32, allow_nan=False)
)
def test_p_is_exact_where_every_distinct_score_has_a_knot(good: NDArray[np.float32], asked: float) -> None:
    table = tail(good)
    tiny = np.finfo(np.float32).tiny

    for score in [np.float32(asked), *good[:20]]:
        if abs(score) > tiny:
            assert as_the_graph_does(table, score) == pytest.approx(float(exact(good, score)), rel=2e-7)


@given(good=scores)
def test_the_table_has_the_shape_and_order_that_the_graph_relies_on(good: NDArray[np.float32]) -> None:
    x, p = tail(good)

    assert (str(x.dtype), x.shape) == ("float32", (256,))
    assert (str(p.dtype), p.shape) == ("float32", (257,))
    assert p[0] == 1.0
    assert (x[1:] >= x[:-1]).all()
    assert (p[1:] <= p[:-1]).all()
    assert p[-1] == pytest.approx(1 / (len(good) + 1), rel=2e-7)
    assert not np.isnan(x).any()


@given(good=scores, seed=st.integers(0, 1000))
def test_the_order_of_good_parts_does_not_matter(good: NDArray[np.float32], seed: int) -> None:
    for one, other in zip(tail(good), tail(np.random.default_rng(seed).permutation(good)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_of_600_above_give_three_601ths() -> None:
    good = np.random.default_rng(0).normal(size=600).astype(np.float32)
    ascending = np.sort(good)
    between = np.float32((ascending[-3] + ascending[-2]) / 2)

    assert as_the_graph_does(tail(good), between) == pytest.approx(0.004992, abs=1e-6)


def test_the_highest_good_score_is_still_one_that_scores_at_least_this() -> None:
    table = tail([1.0, 2.0, 3.0, 3.0])

    assert as_the_graph_does(table, np.float32(3.0)) == pytest.approx(3 / 5)
    assert as_the_graph_does(table, np.nextafter(np.float32(3.0), np.float32(4.0))) == pytest.approx(1 / 5)


def test_p_is_one_up_to_the_lowest_good_score() -> None:
    table = tail([1.0, 2.0, 3.0])

    assert as_the_graph_does(table, np.float32(-1e30)) == 1.0
    assert as_the_graph_does(table, np.float32(1.0)) == 1.0


@pytest.mark.parametrize(("n", "bound"), [(257, 0.02), (600, 0.03), (3000, 0.045), (30_000, 0.06), (300_000, 0.075)])
def test_skipped_ranks_cost_a_few_percent_of_p(n: int, bound: float) -> None:
    ascending = np.sort(np.random.default_rng(n).normal(size=n).astype(np.float32))
    asked = np.unique(ascending)
    table_p = looked_up(tail(ascending), asked).astype(np.float64)
    exact_p = (1 + n - np.searchsorted(ascending, asked, side="left")) / (n + 1)

    assert (table_p >= exact_p).all()
    assert (table_p / exact_p).max() <= 1 + bound
    assert (table_p / exact_p)[-60:].max() == pytest.approx(1.0, rel=1e-6)  # the top 64 are exact


def test_scores_of_double_precision_are_never_rounded_towards_a_smaller_p() -> None:
    good = np.random.default_rng(1).normal(size=200)
    table = tail(good)

    for score in good.astype(np.float32):
        assert Fraction(float(as_the_graph_does(table, score))) >= Fraction(1 + int((good >= float(score)).sum()), 201)


def test_on_average_a_good_part_has_a_small_p_no_more_often_than_p_says() -> None:
    rng = np.random.default_rng(2)
    low = 0
    for _ in range(400):
        good, fresh = rng.normal(size=99), rng.normal(size=50)
        low += int((looked_up(tail(good), fresh) <= 0.1).sum())

    assert low / 20_000 == pytest.approx(
        0.1, abs=0.012
    )  # three standard errors, dependence within a calibration included


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [float("inf")], [1e39], [[1.0]]])
def test_what_are_no_finite_float32_scores_are_refused(bad: list[float]) -> None:
    with pytest.raises(CalibrationError, match="expected"):
        tail(bad)
