"""The sentence and the table of a recommendation."""

import msgspec
import pytest
from tests.training.recommendation.made_up import row, some

from andon.evaluation.figures.intervals import Interval
from andon.training.recommendation.result import Failed, markdown, sentence

FAST, FINE = row("fast", 7.0, 0.9), row("fine", 20.0, 0.92)


def said(difference: float, low: float, high: float, chosen: str = "fast", rival: str = "fine") -> str:
    return sentence(
        [FAST, FINE],
        chosen=chosen,
        rival=rival,
        difference=difference,
        interval=Interval(low=low, high=high),
        budget_ms=30.0,
    )


def test_an_interval_that_includes_0_is_not_decided() -> None:
    assert said(-0.02, -0.05, 0.01) == (
        "Ship fast: 7.0 ms for a frame, AUROC 0.900 on synthetic defects. Whether it detects more than fine (20.0 ms) is not "
        "decided: the difference is -0.020, 95 % interval -0.050 to +0.010."
    )


def test_a_decided_difference_names_who_detects_more() -> None:
    assert "It detects more than fast (7.0 ms): the difference is +0.020" in said(0.02, 0.01, 0.03, "fine", "fast")
    assert "fine detects more, but takes 20.0 ms" in said(-0.02, -0.03, -0.01)


def test_a_choice_that_may_be_no_better_than_chance_is_marked() -> None:
    weak = row("weak", 2.0, 0.53)
    text = sentence([weak, FINE], chosen="weak", rival=None, difference=None, interval=None, budget_ms=10.0)

    assert (
        "AUROC 0.530 on synthetic defects. This is not clearly better than chance (0.5): a larger --budget-ms" in text
    )
    assert "chance" not in said(-0.02, -0.05, 0.01)


def test_a_single_candidate_within_the_budget_has_nothing_to_be_compared_with() -> None:
    text = sentence([FAST, FINE], chosen="fast", rival=None, difference=None, interval=None, budget_ms=10.0)

    assert text.endswith("No other candidate keeps 10 ms, so there is nothing to compare it with.")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([FAST, FINE], "no candidate keeps 3 ms. The fastest is fast with 7.0 ms. Give a larger --budget-ms"),
        ([row("fast", 2.0, None)], "have no AUROC, because no visible damage could be drawn"),
        ([], "every candidate failed"),
    ],
)
def test_nothing_to_ship_has_its_reason(rows: list, told: str) -> None:  # type: ignore[type-arg]
    text = sentence(rows, chosen=None, rival=None, difference=None, interval=None, budget_ms=3.0)

    assert text.startswith("Nothing to ship: ")
    assert told in text


def test_the_table_marks_the_chosen_one_and_lists_failures() -> None:
    text = markdown(msgspec.structs.replace(some(), failed=(Failed(name="fine", why="no weights"),)))

    assert "| **>** | fast | 7.0 [6.3, 7.7] | yes | 0.900 [0.850, 0.950] | 0.950 | 1.0 | 3 |" in text
    assert "|  | slow | 60.0 [54.0, 66.0] | no |" in text
    assert "* fine: failed: no weights\n" in text


def test_labelled_parts_have_a_column_only_if_there_are_any() -> None:
    assert "real AUROC" in markdown(some())
    assert "real AUROC" not in markdown(msgspec.structs.replace(some(), real_defects=0))
