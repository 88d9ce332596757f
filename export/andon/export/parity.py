"""Check that the file computes what the PyTorch module computes, on real parts, before the file gets its name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray

from andon.export.graph import Pipeline
from andon.foundation.errors import ParityError
from andon.runtime.detector import Detector
from andon.runtime.model_file.format import parse
from andon.runtime.schema import Status
from andon.runtime.session import open_session

BATCHES = (1, 2, 5)


class Parity(Struct, frozen=True, kw_only=True):
    """What was compared, and how far apart it was."""

    compared: int
    worst_relative: float
    """Largest difference of a score, relative to ``max(|score|, median |score| of good parts)``."""
    near_threshold: int
    """Items whose score lies within the tolerance of the threshold: their status was not compared."""


def gate(pipeline: Pipeline, data: bytes, items: Sequence[NDArray[Any]]) -> Parity:
    """Compare a calibrated file with its module over batches of 1, 2 and 5, at the items' size and at another.

    Args:
        pipeline: what was traced, in eval mode.
        data: the calibrated file.
        items: at least one raw item, all of one shape.

    Raises:
        ParityError: a score differs by more than the file's tolerance, or a status differs where the score is clear.
    """
    model = parse(data)
    detector = Detector(model, open_session(data), frame_size="any")
    calibration = model.card.calibration
    unit = calibration.good_scale if calibration else 0.0
    worst, compared, near = 0.0, 0, 0
    allowed = model.card.tolerance
    _check_rows_are_independent(detector, items, unit)
    for batch in _batches(items):
        with torch.no_grad():
            eager, reason, *_ = pipeline(torch.from_numpy(np.stack(batch)))
        for verdict, expected, why in zip(detector.batch(batch), eager.tolist(), reason.tolist(), strict=True):
            compared += 1
            if why != 0:
                if verdict.status != Status.INVALID:
                    raise ParityError(f"the file judges what the module calls INVALID (reason {why}).")
                continue
            tolerance = allowed * max(abs(expected), unit)
            apart = abs(verdict.score - expected)
            worst = max(worst, apart / max(abs(expected), unit, 1e-30))
            if not apart <= tolerance:
                raise ParityError(
                    f"the file scores {verdict.score:.9g} where the module scores {expected:.9g} (batch of {len(batch)}, "
                    f"shape {list(batch[0].shape)}; tolerance {tolerance:.3g}): an operator exports differently than it runs."
                )
            if abs(expected - model.threshold) <= tolerance:
                near += 1
            elif (verdict.status == Status.REJECT) != (expected > model.threshold):
                raise ParityError(
                    f"the file says {verdict.status.name} to a score of {expected:.9g}, threshold {model.threshold:.9g}."
                )
    return Parity(compared=compared, worst_relative=worst, near_threshold=near)


def _check_rows_are_independent(detector: Detector, items: Sequence[NDArray[Any]], unit: float) -> None:
    """Refuse a scorer that scores a part differently in a batch: its verdict would depend on its neighbours."""
    allowed = detector.card.tolerance
    beside = detector.batch([items[place % len(items)] for place in range(max(BATCHES))])
    for item, together in zip(items, beside, strict=False):
        alone = detector(item)
        if alone.status != Status.INVALID and not abs(alone.score - together.score) <= allowed * max(
            abs(alone.score), unit
        ):
            raise ParityError(
                f"a part scores {alone.score:.9g} alone and {together.score:.9g} in a batch: the scorer mixes its rows, "
                "for example by normalising over the batch."
            )


def _batches(items: Sequence[NDArray[Any]]) -> list[list[NDArray[Any]]]:
    """Return batches of real items, repeated where there are too few, and one batch of frames of another size."""
    batches = [[items[place % len(items)] for place in range(size)] for size in BATCHES]
    if items[0].ndim == 3:
        height, width = items[0].shape[:2]
        smaller = [
            np.ascontiguousarray(item[: max(16, height * 7 // 10), : max(16, width * 8 // 10)]) for item in batches[1]
        ]
        batches.append(smaller)
    return batches
