"""Pictures of scores, over data of every shape."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from andon.calibration.evaluation import plots
from andon.calibration.evaluation.judged import Judged
from andon.runtime.schema import Status
from andon.sources.items import Ref

PNG = b"\x89PNG\r\n\x1a\n"


def parts_of(good: list[float], defects: list[float], threshold: float = 1.0, kind: str = "scratch") -> list[Judged]:
    return [
        Judged(
            ref=Ref(key=f"{'defect' if defective else 'good'}/{place}.png"),
            score=score,
            status=Status.INVALID if math.isnan(score) else Status.REJECT if score > threshold else Status.OK,
            defective=defective,
            kind=kind if defective else "good",
        )
        for defective, scores in ((False, good), (True, defects))
        for place, score in enumerate(scores)
    ]


SHAPES = {
    "apart": ([0.1, 0.2, 0.3], [1.5, 2.0, 2.5]),
    "one good part": ([0.3], []),
    "one defect": ([], [0.3]),
    "one of each": ([0.3], [2.0]),
    "all equal": ([0.5] * 30, [0.5] * 4),
    "all zero": ([0.0] * 5, [0.0] * 5),
    "good ones equal": ([0.5] * 30, [0.1, 2.0, 0.5]),
    "an outlier": ([0.1 + 0.01 * place for place in range(50)], [1.5, 1e6]),
    "heavy tail": ([math.exp(place / 5) for place in range(40)], [1e5, 1e9]),
    "negative": ([-5.0, -4.0, -3.0], [-1.0, 4.0]),
    "tiny": ([1e-200, 2e-200, 4e-200, 5e-200], [5e-199, 7e-199, 8e-199]),
    "huge": ([1e30, 2e30, 3e30], [9e30, 8e30, 7.5e30]),
    "INVALID among them": ([0.1, 0.2, float("nan")], [float("nan"), 2.0]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_picture_can_be_drawn_of(shape: str) -> None:
    judged = parts_of(*SHAPES[shape])
    parts = plots.scored(judged)
    made = [plots.histogram(parts, 1.0), plots.confusion(judged), plots.mean_bars(parts, 1.0)]
    if parts.both:
        made += [plots.roc(parts, 0.9, 0.05), plots.precision_recall(parts, 0.9)]
    if parts.defective.any():
        made.append(plots.recall_bars(parts))

    assert all(picture.png.startswith(PNG) and picture.alt for picture in made)


def test_a_name_may_look_like_a_formula_or_be_in_any_script() -> None:
    parts = plots.scored(parts_of([0.1, 0.2], [1.5, 2.0], kind=r"$\frac{1$ 漢字 \udcff" + "x" * 60))

    assert plots.recall_bars(parts).png.startswith(PNG)
    assert plots.mean_bars(parts, 1.0).png.startswith(PNG)


def test_the_same_scores_give_the_same_picture() -> None:
    parts = plots.scored(parts_of(*SHAPES["apart"]))

    assert plots.histogram(parts, 1.0) == plots.histogram(parts, 1.0)
    assert plots.roc(parts, 0.9, 0.05) == plots.roc(parts, 0.9, 0.05)


def test_thousands_of_types_stay_one_picture_and_it_is_told() -> None:
    judged = [
        Judged(ref=Ref(key=str(place)), score=2.0, status=Status.REJECT, defective=True, kind=f"type {place:04}")
        for place in range(2_000)
    ]

    made = plots.recall_bars(plots.scored(judged))

    assert f"The {plots.MOST_KINDS} least found of 2000 types" in made.caption


finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(finite, max_size=40), finite)
def test_a_histogram_shows_its_threshold_and_counts_what_it_leaves_out(some: list[float], threshold: float) -> None:
    values = np.array(some, np.float64)

    shown = plots.score_range(values, threshold)

    assert shown.low < shown.high
    assert shown.low <= threshold <= shown.high
    outside = int(((values < shown.low) | (values > shown.high)).sum())
    told = sum(int(word) for word in shown.clipped.split() if word.isdigit())
    assert (outside > 0) == bool(shown.clipped)
    assert told >= outside


def test_an_outlier_does_not_press_all_others_into_one_bin() -> None:
    shown = plots.score_range(np.append(np.linspace(-1, 1, 1_000), 5_000.0), 1.2)

    assert shown.high < 10
    assert shown.clipped == "1 score lies above the range shown (highest 5000), counted in the outermost bin."


def test_heavy_tails_go_on_a_logarithmic_scale_and_others_do_not() -> None:
    assert plots.score_range(np.exp(np.linspace(0, 10, 200)), 5.0).log
    assert not plots.score_range(np.linspace(1, 10, 200), 5.0).log
    assert not plots.score_range(np.append(-1.0, np.exp(np.linspace(0, 10, 200))), 5.0).log


def test_a_smoothed_curve_has_area_one_and_needs_three_values_that_differ() -> None:
    generator = np.random.default_rng(0)
    grid = np.linspace(-10, 10, 2_001)
    for values in (generator.normal(size=50), generator.normal(size=20_000)):
        curve = plots.smoothed(values, grid)
        assert curve is not None
        assert float(np.trapezoid(curve, grid)) == pytest.approx(1, abs=1e-3)

    assert plots.smoothed(np.array([1.0, 2.0]), grid) is None
    assert plots.smoothed(np.full(9, 0.1), grid) is None


def test_the_confusion_counts_verdicts_as_they_occur() -> None:
    judged = parts_of([0.1, 2.0, float("nan")], [0.2, 3.0, 4.0])

    made = plots.confusion(judged)

    assert made.alt == "Confusion matrix. good: 1 OK, 1 REJECT, 1 INVALID; defective: 1 OK, 2 REJECT, 0 INVALID."


def test_means_and_spreads_are_by_class_and_by_type() -> None:
    judged = parts_of([1.0, 3.0], [5.0, 7.0]) + parts_of([], [9.0], kind="stain")

    found = {one.kind: (one.n, one.mean, one.sd) for one in plots.spreads(plots.scored(judged))}

    assert list(found) == ["good", "all defects", "scratch", "stain"]
    assert found["good"][:2] == (2, 2.0)
    assert found["good"][2] == pytest.approx(math.sqrt(2))
    assert found["all defects"][:2] == (3, 7.0)
    assert math.isnan(found["stain"][2])


@pytest.mark.parametrize("curve", ["roc", "precision recall"])
def test_no_legend_covers_the_ring_of_the_threshold(curve: str) -> None:
    # rejected: one defect of ten and nineteen of twenty good parts, so that the ring lies where legends used to
    good = [2.0] * 19 + [0.0] if curve == "roc" else [2.0] * 19 + [0.0] * 181
    parts = plots.scored(parts_of(good, [3.0] + [0.5] * 9))
    made = plots.roc(parts, 0.1, None) if curve == "roc" else plots.precision_recall(parts, 0.1)
    pixels = cv2.imdecode(np.frombuffer(made.png, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None

    ring = ndimage.binary_dilation((pixels == np.array([0x00, 0x5E, 0xD5])).all(axis=2), iterations=3)

    assert ndimage.label(ring)[1] == 2  # one in the axes, one in the legend


def test_percentages_of_the_confusion_matrix_are_of_what_was_judged() -> None:
    judged = parts_of([0.1, 0.2, float("nan")], [2.0])

    assert plots.confusion(judged).caption.endswith("percentages are of the row, without INVALID.")
    assert plots.confusion(judged[:2] + judged[3:]).caption.endswith("percentages are of the row.")


def test_a_whisker_without_an_end_on_a_logarithmic_scale_gets_one_and_it_is_told() -> None:
    heavy = plots.mean_bars(plots.scored(parts_of([math.exp(place / 2) for place in range(20)], [1e5, 1e9])), 1.0)
    plain = plots.mean_bars(plots.scored(parts_of([0.1, 0.2], [0.3, 2.0])), 1.0)

    assert "would reach zero ends at the lowest score of its class" in heavy.caption
    assert "lowest" not in plain.caption


def test_types_are_listed_as_people_count_and_faults_are_called_faults() -> None:
    judged = [one for kind in ("type1", "type10", "type2") for one in parts_of([], [2.0], kind=kind)]
    parts = plots.scored([*parts_of([0.1], []), *judged])

    assert [one.kind for one in plots.recalls(parts)] == ["type1", "type2", "type10"]
    assert [one.kind for one in plots.spreads(parts)][2:] == ["type1", "type2", "type10"]
    assert plots.recall_bars(parts, "window").alt.startswith("Recall by type of fault: type1 1 of 1")
    assert "how many of the windows here" in plots.precision_recall(parts, 0.9, "window").caption
