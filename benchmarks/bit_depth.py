"""Measure a detector on the same pictures with 8, 12 and 16 bits per channel.

The pictures of a tree are converted to 12 bits (times 4095 / 255, rounded) and to 16 bits (times 257). A third version has only
a small piece of the range of 16 bits, as thermal cameras give it (times 12, plus 28 000). All are PNG files of the same names,
because the split depends on the names. A detector is trained, exported and evaluated on each version. The conversion adds no
information, so the figures should be equal. Prints one JSON line per version.

    OMP_NUM_THREADS=1 python -m benchmarks.bit_depth DATA/mvtec_ad/bottle
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from andon.calibration.request import CalibrationRequest
from andon.evaluation.frames import evaluate
from andon.foundation.progress import ProgressLine, track
from andon.runtime.detector import Detector
from andon.runtime.schema import FrameSpec
from andon.sources.opencv import opencv
from andon.sources.opening import labelled_for
from andon.sources.pictures.folder import open_listing
from andon.training.detectors.patchcore import Settings
from andon.training.observers.epochs import NONE
from andon.training.observers.options import ObserveOptions
from andon.training.runs.export_run import export_run
from andon.training.runs.train import TrainOptions, train

VERSIONS = {
    "8": (1.0, 0.0, np.uint8),
    "12": (4095 / 255, 0.0, np.uint16),
    "16": (257.0, 0.0, np.uint16),
    "narrow": (12.0, 28_000.0, np.uint16),
}
"""Factor, offset and type of each version."""


def convert(source: Path, target: Path, version: str) -> None:
    """Write the pictures of a tree with other levels. Masks are copied unchanged."""
    cv2 = opencv()
    factor, offset, dtype = VERSIONS[version]
    for key, file in track(list(open_listing(source).items()), ProgressLine(), f"converting to {version}"):
        path = (target / key).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = cv2.imread(str(file.path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.rint(levels * factor + offset).astype(dtype))
    shutil.copytree(source / "ground_truth", target / "ground_truth")


def measure(data: Path, work: Path, version: str, seed: int) -> dict[str, object]:
    """Train, export and evaluate on one version, and return the figures."""
    run = train(
        "patchcore",
        data,
        work / f"run{version}",
        settings=Settings(preset="fast"),
        options=TrainOptions(seed=seed),
        observe=ObserveOptions(picture_epochs=NONE),
    )
    path = work / f"{version}.onnx"
    export_run(run, path, request=CalibrationRequest(date="2026-11-30"))
    detector = Detector.load(path)
    spec = detector.card.input
    assert isinstance(spec, FrameSpec)
    figures, _ = evaluate(detector, *labelled_for(str(data), spec), intervals=False)
    return {
        "version": version,
        "dtype": spec.dtype,
        "black": spec.black,
        "white": spec.white,
        "threshold": round(detector.threshold, 6),
        "auroc": figures.auroc,
        "aupro": figures.aupro,
        "seed": seed,
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Convert, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="tree with train/good, test/TYPE and ground_truth/TYPE")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for version in VERSIONS:
            data = Path(folder) / version
            convert(args.data, data, version)
            print(json.dumps(measure(data, Path(folder), version, args.seed)), flush=True)


if __name__ == "__main__":
    main()
