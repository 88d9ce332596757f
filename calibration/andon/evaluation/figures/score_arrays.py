"""Scores of judged parts as arrays, with results for plots and tables: recall and spread by class, range, density."""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.evaluation.figures.intervals import Interval, rate_interval
from andon.evaluation.judged_parts import JudgedPart
from andon.runtime.schema import Status
from andon.sources.pictures.folder import natural

HEAVY_TAIL = 20.0
"""The histogram gets a logarithmic scale if the largest score is more than this many times the median."""
MOST_KINDS = 24
"""Upper limit of bars in one picture. If there are more types, the caption states how many are shown."""
ALL_DEFECTS = "all defects"
_KDE_POINTS = 2_000

Floats = NDArray[np.float64]


class ScoreArrays(Struct, frozen=True, kw_only=True):
    """Valid parts (or windows) as arrays of one length n."""

    scores: Floats
    defective: NDArray[np.bool_]
    rejected: NDArray[np.bool_]
    kinds: tuple[str, ...]

    @property
    def both(self) -> bool:
        """True if there are both good and defective parts."""
        return bool(self.defective.any() and not self.defective.all())


def score_arrays(judged: Sequence[JudgedPart]) -> ScoreArrays:
    """Return the parts that could be judged as arrays."""
    valid = [part for part in judged if part.status != Status.INVALID and math.isfinite(part.score)]
    return ScoreArrays(
        scores=np.array([part.score for part in valid], np.float64),
        defective=np.array([part.defective for part in valid], np.bool_),
        rejected=np.array([part.status == Status.REJECT for part in valid], np.bool_),
        kinds=tuple(part.kind for part in valid),
    )


class Recall(Struct, frozen=True, kw_only=True):
    """The recall of one type of defect."""

    kind: str
    n: int
    found: int
    interval: Interval
    """95 % interval of the share that was found."""


def recalls(parts: ScoreArrays) -> list[Recall]:
    """Return the recall of each type of defect, in the order of their names."""
    by_kind: dict[str, list[int]] = {}
    for kind, defective, rejected in zip(parts.kinds, parts.defective.tolist(), parts.rejected.tolist(), strict=True):
        if defective:
            tally = by_kind.setdefault(kind, [0, 0])
            tally[0] += 1
            tally[1] += rejected
    return [
        Recall(kind=kind, n=n, found=found, interval=rate_interval(found, n))
        for kind in natural(by_kind)
        for n, found in [by_kind[kind]]
    ]


class ClassScores(Struct, frozen=True, kw_only=True):
    """Scores of one class."""

    kind: str
    defective: bool
    n: int
    mean: float
    sd: float
    """Sample standard deviation; NaN for a single score."""
    lowest: float
    """The lowest score."""


def class_scores(parts: ScoreArrays) -> list[ClassScores]:
    """Return mean and standard deviation of the scores of good parts, all defects, and each type if there are several."""
    kinds = np.array(parts.kinds, dtype=object)
    classes = [("good", ~parts.defective, False), (ALL_DEFECTS, parts.defective, True)]
    found = natural({kind for kind, defective in zip(parts.kinds, parts.defective.tolist(), strict=True) if defective})
    if len(found) > 1:
        classes += [(kind, parts.defective & (kinds == kind), True) for kind in found]
    return [
        ClassScores(
            kind=kind,
            defective=defective,
            n=int(which.sum()),
            mean=float(parts.scores[which].mean()),
            sd=float(parts.scores[which].std(ddof=1)) if which.sum() > 1 else math.nan,
            lowest=float(parts.scores[which].min()),
        )
        for kind, which, defective in classes
        if which.any()
    ]


class ScoreRange(Struct, frozen=True, kw_only=True):
    """The range of scores that a histogram shows."""

    low: float
    high: float
    log: bool = False
    clipped: str = ""
    """A text that states how many scores are outside the range and drawn in the outermost bins."""


def score_range(scores: Floats, threshold: float) -> ScoreRange:
    """Return a range that shows most scores and the threshold, and states what it leaves out.

    Positive scores with a heavy tail get a logarithmic scale. Otherwise, if the range is more than four times as wide as the
    middle 98 % of the scores, it is limited to half that width on each side of them. Equal scores, or a single one, get a margin
    on both sides.
    """
    shown = np.append(scores, threshold) if math.isfinite(threshold) else scores
    if not len(shown):
        return ScoreRange(low=0.0, high=1.0)
    low, high = float(shown.min()), float(shown.max())
    if not high > low:
        room = 0.5 * abs(low) or 0.5
        return ScoreRange(low=low - room, high=high + room)
    if low > 0 and high > HEAVY_TAIL * float(np.median(scores if len(scores) else shown)):
        room = (high / low) ** 0.03
        return ScoreRange(low=low / room, high=high * room, log=True)
    middle = np.quantile(scores, [0.01, 0.99]) if len(scores) else np.array([low, high])
    if math.isfinite(threshold):
        middle = np.array([min(middle[0], threshold), max(middle[1], threshold)])
    bulk = float(middle[1] - middle[0])
    wide = bulk > 0 and high - low > 4 * bulk
    if wide:
        low, high = max(low, float(middle[0]) - 0.5 * bulk), min(high, float(middle[1]) + 0.5 * bulk)
    room = 0.05 * (high - low)
    low, high = low - room, high + room
    below, above = int((scores < low).sum()), int((scores > high).sum())
    beyond = [
        f"{count} {'score is' if count == 1 else 'scores are'} {side} the range shown ({word} {value:.4g})"
        for count, side, word, value in (
            (below, "below", "lowest", float(scores.min(initial=math.inf))),
            (above, "above", "highest", float(scores.max(initial=-math.inf))),
        )
        if count
    ]
    return ScoreRange(
        low=low, high=high, clipped=" and ".join(beyond) + ", counted in the outermost bin." if beyond else ""
    )


def smoothed(values: Floats, grid: Floats) -> Floats | None:
    """Return a Gaussian kernel density over the grid (Scott's bandwidth); None for fewer than three values or no spread."""
    from scipy.stats import gaussian_kde

    if len(values) < 3:
        return None
    spread = float(values.std())
    if not spread > 1e-9 * float(np.abs(values).max()):
        return None
    # take scores at equal steps of rank: 2 000 of 100 000 scores give the same curve
    places = np.linspace(0, len(values) - 1, min(len(values), _KDE_POINTS)).round().astype(int)
    few = np.sort(values)[places]
    # compute in units of the spread, because its square may be too small to divide by
    density: Floats = gaussian_kde((few - few.mean()) / spread)((grid - few.mean()) / spread) / spread
    return density
