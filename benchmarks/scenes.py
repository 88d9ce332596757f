"""Judge frames that no line should call good, and count the parts that the scene check makes INVALID.

The wrong frames are drawn from good test parts (`benchmarks.wrong_frames`), with other strengths than those to which the check
was fitted. Pictures of other sets are wrong too. Prints one JSON line with the number of
frames by kind and status. It also gives the numbers of good parts and of real defects that are INVALID because of another scene.

    python -m benchmarks.scenes bottle.onnx --data ../shared/data/mvtec_ad/bottle --others ../shared/data/cookies
    python -m benchmarks.scenes pill.onnx --data ../shared/data/mvtec_ad/pill --turned --others ../shared/data/cookies
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from benchmarks.wrong_frames import Picture, wrong_frames
from numpy.typing import NDArray

from andon.runtime.detector import Detector
from andon.runtime.items import Item
from andon.runtime.schema import FrameSpec, Reason, Status
from andon.sources.opening import open_for

SPOILT = 8
"""Good test parts from which wrong frames are made."""
OTHERS = 10
"""Pictures taken from each other set."""


def main() -> None:
    """Parse the arguments and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="model file")
    parser.add_argument("--data", required=True, help="labelled set of the file, with the folder test/")
    parser.add_argument("--others", nargs="*", default=[], help="labelled sets of other parts")
    parser.add_argument("--turned", action="store_true", help="good parts of this set are never turned")
    args = parser.parse_args()
    detector = Detector.load(args.file, frame_size="any")
    spec = detector.card.input
    assert isinstance(spec, FrameSpec)
    good = list(pictures(f"{args.data}/test/good", spec.channels))
    step = max(1, len(good) // SPOILT)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, frame in wrong_frames(good[::step][:SPOILT], turned=args.turned):
        counts[kind][status(detector, frame)] += 1
    for other in args.others:
        for frame in list(pictures(f"{other}/test/good", spec.channels))[:OTHERS]:
            counts[f"set {Path(other).name}"][status(detector, frame)] += 1
    defects = [
        status(detector, frame)
        for folder in sorted(Path(args.data, "test").iterdir())
        if folder.name != "good"
        for frame in pictures(str(folder), spec.channels)
    ]
    whole = [status(detector, frame) for frame in good]
    print(
        json.dumps(
            {
                "file": Path(args.file).name,
                "recognised": spec.scene.recognised if spec.scene else None,
                "wrong": {kind: dict(found) for kind, found in counts.items()},
                "wrong_ok": sum(found["OK"] + found["REVIEW"] for found in counts.values()),
                "wrong_total": sum(sum(found.values()) for found in counts.values()),
                "good_invalid": f"{whole.count('INVALID')} of {len(whole)}",
                "good_rejected": f"{whole.count('REJECT')} of {len(whole)}",
                "defects_invalid": f"{defects.count('INVALID')} of {len(defects)}",
                "defects_ok": f"{defects.count('OK')} of {len(defects)}",
            }
        )
    )


def pictures(folder: str, channels: int) -> Iterator[Picture]:
    """Yield the readable pictures of a folder with this number of channels."""
    collection = open_for(folder, FrameSpec(channels=3 if channels == 3 else 1, size=(32, 32)))
    for ref in collection.refs:
        item = collection.read(ref)
        if isinstance(item, Item):
            yield with_channels(np.asarray(item.data, np.uint8), channels)


def with_channels(frame: NDArray[np.uint8], channels: int) -> Picture:
    """Return the frame in grey or in colour."""
    if frame.shape[2] == channels:
        return frame
    if channels == 1:
        return np.asarray(frame.mean(axis=2, keepdims=True), np.uint8)
    return np.repeat(frame, 3, axis=2)


def status(detector: Detector, frame: Picture) -> str:
    """Return the status, or the reason if it is INVALID for another reason than the scene."""
    verdict = detector(np.ascontiguousarray(frame))
    if verdict.status is Status.INVALID and verdict.reason is not Reason.OTHER_SCENE:
        return verdict.reason.code
    return verdict.status.name


if __name__ == "__main__":
    main()
