"""Other outputs of a file next to the verdict."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.evaluation.figures.other_scores import NO_OTHER_SCORES, OtherScores, areas, by_score, deciding, other_scores
from andon.runtime.schema import ScoreRule, Status
from andon.runtime.verdict import Verdict


def test_further_scores_and_latent_numbers_are_read_off_the_evidence() -> None:
    evidence = {
        "anomaly_map": np.zeros((2, 2), np.float32),
        "score_peak": np.array(1.5, np.float32),
        "latent": np.array([2.0, -3.0], np.float32),
    }

    assert other_scores(Verdict(status=Status.OK, evidence=evidence)) == OtherScores({"peak": 1.5}, (2.0, -3.0))
    assert other_scores(Verdict(status=Status.INVALID)) == NO_OTHER_SCORES


def test_the_deciding_score_is_named_by_the_reading() -> None:
    assert deciding(ScoreRule(map="error")) == "error"
    assert deciding(ScoreRule(score="combined")) == "combined"


def test_the_deciding_score_comes_first_and_what_some_part_lacks_is_left_out() -> None:
    others = [OtherScores({"a": 1.0, "b": 2.0}), OtherScores({"a": 3.0}), OtherScores({"a": 4.0, "b": 1.0})]

    found = by_score("error", np.array([1.0, 2.0, 3.0]), others)

    assert {name: values.tolist() for name, values in found.items()} == {"error": [1.0, 2.0, 3.0], "a": [1.0, 3.0, 4.0]}
    assert next(iter(found)) == "error"


@given(st.lists(st.tuples(st.floats(-5, 5), st.booleans()), min_size=2, max_size=30))
def test_a_score_turned_round_has_the_area_that_is_left(parts: list[tuple[float, bool]]) -> None:
    scores, defective = np.array([score for score, _ in parts]), np.array([bad for _, bad in parts])

    found = areas({"one": scores, "other": -scores}, defective)

    if defective.any() and not defective.all():
        assert found["one"].auroc + found["other"].auroc == pytest.approx(1.0)
    else:
        assert found == {}
