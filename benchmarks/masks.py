"""Measure what an ignore mask is worth where each good part has another printed code, and where the print changes later.

A random code of eight digits is drawn at about the same place of all pictures of a tree, good and defective. Three files are
trained for each seed. The first sees the pictures as they are, the second those with a code. The third sees the code too, and
ignores its area. All pictures have the same names, so that the splits are the same. Each file with a code is also evaluated on
test pictures whose code consists of letters. No good part of the training had letters. Prints one JSON line per evaluation, and
one on the time of a judgement with and without the mask (interleaved).

    OMP_NUM_THREADS=1 python -m benchmarks.masks DATA/mvtec_ad/bottle --seeds 0 1
"""

import argparse
import json
import os
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from andon.calibration.request import CalibrationRequest
from andon.evaluation.frames import evaluate
from andon.foundation.progress import ProgressLine, track
from andon.runtime.bench_pair import bench_pair
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

PLACE = (0.33, 0.80, 0.67, 0.90)
"""Left, top, right and bottom of the area of the code, as shares of the picture."""
TREES = {"plain": "", "coded": "0123456789", "letters": "AEGHKMNRSTWX"}
"""Signs of the codes of each tree."""
FILES = {"no code": ("plain", False), "code": ("coded", False), "code, mask": ("coded", True)}
"""Tree of pictures, and whether the area of the code is ignored."""


def printed(picture: NDArray[np.uint8], key: str, signs: str) -> NDArray[np.uint8]:
    """Return the picture with a random code of these signs. The same key always gives the same code."""
    cv2 = opencv()
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    height, width = picture.shape[:2]
    left, top, right, _ = (round(share * side) for share, side in zip(PLACE, (width, height) * 2, strict=True))
    text = "".join(generator.choice(list(signs), 8))
    scale = 0.8 * (right - left) / cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 2)[0][0]
    line = max(1, round(2 * scale))
    (_, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, line)
    area = (right - left, round((PLACE[3] - PLACE[1]) * height))
    free = (0.15 * area[0], 0.8 * (area[1] - tall))
    at = (left + round(generator.uniform(0.05, 1) * free[0]), top + tall + round(generator.uniform(0.1, 1) * free[1]))
    result = picture.copy()
    cv2.putText(result, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (235, 235, 235), line, cv2.LINE_AA)
    return result


def copy_tree(source: Path, target: Path, signs: str) -> None:
    """Write the pictures of a tree as PNG, with codes of these signs if any. Masks of defects are copied unchanged."""
    cv2 = opencv()
    for key, file in track(list(open_listing(source).items()), ProgressLine(), "writing pictures"):
        path = (target / key).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = np.asarray(cv2.imread(str(file.path)), np.uint8)
        cv2.imwrite(str(path), printed(picture, key, signs) if signs else picture)
    shutil.copytree(source / "ground_truth", target / "ground_truth")


def area_of(data: Path) -> str:
    """Return the area of the code as a rectangle in pixels, for ``--ignore``."""
    first = next(iter(open_listing(data).values()))
    height, width = opencv().imread(str(first.path)).shape[:2]
    return ",".join(str(round(share * side)) for share, side in zip(PLACE, (width, height) * 2, strict=True))


def fit(data: Path, out: Path, ignore: tuple[str, ...], preset: Literal["fast", "standard", "fine"], seed: int) -> None:
    """Train and export."""
    run = train(
        "patchcore",
        data,
        out.with_suffix(""),
        settings=Settings(preset=preset),
        options=TrainOptions(seed=seed, ignore=ignore),
        observe=ObserveOptions(picture_epochs=NONE),
    )
    export_run(run, out, request=CalibrationRequest(date="2026-11-30"))


def measure(file: Path, data: Path) -> dict[str, object]:
    """Evaluate a file, and return the figures."""
    detector = Detector.load(file)
    spec = detector.card.input
    assert isinstance(spec, FrameSpec)
    figures, _ = evaluate(detector, *labelled_for(str(data), spec), intervals=False)
    calibration = detector.card.calibration
    assert calibration is not None
    return {
        "auroc": figures.auroc,
        "aupro": figures.aupro,
        "threshold_by_good_median": round(detector.threshold / calibration.good_median, 3),
        "false_rejects": figures.confusion.false_rejects,
        "good": figures.n_good,
        "misses": figures.confusion.misses,
        "defects": figures.n_defect,
        "invalid": figures.invalid,
        "defects_only_in_ignored_pixels": figures.ignored_defects,
    }


def main() -> None:
    """Print codes, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="tree with train/good, test/TYPE and ground_truth/TYPE")
    parser.add_argument("--preset", choices=["fast", "standard", "fine"], default="fast")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    area = area_of(args.data)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for tree, signs in TREES.items():
            copy_tree(args.data, work / tree, signs)
        for seed in args.seeds:
            for name, (tree, masked) in FILES.items():
                out = work / f"{tree}{'-mask' if masked else ''}-{seed}.onnx"
                fit(work / tree, out, (area,) if masked else (), args.preset, seed)
                for test in ("coded", "letters") if tree == "coded" else ("plain",):
                    about = {"set": args.data.name, "file": name, "test": test, "preset": args.preset, "seed": seed}
                    load = {"area": area, "load": round(os.getloadavg()[0], 1)}
                    print(json.dumps(about | measure(out, work / test) | load), flush=True)
        pair = bench_pair(work / f"coded-{args.seeds[0]}.onnx", work / f"coded-mask-{args.seeds[0]}.onnx", seconds=20)
        times = {"ms": pair.first.latency_ms, "ms_with_mask": pair.second.latency_ms, "ratio": pair.ratio}
        between = {"low": pair.low, "high": pair.high, "pairs": pair.pairs}
        print(
            json.dumps({"set": args.data.name} | times | between | {"load": round(os.getloadavg()[0], 1)}), flush=True
        )


if __name__ == "__main__":
    main()
