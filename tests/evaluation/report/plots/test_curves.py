"""Pictures of curves, for all kinds of data."""

import cv2
import numpy as np
import pytest
from scipy import ndimage
from tests.evaluation.judged_parts import SHAPES, parts_of

from andon.evaluation.figures.score_arrays import score_arrays
from andon.evaluation.report.plots.curves import precision_recall, roc

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("shape", [name for name, (good, defects) in SHAPES.items() if good and defects])
def test_both_curves_can_be_drawn_of(shape: str) -> None:
    parts = score_arrays(parts_of(*SHAPES[shape]))

    made = [roc(parts, 0.9, 0.05), precision_recall(parts, 0.9)]

    assert all(picture.png.startswith(PNG) and picture.alt for picture in made)


def test_the_same_scores_give_the_same_curve() -> None:
    parts = score_arrays(parts_of(*SHAPES["apart"]))

    assert roc(parts, 0.9, 0.05) == roc(parts, 0.9, 0.05)


@pytest.mark.parametrize("curve", ["roc", "precision recall"])
def test_no_legend_covers_the_ring_of_the_threshold(curve: str) -> None:
    # rejected: one defect of ten and nineteen of twenty good parts, so that the ring is where the legend was before
    good = [2.0] * 19 + [0.0] if curve == "roc" else [2.0] * 19 + [0.0] * 181
    parts = score_arrays(parts_of(good, [3.0] + [0.5] * 9))
    made = roc(parts, 0.1, None) if curve == "roc" else precision_recall(parts, 0.1)
    pixels = cv2.imdecode(np.frombuffer(made.png, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None

    ring = ndimage.binary_dilation((pixels == np.array([0x00, 0x5E, 0xD5])).all(axis=2), iterations=3)

    assert ndimage.label(ring)[1] == 2  # one in the axes, one in the legend


def test_the_caption_names_what_was_judged() -> None:
    parts = score_arrays(parts_of([0.1], [2.0]))

    assert "share of defective windows" in precision_recall(parts, 0.9, "window").caption
