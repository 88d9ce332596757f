"""Measure how much of good parts the contour of heat maps surrounds, and whether it is on the defects of defective parts.

The contour surrounds the places above the map's limit, which is the threshold for `patchcore`. Defects need masks. A part
without a mask, or with an empty one, is left out of the figures on defects.

    andon train patchcore --data bottle/ --out run/ && andon export run/ -o bottle.onnx
    python -m benchmarks.contours bottle.onnx bottle/

Prints one JSON line.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from andon.foundation.progress import ProgressLine
from andon.runtime import Detector, Status
from andon.runtime.heat_map import enlarge, map_limit
from andon.runtime.judge import judge_items
from andon.sources.opening import open_for
from andon.sources.truth import tree_truth


class Seen(NamedTuple):
    """One judged part."""

    status: Status
    surrounded: NDArray[np.bool_]
    """``[H, W]``, the places within the contour."""
    mask: NDArray[np.bool_] | None
    """``[H, W]``, the true defect. None for a good part."""
    hottest: tuple[int, int]
    """Row and column of the highest place."""


def main() -> None:
    """Judge the test set of a data set, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    detector = Detector.load(args.file, frame_size="any")
    seen = look(detector, args.data)
    print(json.dumps({"file": args.file.name, "digest": detector.model.short_digest} | figures(seen)))


def look(detector: Detector, data: Path) -> list[Seen]:
    """Judge all good parts of the test set, and all defects with a mask."""
    truth = tree_truth(data)
    collection = open_for(str(data), detector.card.input, part="evaluation")
    limit = map_limit(detector.card, detector.threshold)
    progress = ProgressLine()
    seen = []
    items = (collection.read(ref) for ref in collection.refs)
    for number, one in enumerate(judge_items(detector, items), 1):
        progress("judging", number, len(collection.refs))
        key = one.ref.key
        mask = truth.mask(key) if key in truth.masks else None
        if one.data is None or not one.judged or (truth.defective[key] and (mask is None or not mask.any())):
            continue
        big = enlarge(one.verdict.evidence["anomaly_map"], (one.data.shape[0], one.data.shape[1]))
        row, column = np.unravel_index(int(big.argmax()), big.shape)
        seen.append(Seen(one.verdict.status, big > limit, mask, (int(row), int(column))))
    return seen


def figures(seen: list[Seen]) -> dict[str, float | int]:
    """Return the shares by name."""
    passed = [one for one in seen if one.mask is None and one.status == Status.OK]
    rejected = [one for one in seen if one.mask is not None and one.status == Status.REJECT]
    on_defect = [one for one in rejected if (one.surrounded & mask_of(one)).any()]
    shares = [float(one.surrounded.mean()) for one in passed]
    return {
        "good_passed": len(passed),
        "good_without_contour": sum(share == 0 for share in shares),
        "good_area_mean": round(float(np.mean(shares)), 6),
        "good_area_max": round(max(shares), 6),
        "defects_rejected": len(rejected),
        "contour_on_defect": len(on_defect),
        "hottest_in_defect": sum(bool(mask_of(one)[one.hottest]) for one in rejected),
        "defect_covered_mean": round(
            float(np.mean([(one.surrounded & mask_of(one)).sum() / mask_of(one).sum() for one in rejected])), 3
        ),
    }


def mask_of(one: Seen) -> NDArray[np.bool_]:
    """Return the mask of a defective part."""
    assert one.mask is not None
    return one.mask


if __name__ == "__main__":
    main()
