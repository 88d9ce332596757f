"""All scores of a file in one picture."""

import numpy as np

from andon.evaluation.figures.other_scores import areas
from andon.evaluation.report.plots import score_curves

DEFECTIVE = np.arange(40) >= 30


def noisy(strength: float, seed: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.random.default_rng(seed).normal(size=40) + strength * DEFECTIVE


def test_the_deciding_score_leads_and_the_others_follow_by_their_area() -> None:
    scores = {"error": noisy(1.0, 0), "weak": noisy(0.1, 1), "strong": noisy(8.0, 2)}
    found = areas(scores, DEFECTIVE)

    (section,) = score_curves.section(scores, DEFECTIVE, found)

    (table,) = section.tables
    assert [row[0] for row in table.rows] == ["error", "strong", "weak"]
    assert table.rows[0][1:] == (f"{found['error'].auroc:.4f}", f"{found['error'].aupr:.4f}", "decides")
    assert f"strong {found['strong'].auroc:.4f} and {found['strong'].aupr:.4f}" in section.pictures[0].alt


def test_of_many_scores_the_best_are_drawn_and_it_is_said() -> None:
    scores = {"error": noisy(0.0, 99)} | {f"s{number}": noisy(0.4 * number, number) for number in range(12)}

    (section,) = score_curves.section(scores, DEFECTIVE, areas(scores, DEFECTIVE))

    assert len(section.tables[0].rows) == 13
    assert "8 of 13 scores are shown" in section.pictures[0].caption
    assert section.pictures[0].alt.startswith("ROC and precision-recall curves of 8 scores.")


def test_one_score_alone_has_no_such_picture() -> None:
    scores = {"error": noisy(1.0, 0)}

    assert score_curves.section(scores, DEFECTIVE, areas(scores, DEFECTIVE)) == []
