"""Draw the picture of the page on masks: a rejected drawn part with an ignored number and a region.

OMP_NUM_THREADS=1 python -m benchmarks.masks_picture docs/pictures/masked.jpg
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.drawing.heat_picture import heat_picture
from andon.monitor.evidence import encode_picture
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Ref
from andon.sources.collection import FoundFrames
from andon.sources.opencv import opencv
from andon.training.detectors.patchcore import Settings
from andon.training.observers.epochs import NONE
from andon.training.observers.options import ObserveOptions
from andon.training.runs.export_run import export_run
from andon.training.runs.train import TrainOptions, train

SIZE = (400, 600)
NUMBER = "100,10,420,100"
"""Rectangle of the number, in pixels."""
REGION = "40,0,560,400"


class Parts:
    """Drawn good parts in memory: a disc and a random number."""

    def __init__(self, count: int) -> None:
        self.found = FoundFrames(channels=3, frame_size=SIZE, largest=SIZE)
        self.refs: Sequence[Ref] = [Ref(key=f"{number:03}.png") for number in range(count)]

    def read(self, ref: Ref) -> Item:
        """Return the part of a key."""
        return Item(ref, part(int(ref.key[:3])))


def part(seed: int, *, spot: bool = False) -> NDArray[np.uint8]:
    """Return a part with another number for each seed, and perhaps with a dark spot."""
    cv2 = opencv()
    generator = np.random.default_rng(seed)
    levels = np.full((*SIZE, 3), 60, np.uint8)
    cv2.circle(levels, (300, 220), 160, (130, 140, 150), -1)
    cv2.ellipse(levels, (300, 220), (110, 110), 0, 0, 360, (150, 158, 165), 6)
    number = "".join(str(digit) for digit in generator.integers(0, 10, 6))
    cv2.putText(levels, number, (120, 80), cv2.FONT_HERSHEY_SIMPLEX, 2.2, (235, 235, 235), 6, cv2.LINE_AA)
    if spot:
        cv2.circle(levels, (215, 190), 13, (30, 25, 20), -1, cv2.LINE_AA)
    noisy = levels + generator.normal(0, 3, levels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def main() -> None:
    """Train, judge and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="picture to write, .jpg")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts, path = Parts(60), Path(folder) / "model.onnx"
        run = train(
            "patchcore",
            parts,
            Path(folder) / "run",
            settings=Settings(preset="fast"),
            options=TrainOptions(ignore=(NUMBER,), region=(REGION,)),
            observe=ObserveOptions(picture_epochs=NONE),
        )
        request = CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-11-30")
        export_run(run, path, request=request, data=parts, scene=False)
        detector = Detector.load(path)
    bad = part(1001, spot=True)
    args.out.write_bytes(encode_picture(heat_picture(bad, detector(bad), detector.card), 90))


if __name__ == "__main__":
    main()
