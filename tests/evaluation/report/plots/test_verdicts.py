"""Pictures of verdicts, for all kinds of data."""

import pytest
from tests.evaluation.judged_parts import SHAPES, parts_of

from andon.evaluation.figures.score_arrays import MOST_KINDS, score_arrays
from andon.evaluation.judged_parts import JudgedPart
from andon.evaluation.report.plots.verdicts import confusion, recall_bars
from andon.runtime.items import Ref
from andon.runtime.schema import Status

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("shape", SHAPES)
def test_confusion_and_recall_can_be_drawn_of(shape: str) -> None:
    judged = parts_of(*SHAPES[shape])
    parts = score_arrays(judged)

    made = [confusion(judged), *([recall_bars(parts)] if parts.defective.any() else [])]

    assert all(picture.png.startswith(PNG) and picture.alt for picture in made)


def test_a_type_may_look_like_a_formula_or_be_in_any_script() -> None:
    parts = score_arrays(parts_of([0.1, 0.2], [1.5, 2.0], kind=r"$\frac{1$ 漢字 \udcff" + "x" * 60))

    assert recall_bars(parts).png.startswith(PNG)


def test_thousands_of_types_stay_one_picture_and_it_is_told() -> None:
    judged = [
        JudgedPart(ref=Ref(key=str(place)), score=2.0, status=Status.REJECT, defective=True, kind=f"type {place:04}")
        for place in range(2_000)
    ]

    made = recall_bars(score_arrays(judged))

    assert f"The {MOST_KINDS} types with the lowest recall, of 2000" in made.caption


def test_the_confusion_counts_verdicts_as_they_occur() -> None:
    judged = parts_of([0.1, 2.0, float("nan")], [0.2, 3.0, 4.0])

    made = confusion(judged)

    assert made.alt == "Confusion matrix. good: 1 OK, 1 REJECT, 1 INVALID; defective: 1 OK, 2 REJECT, 0 INVALID."


def test_percentages_of_the_confusion_matrix_are_of_what_was_judged() -> None:
    judged = parts_of([0.1, 0.2, float("nan")], [2.0])

    assert confusion(judged).caption.endswith("Percentages are shares of the row, without INVALID.")
    assert confusion(judged[:2] + judged[3:]).caption.endswith("Percentages are shares of the row.")


def test_types_of_windows_are_called_faults() -> None:
    parts = score_arrays(parts_of([0.1], [2.0], kind="type1"))

    assert recall_bars(parts, "window").alt.startswith("Recall by type of fault: type1 1 of 1")
