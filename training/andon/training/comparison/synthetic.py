"""One more figure of a cell: how well it tells held-out synthetic damage from good parts that nothing was learnt from."""

from andon.calibration.evaluation.evaluate import evaluate
from andon.runtime.detector import Detector
from andon.sources.items import Collection, FoundFrames
from andon.training.corruption.synthetic_defects import SyntheticDefects

MOST = 100
"""Good parts that are damaged at most, so that a cell spends a minute on it and no more."""


def synthetic_auroc(detector: Detector, kept_back: Collection, _seed: int) -> float | None:
    """AUROC over good parts and damaged copies; None for logs. The damage is the same for all cells of a set."""
    if not isinstance(kept_back.found, FoundFrames):
        return None
    defects = SyntheticDefects(kept_back, most=MOST)
    figures, _ = evaluate(detector, defects, defects.truth, intervals=False)
    return figures.auroc
