"""Draw the heat maps of the README for the first test parts of each kind of the cookies data: photograph above, map below.

    andon train patchcore --data cookies/ --out run/ && andon export run/ -o cookies.onnx
    python benchmarks/cookies_picture.py cookies.onnx cookies/ docs/pictures/cookies.jpg

The photographs are CC BY-SA 4.0 (aws-samples/amazon-lookout-for-vision). State this next to the picture everywhere.
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from andon.runtime import Detector
from andon.runtime.heat_map import colours, enlarge
from andon.sources.pictures.decode import decode_file

PARTS = ("good/001.jpg", "good/002.jpg", "cracked/001.jpg", "cracked/002.jpg", "unmasked/001.jpg")


def main() -> None:
    """Judge the parts, and draw the picture."""
    detector, root, target = Detector.load(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    scale = (detector.card.calibration and detector.card.calibration.map_scale) or 1.0
    figure = Figure(figsize=(2.1 * len(PARTS), 6.2), layout="constrained")
    axes = figure.subplots(2, len(PARTS))
    for column, name in enumerate(PARTS):
        frame = decode_file(root / "test" / name)
        verdict = detector(frame)
        axes[0, column].imshow(frame)
        axes[1, column].imshow(colours(enlarge(verdict.evidence["anomaly_map"], frame.shape[:2]), scale))
        axes[0, column].set_title(name.removesuffix(".jpg"), fontsize=10)
        axes[1, column].set_title(f"{verdict.status.name}, level {verdict.level:.1f}", fontsize=10)
    for axis in axes.flat:
        axis.axis("off")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=80)


if __name__ == "__main__":
    main()
