"""Scores as `scoring.score` gives them, made of given numbers; NaN stands for an INVALID item."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from andon.calibration.scoring import Scores
from andon.runtime.items import Ref
from andon.runtime.schema import Reason, Status


def scores_of(
    values: ArrayLike, refs: Sequence[Ref] | None = None, map_values: ArrayLike = (), lost: Sequence[int] = ()
) -> Scores:
    """Return one item per value, each its own part unless `refs` groups them. Items in `lost` never reached the graph."""
    numbers = np.array(values, np.float64)
    numbers[list(lost)] = np.nan
    invalid = np.isnan(numbers)
    reason = np.where(invalid, Reason.NO_CONTRAST, Reason.NONE).astype(np.uint8)
    reason[list(lost)] = Reason.UNREADABLE
    return Scores(
        refs=tuple(refs) if refs is not None else tuple(Ref(key=f"{place:04}.png") for place in range(len(numbers))),
        score=numbers,
        status=np.where(invalid, Status.INVALID, Status.OK).astype(np.uint8),
        reason=reason,
        map_values=np.asarray(map_values, np.float32),
    )


def log_of(runs: Sequence[ArrayLike]) -> Scores:
    """Return the windows of several runs, in time order."""
    lengths = [len(np.asarray(run)) for run in runs]
    refs = [
        Ref(key=f"run{number:03}#{place}", group=f"run{number:03}", time_s=float(place))
        for number, length in enumerate(lengths)
        for place in range(length)
    ]
    return scores_of(np.concatenate([np.asarray(run, np.float64) for run in runs]), refs)
