"""Measure how well a detector separates held-out synthetic damage from good parts that it was not trained on."""

from andon.damage.synthetic_defects import SyntheticDefects
from andon.evaluation.frames import evaluate
from andon.foundation.errors import DataError
from andon.runtime.detector import Detector
from andon.sources.collection import Collection, FoundFrames

MOST = 100
"""Upper limit of good parts that get damage. Drawing damage onto a 4k frame takes a second, so this takes minutes at most."""


def synthetic_auroc(detector: Detector, kept_back: Collection, _seed: int) -> float | None:
    """Return the AUROC over good parts and damaged copies; None for logs, and if no damage is visible.

    All cells of `andon compare` with the same data and seed get the same damage, because they kept back the same parts.
    """
    if not isinstance(kept_back.found, FoundFrames):
        return None
    defects = SyntheticDefects(kept_back, detector.card.input, most=MOST)
    try:
        figures, _ = evaluate(detector, defects, defects.truth, intervals=False)
    except DataError:  # damage is not visible on nearly flat pictures
        return None
    return figures.auroc
