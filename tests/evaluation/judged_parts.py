"""Judged parts with all kinds of scores, for tests."""

import math

from andon.evaluation.judged_parts import JudgedPart
from andon.runtime.items import Ref
from andon.runtime.schema import Status


def parts_of(
    good: list[float], defects: list[float], threshold: float = 1.0, kind: str = "scratch"
) -> list[JudgedPart]:
    return [
        JudgedPart(
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
