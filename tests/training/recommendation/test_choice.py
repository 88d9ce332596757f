"""The rule that chooses a candidate."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import ConfigError
from andon.training.recommendation.choice import GAIN, SAME_TIME, Candidate, choose

BUDGETS = st.floats(0.5, 120.0)
GAINS = st.sampled_from([0.0, GAIN, 0.2, 1.0])


@st.composite
def menus(draw: st.DrawFn) -> list[Candidate]:
    figures = draw(st.lists(st.tuples(st.integers(1, 100), st.none() | st.integers(40, 100)), min_size=0, max_size=6))
    return [
        Candidate(name=f"c{place}", latency_ms=ms, auroc=None if area is None else area / 100)
        for place, (ms, area) in enumerate(figures)
    ]


def named(menu: list[Candidate], name: str | None) -> Candidate:
    return next(one for one in menu if one.name == name)


def within(menu: list[Candidate], budget_ms: float) -> list[Candidate]:
    return [one for one in menu if one.latency_ms <= budget_ms and one.auroc is not None]


@given(menus(), BUDGETS, GAINS)
def test_nothing_is_chosen_exactly_if_nothing_with_an_area_keeps_the_budget(
    menu: list[Candidate], budget_ms: float, gain: float
) -> None:
    found = choose(menu, budget_ms=budget_ms, gain=gain)

    assert (found.chosen is None) == (not within(menu, budget_ms))
    assert (found.rival is None) == (len(within(menu, budget_ms)) < 2)


@given(menus(), BUDGETS, GAINS)
def test_the_chosen_one_keeps_the_budget_and_loses_at_most_the_gain(
    menu: list[Candidate], budget_ms: float, gain: float
) -> None:
    allowed = within(menu, budget_ms)
    if not allowed:
        return
    chosen = named(menu, choose(menu, budget_ms=budget_ms, gain=gain).chosen)

    assert chosen in allowed
    assert (chosen.auroc or 0) >= max(one.auroc or 0 for one in allowed) - gain


@given(menus(), BUDGETS, GAINS)
def test_everything_clearly_faster_than_the_chosen_one_loses_more_than_the_gain(
    menu: list[Candidate], budget_ms: float, gain: float
) -> None:
    allowed = within(menu, budget_ms)
    if not allowed:
        return
    chosen = named(menu, choose(menu, budget_ms=budget_ms, gain=gain).chosen)
    best = max(one.auroc or 0 for one in allowed)

    assert all((one.auroc or 0) < best - gain for one in allowed if SAME_TIME * one.latency_ms < chosen.latency_ms)


@given(menus(), BUDGETS, GAINS, st.randoms())
def test_the_order_of_the_menu_does_not_matter(
    menu: list[Candidate], budget_ms: float, gain: float, random: object
) -> None:
    shuffled = list(menu)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert choose(shuffled, budget_ms=budget_ms, gain=gain) == choose(menu, budget_ms=budget_ms, gain=gain)


@given(menus(), BUDGETS, GAINS)
def test_what_breaks_the_budget_does_not_matter(menu: list[Candidate], budget_ms: float, gain: float) -> None:
    slow = Candidate(name="slow", latency_ms=budget_ms * 1.01, auroc=1.0)

    assert choose([*menu, slow], budget_ms=budget_ms, gain=gain) == choose(menu, budget_ms=budget_ms, gain=gain)


@given(menus(), BUDGETS, GAINS)
def test_a_better_chosen_one_stays_chosen(menu: list[Candidate], budget_ms: float, gain: float) -> None:
    name = choose(menu, budget_ms=budget_ms, gain=gain).chosen
    if name is None:
        assert not within(menu, budget_ms)
        return
    better = [msgspec.structs.replace(one, auroc=1.0) if one.name == name else one for one in menu]
    found = choose(better, budget_ms=budget_ms, gain=gain).chosen

    # with the higher area, a faster candidate can only win if it is within the gain of the new best one
    assert found == name or named(better, found).latency_ms <= named(better, name).latency_ms


@given(menus(), BUDGETS, GAINS)
def test_the_rival_is_the_best_of_the_others(menu: list[Candidate], budget_ms: float, gain: float) -> None:
    found = choose(menu, budget_ms=budget_ms, gain=gain)
    if found.rival is None:
        assert len(within(menu, budget_ms)) < 2
        return
    others = [one for one in within(menu, budget_ms) if one.name != found.chosen]

    assert named(menu, found.rival).auroc == max(one.auroc or 0 for one in others)


@pytest.mark.parametrize("times", [(91.0, 93.7), (93.7, 91.0)])
def test_the_noise_of_two_equal_times_does_not_decide(times: tuple[float, float]) -> None:
    menu = [
        Candidate(name=name, latency_ms=ms, auroc=area)
        for name, ms, area in zip("ab", times, (0.889, 0.898), strict=True)
    ]

    assert choose(menu, budget_ms=1000.0).chosen == "b"


@pytest.mark.parametrize("budget_ms", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_that_is_not_a_time_is_refused(budget_ms: float) -> None:
    with pytest.raises(ConfigError, match="--budget-ms: expected milliseconds for each frame above 0"):
        choose([], budget_ms=budget_ms)


@pytest.mark.parametrize("gain", [-0.1, 1.1, float("nan")])
def test_a_gain_that_is_not_a_difference_of_areas_is_refused(gain: float) -> None:
    with pytest.raises(ConfigError, match="--gain: expected a difference in AUROC from 0 to 1"):
        choose([], budget_ms=1.0, gain=gain)
