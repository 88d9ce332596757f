"""Reduce the scores of items to one score per decision: one per part, one drawn part per lot, or windows by run.

A promise is about decisions. Frames of one part, parts of one lot and copies of one picture are not independent, so they must
not count as several decisions.
"""

import logging
from itertools import groupby
from typing import Literal

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from andon.calibration.contents import copied_items, copied_runs
from andon.calibration.scoring import Scores
from andon.foundation.errors import CalibrationError
from andon.runtime.calibration_facts import Sampling, percent
from andon.runtime.items import Ref
from andon.runtime.schema import Reason

logger = logging.getLogger(__name__)

MAX_LOST = 0.05
"""Largest share of calibration parts whose input may be lost. A larger share means that the pictures are wrong, not the parts.

Parts that are INVALID by their content do not count here: they are part of the sample, as the worst scores.
"""


class Sample(Struct, frozen=True, kw_only=True):
    """One score per unit, and how the units depend on each other."""

    scores: NDArray[np.float64]
    """``[n]``; +inf for a unit that is INVALID because of its content. The line does not pass such a unit either."""
    runs: tuple[NDArray[np.float64], ...]
    """The same scores by contiguous run, in time order, with +inf replaced by the highest finite score. Empty if the units count
    as independent."""
    keys: tuple[str, ...]
    invalid: int
    """Units that were left out because their input was lost (unreadable, a gap, a wrong size)."""
    invalid_content: int = 0
    """Units that are INVALID because of their content. They have a score of +inf."""
    unit: Literal["part", "window"]
    sampling: Sampling


def reduce_to_units(scores: Scores, *, windows: bool, grouped: bool, seed: int = 0) -> Sample:
    """Return one score per decision.

    A part has the highest score of its frames. From each lot of several parts, one part is drawn. Windows are kept as they are.

    A part is INVALID if one of its frames is (`andon.runtime.verdict.part_status`). A part that is INVALID because of its
    content (no contrast, not finite) counts as +inf, because the line would not pass it. A part whose input was lost
    (unreadable, a gap, a wrong size) gives no information about good parts and is left out. If several items have equal
    content, only the first by key counts.

    Raises:
        CalibrationError: no part is valid, or the input of more than 5 % was lost.
    """
    scores = without_copies(scores, windows=windows)
    if windows:
        _refuse_lost(scores, len(scores), int(scores.lost.sum()), int(scores.valid.sum()))
        return _windows(scores)
    parts = _worst_frames(scores)
    valid = {part: entry for part, entry in parts.items() if not np.isnan(entry[1])}
    judged = sum(np.isfinite(value) for _, value in valid.values())
    _refuse_lost(scores, len(parts), len(parts) - len(valid), judged)
    lots: dict[str, list[str]] = {}
    for part, (ref, _) in valid.items():
        lots.setdefault(ref.group, []).append(part)
    if len(lots) < len(valid):
        generator = np.random.default_rng(seed)
        selected = [str(generator.choice(sorted(members))) for _, members in sorted(lots.items())]
        sampling = Sampling(method="one_per_lot", units=len(valid), groups=len(lots))
    else:
        selected = sorted(valid)
        sampling = Sampling(method="grouped_files" if grouped else "single_files", units=len(valid))
    worst = np.array([valid[part][1] for part in selected])
    return Sample(
        scores=worst,
        runs=(),
        keys=tuple(selected),
        invalid=len(parts) - len(valid),
        invalid_content=int(np.isposinf(worst).sum()),
        unit="part",
        sampling=sampling,
    )


def without_copies(scores: Scores, *, windows: bool) -> Scores:
    """Return the scores without copies: single frames that repeat another frame, or whole runs that repeat another run."""
    if not scores.contents:
        return scores
    contents = {ref.key: content for ref, content in zip(scores.refs, scores.contents, strict=True)}
    copies = copied_runs(scores.refs, contents) if windows else copied_items(scores.refs, contents)
    kept = [place for place, ref in enumerate(scores.refs) if (ref.group if windows else ref.key) not in copies]
    if len(kept) == len(scores):
        return scores
    return structs.replace(
        scores,
        refs=tuple(scores.refs[place] for place in kept),
        score=scores.score[kept],
        status=scores.status[kept],
        reason=scores.reason[kept],
        contents=tuple(scores.contents[place] for place in kept),
    )


def warn_of_copies(scores: Scores, *, windows: bool) -> None:
    """Log a warning if several calibration items have the same content."""
    distinct = len(without_copies(scores, windows=windows))
    if distinct < len(scores):
        logger.warning(
            "%d calibration %s contain only %d distinct one%s: each counts once",
            len(scores), "windows" if windows else "pictures", distinct, "" if distinct == 1 else "s",
        )  # fmt: skip


def first_invalid(scores: Scores, *, lost: bool | None = None) -> str:
    """Return the first INVALID item and its reason in brackets, or an empty text if there is none.

    Args:
        scores: the items.
        lost: True for items whose input was lost only, False for those INVALID by their content, None for both.
    """
    for ref, valid, missing, reason in zip(scores.refs, scores.valid, scores.lost, scores.reason, strict=True):
        if not valid and lost in (None, bool(missing)):
            return f" (the first: {ref.key}, {Reason(reason).text or 'a score that is not a finite number'})"
    return ""


def top_parts(sample: Sample, count: int) -> list[tuple[str, float]]:
    """Return the good parts with the highest scores, so that people can check whether one of them is defective."""
    order = np.argsort(-sample.scores)[:count]
    return [(sample.keys[place], float(sample.scores[place])) for place in order]


def _windows(scores: Scores) -> Sample:
    """Return the windows by run, in time order. Windows of one run depend on each other."""
    order = sorted(
        (place for place in range(len(scores)) if not scores.lost[place]),
        key=lambda place: (scores.refs[place].group, scores.refs[place].time_s or 0.0, scores.refs[place].key),
    )
    values = np.where(scores.valid, scores.score, np.inf)
    ranked = np.where(scores.valid, scores.score, scores.score[scores.valid].max())
    runs = tuple(ranked[list(places)] for _, places in groupby(order, key=lambda place: scores.refs[place].group))
    alone = all(len(run) == 1 for run in runs)
    return Sample(
        scores=values[order],
        runs=() if alone else runs,
        keys=tuple(scores.refs[place].key for place in order),
        invalid=int(scores.lost.sum()),
        invalid_content=int(np.isposinf(values[order]).sum()),
        unit="window",
        sampling=Sampling(method="one_per_run" if alone else "effective_number", units=len(order), groups=len(runs)),
    )


def _worst_frames(scores: Scores) -> dict[str, tuple[Ref, float]]:
    """Return the highest score of each part: +inf if a frame is INVALID because of its content, NaN if a frame is lost."""
    frames: dict[str, list[int]] = {}
    for place, ref in enumerate(scores.refs):
        frames.setdefault(ref.part, []).append(place)
    valid, lost = scores.valid, scores.lost
    worst: dict[str, tuple[Ref, float]] = {}
    for part, places in frames.items():
        if any(not valid[place] and not lost[place] for place in places):
            value = float("inf")
        elif any(lost[place] for place in places):
            value = float("nan")
        else:
            value = float(scores.score[places].max())
        worst[part] = (scores.refs[places[0]], value)
    return worst


def _refuse_lost(scores: Scores, count: int, lost: int, judged: int) -> None:
    if not judged:
        raise CalibrationError(
            f"all {count} calibration parts are INVALID{first_invalid(scores)}. Fix or replace them."
        )
    if lost > MAX_LOST * count:
        raise CalibrationError(
            f"the input of {lost} of {count} calibration parts was lost{first_invalid(scores, lost=True)}; expected at most "
            f"{percent(MAX_LOST)}. Fix these items or remove them before you calibrate."
        )
