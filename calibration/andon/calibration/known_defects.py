"""Set the pass limit by known defects: it is so low that at most a share beta of such defects passes.

Parts between this limit and the threshold are REVIEW. The threshold itself comes from good parts alone, so three statements hold
together:

* At most a share alpha of good parts is rejected (`promise`).
* At most a share beta of defects like these passes (`review.pass_limit`).
* At most the stated share of good parts does not pass. The limit does not depend on the good parts, so this is an exact bound
  for a count (`audit.clopper_pearson`).

The first and the third come from the same good parts, and their failures add up. The second one comes from other parts, and its
confidence multiplies. The bound is about defects like these, not about all defects that may occur.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from andon.calibration.audit import clopper_pearson
from andon.calibration.review import defects_below, pass_limit
from andon.calibration.scoring import Scores
from andon.calibration.units import reduce_to_units
from andon.foundation.errors import CalibrationError
from andon.runtime.calibration_facts import MissBound, ReviewBand

MISSED = 0.05
"""Share of known defects that may pass, unless the user asks for another one."""
LOAD_SHARE = 0.2
"""Share of the failure probability that the bound on good parts in review may use."""


class KnownDefects(NamedTuple):
    """Known defects, and the share of them that may pass."""

    scores: Scores
    """Computed with the file that is calibrated, on the same device."""
    missed: float = MISSED
    """Share of such defects that may pass."""


class PassLimit(NamedTuple):
    """The lower limit of the review band, and the statements about it."""

    limit: float
    """A part passes if its score is at most this. It is at most the threshold."""
    misses: MissBound
    review: ReviewBand | None
    """None if the defects allow the threshold itself as the limit, so that no part needs a review."""


def limit_from_defects(
    defects: KnownDefects,
    good: Scores,
    lifted: NDArray[np.float32],
    *,
    threshold: float,
    above: int,
    alpha: float,
    confidence: float,
    good_scale: float,
    tolerance: float,
) -> PassLimit:
    """Return the pass limit that known defects support.

    Defects that are INVALID by their content or whose input was lost do not pass. They are left out, which is conservative.

    Args:
        defects: the defects and the share that may pass. Several frames of one defect count once, by the worst one.
        good: items of the good calibration parts, to find pictures that are in both.
        lifted: ``[n]`` scores of the good parts, raised by the tolerance.
        threshold: threshold from the good parts.
        above: number of good scores above the threshold.
        alpha: promised share of rejects.
        confidence: confidence of each of the first two statements.
        good_scale: unit of the tolerance, see `Calibration.good_scale`.
        tolerance: `Card.tolerance`. On other machines the defects score lower by at most this.

    Raises:
        NotEnoughParts: there are too few defects for this share.
        CalibrationError: a picture is among the good parts and among the defects, or no defect can be judged.
    """
    both = {content for content in good.contents if content} & set(defects.scores.contents)
    if both:
        first = next(
            ref.key
            for ref, content in zip(defects.scores.refs, defects.scores.contents, strict=True)
            if content in both
        )
        raise CalibrationError(
            f"defects: expected other pictures than the good parts, got {len(both)} that are in both (the first: {first}). "
            "Remove them from one side."
        )
    sample = reduce_to_units(defects.scores, windows=False, grouped=True)
    judged = np.isfinite(sample.scores)
    scores = sample.scores[judged]
    lowered = scores - tolerance * np.maximum(np.abs(scores), good_scale)
    found = float(pass_limit(lowered, defects.missed, confidence))
    limit = min(found, threshold)
    keys = sorted(key for key, kept in zip(sample.keys, judged, strict=True) if kept)
    misses = MissBound(
        defects=len(lowered),
        missed=int((lowered <= limit).sum()),
        beta=defects.missed,
        confidence=confidence,
        limit="review" if found < threshold else "threshold",
        part_keys_sha256=hashlib.sha256("\n".join(keys).encode()).hexdigest(),
    )
    if found >= threshold:
        return PassLimit(limit, misses, None)
    n, waiting = len(lifted), int((lifted > np.float32(limit)).sum())
    load = 1 - LOAD_SHARE * (1 - confidence)
    rejects = float(binom.sf(above, n, alpha))
    missed = float(binom.sf(defects_below(len(lowered), defects.missed, confidence), len(lowered), defects.missed))
    review = ReviewBand(
        source="defects",
        alpha=clopper_pearson(waiting, n, load).upper,
        above=waiting,
        confidence=missed * (rejects + load - 1),
    )
    return PassLimit(limit, misses, review)
