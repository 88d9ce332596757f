"""Two models on the same parts: the table of decisions and the exact test of McNemar."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from andon.evaluation.figures.paired_decisions import PairedDecisions


def pairs(only_new: int, only_old: int, both_pass: int = 900, both_reject: int = 5) -> PairedDecisions:
    return PairedDecisions(
        both_pass=both_pass, only_new_rejects=only_new, only_old_rejects=only_old, both_reject=both_reject
    )


@given(only_new=st.integers(0, 200), only_old=st.integers(0, 200))
def test_the_p_value_is_twice_the_smaller_tail_of_a_fair_coin(only_new: int, only_old: int) -> None:
    tail = binom.cdf(min(only_new, only_old), only_new + only_old, 0.5)

    assert pairs(only_new, only_old).p_value == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


@given(only_new=st.integers(0, 50), only_old=st.integers(0, 50), both=st.integers(0, 100_000))
def test_the_p_value_depends_on_the_discordant_parts_only_and_not_on_the_names(
    only_new: int, only_old: int, both: int
) -> None:
    assert pairs(only_new, only_old, both_pass=both).p_value == pairs(only_old, only_new, both_reject=both).p_value


@pytest.mark.parametrize("parts", [1, 50, 1000, 3000, 10**6])
def test_without_discordant_parts_the_bound_is_at_most_three_over_n(parts: int) -> None:
    bound = pairs(0, 0, both_pass=parts, both_reject=0).most_discordant()

    assert bound == pytest.approx(1 - 0.05 ** (1 / parts), rel=1e-9)
    assert bound <= 3 / parts


def test_with_discordant_parts_the_bound_is_exact() -> None:
    assert pairs(3, 1, both_pass=990, both_reject=6).most_discordant() == pytest.approx(
        beta.ppf(0.95, 5, 996), rel=1e-12
    )


AGREE = "the models agree about all 3000 parts; with 95 % confidence they differ in at most 0.0999 % of such parts"
UNPROVEN = (
    "the models disagree about 5 of 1000 parts: only the new one rejects 3, only the old one 2. No difference between their "
    "reject shares is proven (exact test of McNemar, p = 1). With 95 % confidence they differ in at most 1.05 % of such parts"
)
PROVEN = (
    "the models disagree about 13 of 1000 parts: only the new one rejects 1, only the old one 12. The old model rejects more "
    "parts than the new one (exact test of McNemar, p = 0.0034). With 95 % confidence they differ in at most 2.06 % of such parts"
)


@pytest.mark.parametrize(
    ("decisions", "sentence"),
    [
        (pairs(0, 0, both_pass=3000, both_reject=0), AGREE),
        (pairs(3, 2, both_pass=990), UNPROVEN),
        (pairs(1, 12, both_pass=982), PROVEN),
        (pairs(12, 1, both_pass=982), None),
    ],
    ids=["agree", "unproven", "proven", "the other way"],
)
def test_the_sentence_says_what_is_known_about_the_difference(decisions: PairedDecisions, sentence: str | None) -> None:
    if sentence is None:
        assert "The new model rejects more parts than the old one" in decisions.sentence()
    else:
        assert decisions.sentence() == sentence


def test_models_with_equal_reject_shares_are_called_different_in_at_most_5_percent() -> None:
    generator = np.random.default_rng(5)
    only_new = generator.binomial(40, 0.5, 2000)

    assert np.mean([pairs(int(count), 40 - int(count)).p_value < 0.05 for count in only_new]) <= 0.05
