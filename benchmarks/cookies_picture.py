"""Draw the overlays of the README for the first test parts of each kind of the cookies data: photograph above, overlay below.

    andon train patchcore --data cookies/ --out run/ && andon export run/ -o cookies.onnx
    python benchmarks/cookies_picture.py cookies.onnx cookies/ docs/pictures/cookies.jpg

The photographs are CC BY-SA 4.0 (aws-samples/amazon-lookout-for-vision). State this next to the picture everywhere.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from andon.drawing.heat_picture import heat_picture
from andon.runtime import Detector
from andon.sources.pictures.decode import decode_file

PARTS = ("good/001.jpg", "good/002.jpg", "cracked/001.jpg", "cracked/002.jpg", "unmasked/001.jpg")
GAP = 10
WIDTH = 1000
"""Width of the whole picture in pixels."""


def main() -> None:
    """Judge the parts, and draw the picture."""
    detector, root, target = Detector.load(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    columns = []
    for name in PARTS:
        frame = np.asarray(decode_file(root / "test" / name), np.uint8)
        apart = np.full((GAP, frame.shape[1], 3), 255, np.uint8)
        column = np.concatenate([frame, apart, heat_picture(frame, detector(frame), detector.card)])
        columns.append(np.pad(column, ((0, 0), (0, GAP), (0, 0)), constant_values=255))
    picture = Image.fromarray(np.concatenate(columns, axis=1)[:, :-GAP])
    target.parent.mkdir(parents=True, exist_ok=True)
    size = (WIDTH, round(picture.height * WIDTH / picture.width))
    picture.resize(size, Image.Resampling.LANCZOS).save(target, quality=82)


if __name__ == "__main__":
    main()
