"""What a file says beside its verdict: further scores, and the numbers by which it describes a part. Nothing is decided by it."""

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
    """Of one part or window."""

    scores: dict[str, float] = {}
    """By name, without the output's ``score_``."""
    latent: tuple[float, ...] = ()


NO_OTHER_SCORES = OtherScores()


class Areas(Struct, frozen=True, kw_only=True):
    """Of one score, whether or not it decides."""

    auroc: float
    aupr: float


def other_scores(verdict: Verdict) -> OtherScores:
    """What the evidence of a verdict holds; empty where nothing was judged."""
    scores = {
        name.removeprefix(PREFIX): float(value) for name, value in verdict.evidence.items() if name.startswith(PREFIX)
    }
    latent = verdict.evidence.get(LATENT)
    return OtherScores(scores, () if latent is None else tuple(latent.astype(float).tolist()))


def deciding(reading: ScoreRule) -> str:
    """Name of the score that decides."""
    return reading.map or reading.score or "score"


def by_score(name: str, scores: Floats, others: Sequence[OtherScores]) -> dict[str, Floats]:
    """Each score ``[n]``, the deciding one first; those that not every part has, or that are not finite, are left out."""
    found = {name: scores}
    for other in others[0].scores if others else ():
        values = np.array([one.scores.get(other, np.nan) for one in others])
        if other != name and np.isfinite(values).all():
            found[other] = values
    return found


def areas(scores: dict[str, Floats], defective: NDArray[np.bool_]) -> dict[str, Areas]:
    """AUROC and AUPR of each score over the same parts; none where there is only one kind of parts."""
    if not defective.any() or defective.all():
        return {}
    return {
        name: Areas(auroc=auroc(values, defective), aupr=aupr(values, defective)) for name, values in scores.items()
    }
