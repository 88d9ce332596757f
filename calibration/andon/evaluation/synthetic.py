"""Another figure of a cell: how well it separates held-out synthetic damage from good parts that were not trained on."""

from andon.damage.synthetic_defects import SyntheticDefects
from andon.evaluation.frames import evaluate
from andon.foundation.errors import DataError
from andon.runtime.detector import Detector
from andon.sources.collection import Collection, FoundFrames

MOST = 100
"""Good parts that are damaged at most: of frames of 4k, whose damage takes a second each, minutes."""


def synthetic_auroc(detector: Detector, kept_back: Collection, _seed: int) -> float | None:
    """Return the AUROC over good parts and damaged copies, None for logs and if no damage shows.

    All cells of a set and a seed see the same damage, as calibration kept the same parts back.
    """
    if not isinstance(kept_back.found, FoundFrames):
        return None
    defects = SyntheticDefects(kept_back, most=MOST)
    try:
        figures, _ = evaluate(detector, defects, defects.truth, intervals=False)
    except DataError:  # nearly flat pictures do not show damage
        return None
    return figures.auroc
