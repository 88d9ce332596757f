"""Audits of many lines, days or lots: what a single violated group means."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray
from scipy.stats import binom

from andon.calibration.audit import audit_file
from andon.calibration.many_groups import GroupCount, audit_groups, holm, sentence_about
from andon.foundation.errors import ConfigError
from andon.runtime.calibration_facts import Calibration

ONE_PERCENT = Calibration(kind="promise", alpha=0.01, confidence=0.95, n=299, n_eff=299.0, above=0)


def stepwise(p_values: list[float]) -> list[float]:
    """Return the correction as Holm describes it: the smallest p-value times n, the next times n - 1, and so on."""
    corrected, running = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        running = max(running, (len(p_values) - rank) * p_values[place])
        corrected[place] = min(1.0, running)
    return corrected


@given(p_values=st.lists(st.floats(0, 1), max_size=30))
def test_the_correction_agrees_with_the_description_of_its_author(p_values: list[float]) -> None:
    assert holm(p_values).tolist() == pytest.approx(stepwise(p_values))


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=20), seed=st.integers(0, 100))
def test_the_correction_does_not_depend_on_the_order_and_never_makes_a_p_value_smaller(
    p_values: list[float], seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(p_values))
    values: NDArray[np.float64] = np.array(p_values)

    assert holm(values)[order].tolist() == pytest.approx(holm(values[order]).tolist())
    assert (holm(values) >= values).all()


@pytest.mark.parametrize("wrong", [[0.5, -0.1], [1.5], [float("nan")]])
def test_numbers_that_are_not_probabilities_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ConfigError, match="p-values: expected numbers from 0 to 1"):
        holm(wrong)


def test_each_group_gets_the_audit_of_its_own_count() -> None:
    counts = [
        GroupCount(name="a", parts=299, rejects=0, lost=2),
        GroupCount(name="b", parts=1000, rejects=25),
        GroupCount(name="c", parts=299, rejects=0),
        GroupCount(name="empty", parts=0, rejects=0, lost=7),
    ]

    groups = audit_groups(ONE_PERCENT, counts, date="2026-11-30")

    assert [group.name for group in groups] == ["a", "b", "c"]
    for group, count in zip(groups, counts, strict=False):
        alone, total = audit_file(ONE_PERCENT, rejects=count.rejects, parts=count.parts, date="2026-11-30")
        assert (group.audit, group.parts_in_total, group.lost) == (alone, total, count.lost)
    assert groups[1].p == pytest.approx(binom.sf(24, 1000, 0.01))
    assert groups[1].p_corrected == pytest.approx(3 * groups[1].p)


def test_good_lines_rarely_include_one_that_stays_violated_and_often_one_that_looks_violated_alone() -> None:
    # 60 lines reject exactly the promised share: 1 of 20 looks violated alone, and in 5 % of archives one stays violated
    generator = np.random.default_rng(3)
    alone = together = 0
    for _ in range(200):
        rejects = generator.binomial(2000, 0.01, 60)
        counts = [GroupCount(name=str(line), parts=2000, rejects=int(count)) for line, count in enumerate(rejects)]
        groups = audit_groups(ONE_PERCENT, counts, date="2026-11-30")
        alone += any(group.audit.finding == "violated" for group in groups)
        together += any(group.violated for group in groups)

    assert alone > 150
    assert together <= 18  # 10 expected


def test_the_sentence_says_how_many_violations_chance_explains_and_which_ones_stay() -> None:
    counts = [GroupCount(name=f"day {day}", parts=1000, rejects=17 if day == 0 else 8) for day in range(40)]
    by_chance = audit_groups(ONE_PERCENT, counts, date="2026-11-30")
    real = audit_groups(ONE_PERCENT, [replace(counts[0], rejects=40), *counts[1:]], date="2026-11-30")

    assert sentence_about(by_chance, "day") == (
        "40 days: 0 confirmed, 1 violated, 39 not decided. If all kept their promise exactly, up to 2 of 40 would look violated "
        "by chance. After the correction for 40 groups (Holm) none is violated. Do not act on a single violated day; count more "
        "parts of it."
    )
    assert sentence_about(real, "day").endswith(
        "After the correction for 40 groups (Holm, 95 % confidence) 1 stays violated: day 0."
    )


def test_a_single_group_needs_no_correction() -> None:
    groups = audit_groups(ONE_PERCENT, [GroupCount(name="a", parts=1000, rejects=25)], date="2026-11-30")

    assert sentence_about(groups, "line") == "1 line: 0 confirmed, 1 violated, 0 not decided."
    assert groups[0].violated
