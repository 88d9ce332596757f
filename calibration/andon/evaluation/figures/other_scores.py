"""Other outputs of a model file next to the verdict: scores that do not decide, and latent numbers that describe a part."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.evaluation.figures.ranking import aupr, auroc
from andon.runtime.schema import ScoreRule
from andon.runtime.verdict import Verdict

PREFIX = "score_"
LATENT = "latent"

Floats = NDArray[np.float64]


class OtherScores(Struct, frozen=True):
    """Other scores and latent numbers of one part or window."""

    scores: dict[str, float] = {}
    """Scores by name, without the prefix ``score_`` of the output."""
    latent: tuple[float, ...] = ()


NO_OTHER_SCORES = OtherScores()


class Areas(Struct, frozen=True, kw_only=True):
    """Areas under the curves of one score."""

    auroc: float
    aupr: float


def other_scores(verdict: Verdict) -> OtherScores:
    """Return the other scores and latent numbers in the evidence of a verdict, empty for INVALID items."""
    scores = {
        name.removeprefix(PREFIX): float(value) for name, value in verdict.evidence.items() if name.startswith(PREFIX)
    }
    latent = verdict.evidence.get(LATENT)
    return OtherScores(scores, () if latent is None else tuple(latent.astype(float).tolist()))


def deciding(reading: ScoreRule) -> str:
    """Return the name of the score that decides."""
    return reading.map or reading.score or "score"


def by_score(name: str, scores: Floats, others: Sequence[OtherScores]) -> dict[str, Floats]:
    """Return all scores, each ``[n]``, the deciding one first. Scores that are not finite for every part are left out."""
    found = {name: scores}
    for other in others[0].scores if others else ():
        values = np.array([one.scores.get(other, np.nan) for one in others])
        if other != name and np.isfinite(values).all():
            found[other] = values
    return found


def areas(scores: dict[str, Floats], defective: NDArray[np.bool_]) -> dict[str, Areas]:
    """Return AUROC and AUPR of each score over the same parts; nothing if all parts are good or all are defective."""
    if not defective.any() or defective.all():
        return {}
    return {
        name: Areas(auroc=auroc(values, defective), aupr=aupr(values, defective)) for name, values in scores.items()
    }
