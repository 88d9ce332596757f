"""Parts with their verdicts and their labels. A part of several frames has one status (`verdict.part_status`)."""

import logging
from collections.abc import Sequence

import numpy as np
from msgspec import Struct, structs

from andon.evaluation.figures.other_scores import NO_OTHER_SCORES, OtherScores
from andon.runtime.items import Ref
from andon.runtime.schema import Status
from andon.runtime.verdict import part_status

logger = logging.getLogger(__name__)


class JudgedPart(Struct, frozen=True, kw_only=True):
    """One part with its verdict and its label."""

    ref: Ref
    score: float
    status: Status
    defective: bool
    kind: str
    other_scores: OtherScores = NO_OTHER_SCORES


def worst_frames(judged: Sequence[JudgedPart]) -> list[JudgedPart]:
    """Return one entry per part, in the order of first frames, with the status by `andon.runtime.verdict.part_status`.

    The score of a part is the highest score of its frames. An INVALID part has no score and is neither a catch nor a miss, even
    if another of its frames was judged, because the part was not inspected completely.

    A part is defective if one of its frames is: a scratch in one view is a scratch of the part. The type of a part is the type
    of its defective frame with the highest score.
    """
    frames: dict[str, list[JudgedPart]] = {}
    for one in judged:
        frames.setdefault(one.ref.part, []).append(one)
    mixed = [part for part, views in frames.items() if len({one.kind for one in views}) > 1]
    if mixed:
        logger.warning(
            "%d of %d parts have frames with different truths, for example %r (%s): each counts as one defective part. If the "
            "numbers start again in each folder, include the folder in --group",
            len(mixed),
            len(frames),
            mixed[0],
            ", ".join(sorted({one.kind for one in frames[mixed[0]]})),
        )
    parts = []
    for views in frames.values():
        status = part_status(one.status for one in views)
        worst = max((one for one in views if one.status == status), key=_height)
        defects = [one for one in views if one.defective]
        kind = max(defects, key=_height).kind if defects else worst.kind
        parts.append(structs.replace(worst, defective=bool(defects), kind=kind))
    return parts


def _height(one: JudgedPart) -> float:
    return one.score if one.status != Status.INVALID else -np.inf
