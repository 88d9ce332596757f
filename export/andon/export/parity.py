"""Check on real parts that the file computes the same as the PyTorch module, before the file is written."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray

from andon.export.graph import Pipeline
from andon.foundation.errors import ParityError
from andon.runtime.detector import Detector
from andon.runtime.mask_pixels import masked
from andon.runtime.model_file.format import parse
from andon.runtime.schema import RAW_SCORE, FrameSpec, Reason, Status
from andon.runtime.session import open_session

BATCHES = (1, 2, 5)
TILED_BATCHES = (1, 2)


class Parity(Struct, frozen=True, kw_only=True):
    """Result of the comparison between file and module."""

    compared: int
    worst_relative: float
    """Largest difference of a score, relative to ``max(|score|, median |score| of good parts)``."""
    near_threshold: int
    """Number of items with a score that differs from the threshold by at most the tolerance. Their status was not compared."""


def gate(pipeline: Pipeline, data: bytes, items: Sequence[NDArray[Any]]) -> Parity:
    """Compare a calibrated file with its module on batches of 1, 2 and 5 items, and frames without tiles also at another size.

    A file with masks refuses frames of another size.

    Args:
        pipeline: the traced pipeline, in eval mode.
        data: the calibrated file.
        items: at least one raw item, all of one shape.

    Raises:
        ParityError: a score differs by more than the file's tolerance, or a status differs although the score is not within
            the tolerance of the threshold.
    """
    model = parse(data)
    detector = Detector(model, open_session(data), frame_size="any")
    calibration = model.card.calibration
    unit = calibration.good_scale if calibration else 0.0
    worst, compared, near = 0.0, 0, 0
    allowed = model.card.tolerance
    tiled = isinstance(pipeline.spec, FrameSpec) and pipeline.spec.tiles is not None
    # frames with tiles are large, so they need fewer
    sizes = TILED_BATCHES if tiled else BATCHES
    _check_rows_are_independent(detector, items[: max(sizes)], max(sizes), unit)
    for batch in _batches(items, sizes, other_size=not (tiled or masked(pipeline.spec))):
        with torch.no_grad():
            eager, reason, *_ = pipeline(torch.from_numpy(np.stack(batch)))
        got = raw_scores(detector, batch)
        for verdict, score, expected, why in zip(
            detector.batch(batch), got, eager.tolist(), reason.tolist(), strict=True
        ):
            compared += 1
            if why != 0:
                if verdict.status != Status.INVALID:
                    raise ParityError(
                        f"status of the file: expected INVALID with reason {why} as in the module, got {verdict.status.name}. "
                        "Report this as a bug."
                    )
                continue
            tolerance = allowed * max(abs(expected), unit)
            apart = abs(score - expected)
            worst = max(worst, apart / max(abs(expected), unit, 1e-30))
            if not apart <= tolerance:
                raise ParityError(
                    f"score of the file: expected {expected:.9g} as in the module, got {score:.9g} (batch of "
                    f"{len(batch)}, shape {list(batch[0].shape)}, tolerance {tolerance:.3g}). An operator of the scorer "
                    "computes something different after export. Replace it."
                )
            if verdict.reason in (Reason.OTHER_SCENE, Reason.OUTSIDE_TRAINING):
                continue  # the score does not decide. For frames, the batch of another size shows a corner of each part
            if abs(expected - model.threshold) <= tolerance:
                near += 1
            elif (verdict.status == Status.REJECT) != (expected > model.threshold):
                raise ParityError(
                    f"status of the file: got {verdict.status.name} for a score of {expected:.9g} with threshold "
                    f"{model.threshold:.9g}, expected {'REJECT' if expected > model.threshold else 'OK or REVIEW'}. "
                    "Report this as a bug."
                )
    return Parity(compared=compared, worst_relative=worst, near_threshold=near)


def _check_rows_are_independent(detector: Detector, items: Sequence[NDArray[Any]], size: int, unit: float) -> None:
    """Refuse a scorer that scores a part differently in a batch, because its verdict would depend on its neighbours."""
    allowed = detector.card.tolerance
    batch = raw_scores(detector, [items[place % len(items)] for place in range(size)])
    for item, together in zip(items, batch, strict=False):
        alone = raw_scores(detector, [item])[0]
        if not math.isnan(alone) and not abs(alone - together) <= allowed * max(abs(alone), unit):
            raise ParityError(
                f"score in a batch: expected {alone:.9g} as for the part alone, got {together:.9g}. The scorer mixes "
                "rows of a batch. Remove operations across the batch, such as normalisation over it."
            )


def raw_scores(detector: Detector, items: Sequence[NDArray[Any]]) -> list[float]:
    """Return the scores of a batch without the checks for another scene and for windows outside the good ones.

    NaN for items that are INVALID for another reason, and for all INVALID items of a file without these checks.
    """
    if RAW_SCORE in detector.card.outputs:
        scores: list[float] = detector.measure(items, RAW_SCORE).tolist()
        return scores
    return [verdict.score for verdict in detector.batch(items)]


def _batches(items: Sequence[NDArray[Any]], sizes: Sequence[int], *, other_size: bool) -> list[list[NDArray[Any]]]:
    """Return batches of real items, repeated if there are too few, and for frames a batch of another size.

    Files with tiles accept one frame size only.
    """
    batches = [[items[place % len(items)] for place in range(size)] for size in sizes]
    if items[0].ndim == 3 and other_size:
        height, width = items[0].shape[:2]
        smaller = [
            np.ascontiguousarray(item[: max(16, height * 7 // 10), : max(16, width * 8 // 10)]) for item in batches[1]
        ]
        batches.append(smaller)
    return batches
