"""Precision, recall and F1 of each class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import classification_report

from andon.evaluation.figures.score_arrays import ScoreArrays
from andon.evaluation.report.per_class import classification


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
def test_the_classification_report_is_that_of_scikit_learn(parts: list[tuple[bool, bool]]) -> None:
    defective, rejected = (np.array(side) for side in zip(*parts, strict=True))
    if not defective.any() or defective.all() or not rejected.any() or rejected.all():
        return
    scored = ScoreArrays(
        scores=rejected.astype(float), defective=defective, rejected=rejected, kinds=("a",) * len(parts)
    )
    expected = classification_report(defective, rejected, output_dict=True)
    names = {
        "False": "good",
        "True": "defective",
        "macro avg": "mean of both classes",
        "weighted avg": "weighted by support",
    }

    rows = {row[0]: row[1:] for row in classification(scored).rows}

    for theirs, ours in names.items():
        values = [float(value) for value in rows[ours]]
        assert values == pytest.approx(
            [expected[theirs][of] for of in ("precision", "recall", "f1-score", "support")], abs=6e-5
        )
    assert float(rows["accuracy"][2]) == pytest.approx(expected["accuracy"], abs=6e-5)


def test_where_nothing_is_rejected_precision_has_no_value() -> None:
    scored = ScoreArrays(
        scores=np.zeros(3), defective=np.array([False, False, True]), rejected=np.zeros(3, np.bool_), kinds=("a",) * 3
    )

    rows = {row[0]: row[1:] for row in classification(scored).rows}

    assert rows["defective"] == ("–", "0.0000", "0.0000", "1")
