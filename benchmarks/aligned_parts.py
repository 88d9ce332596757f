"""Measure whether it helps to cut a single part out of its frame and turn it level before it is judged.

The pictures of a tree are written three times: as they are, with the part cut out, and cut out and turned level. The part is
the largest blob that differs from the border of its picture (threshold of Otsu). Its principal axis becomes level, and its heavy
end is left.
A detector is trained, exported and evaluated on each version. A picture without a clear blob is written as it is, and counted.
This is an experiment outside of the graph. Prints one JSON line per version. ``drawn`` makes elongated parts at any angle.

    OMP_NUM_THREADS=1 python -m benchmarks.aligned_parts drawn --seeds 0
    OMP_NUM_THREADS=1 python -m benchmarks.aligned_parts DATA/cookies --seeds 0 1
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.damage.kinds import HELD_OUT, damaged
from andon.evaluation.frames import evaluate
from andon.runtime.detector import Detector
from andon.sources.opencv import opencv
from andon.sources.opening import labelled_for
from andon.sources.pictures.folder import open_listing
from andon.training.detectors.patchcore import Settings
from andon.training.observers.epochs import NONE
from andon.training.observers.options import ObserveOptions
from andon.training.runs.export_run import export_run
from andon.training.runs.train import TrainOptions, train

Picture = NDArray[np.uint8]
Version = Literal["as it is", "cut out", "level"]
VERSIONS: tuple[Version, ...] = ("as it is", "cut out", "level")
MARGIN = 0.06
"""Free border around the part, as a share of its longer side."""
SIDE = 480
TRAIN, TEST = 140, 40


def blob(picture: Picture) -> NDArray[np.bool_] | None:
    """Return the largest area that differs from the border, filled; None if it has not 2 to 70 % of the picture."""
    cv2 = opencv()
    border = np.concatenate([picture[:4].reshape(-1, 3), picture[-4:].reshape(-1, 3), picture[:, 0], picture[:, -1]])
    apart = np.abs(picture.astype(np.int16) - np.median(border, axis=0).astype(np.int16)).max(axis=2).astype(np.uint8)
    _, found = cv2.threshold(cv2.GaussianBlur(apart, (0, 0), 2), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    contours, _ = cv2.findContours(found, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    filled = np.zeros(picture.shape[:2], np.uint8)
    cv2.drawContours(filled, [max(contours, key=cv2.contourArea)], -1, 1, -1)
    return filled > 0 if 0.02 < filled.mean() < 0.7 else None


def aligned(picture: Picture, version: Version) -> Picture | None:
    """Return the part cut out, and turned level if asked for; None without a clear blob."""
    cv2 = opencv()
    inside = blob(picture)
    if inside is None:
        return None
    rows, columns = np.nonzero(inside)
    middle = np.array([columns.mean(), rows.mean()])
    points = np.stack([columns, rows], axis=1) - middle
    turn = np.eye(2)
    if version == "level":
        axis = np.linalg.eigh(np.cov(points.T))[1][:, -1]
        turn = np.array([axis, (-axis[1], axis[0])])
        if ((points @ turn[0]) ** 3).sum() < 0:  # the long tail of the distribution points right: the heavy end is left
            turn = -turn
    seen = points @ turn.T
    low, high = seen.min(axis=0), seen.max(axis=0)
    free = MARGIN * float((high - low).max())
    low, high = low - free, high + free
    size = np.ceil(high - low).astype(int)
    shift = -turn @ middle - low
    move = np.hstack([turn, shift[:, np.newaxis]]).astype(np.float32)
    return np.asarray(
        cv2.warpAffine(picture, move, tuple(size.tolist()), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
        np.uint8,
    )


def drawn(seed: int) -> Picture:
    """Return a long drawn part with two holes and a wide end, at any angle and near the middle, on a plain ground."""
    cv2 = opencv()
    generator = np.random.default_rng(seed)
    part = np.full((SIDE, SIDE, 3), (70, 72, 75), np.uint8)
    tone = generator.normal((165, 160, 150), 2).tolist()
    cv2.rectangle(part, (90, 215), (390, 265), tone, -1)
    cv2.circle(part, (110, 240), 48, tone, -1)
    for x, radius in ((110, 18), (370, 10)):
        cv2.circle(part, (x, 240), radius, (70, 72, 75), -1)
    cv2.line(part, (170, 240), (340, 240), (120, 118, 110), 4)
    turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), float(generator.uniform(0, 360)), 1.0)
    turn[:, 2] += generator.normal(0, 15, 2)
    turned = cv2.warpAffine(part, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.GaussianBlur(turned, (0, 0), 0.9) + generator.normal(0, 4, part.shape)
    return np.asarray(np.clip(seen, 0, 255), np.uint8)


def write_drawn(out: Path) -> None:
    """Write a tree of drawn parts. Damage is drawn onto test parts, only where it touches the part."""
    cv2 = opencv()
    for number in range(TRAIN + 2 * TEST):
        picture = drawn(number)
        place = "train/good" if number < TRAIN else "test/good" if number < TRAIN + TEST else "test/damage"
        if place == "test/damage":
            kind = HELD_OUT[number % len(HELD_OUT)]
            judged = blob(picture)
            after = damaged(np.random.default_rng(number), kind, picture, drawn(number + 1), judged)
            if after is None:
                continue
            picture = after.picture
        path = out / place / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture[:, :, ::-1])


def write(source: Path, target: Path, version: Version) -> int:
    """Write one version of a tree, and return the number of pictures without a clear blob."""
    cv2 = opencv()
    unclear = 0
    for key, file in open_listing(source).items():
        picture = np.asarray(cv2.imread(str(file.path)), np.uint8)
        made = None if version == "as it is" else aligned(picture, version)
        unclear += made is None and version != "as it is"
        path = (target / key).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture if made is None else made)
    return unclear


def main() -> None:
    """Write the versions, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="tree with train/good and test/TYPE, or: drawn")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--preset", choices=["fast", "standard"], default="fast")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        source = Path(args.data)
        if args.data == "drawn":
            source = work / "drawn"
            write_drawn(source)
        for version in VERSIONS:
            tree = work / version.replace(" ", "-")
            unclear = write(source, tree, version)
            for seed in args.seeds:
                file = work / f"{tree.name}-{seed}.onnx"
                run = train(
                    "patchcore",
                    tree,
                    work / f"run-{tree.name}-{seed}",
                    settings=Settings(preset=args.preset),
                    options=TrainOptions(seed=seed),
                    observe=ObserveOptions(picture_epochs=NONE),
                )
                request = CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-11-30")
                export_run(run, file, request=request, scene=False)
                detector = Detector.load(file)
                collection, truth = labelled_for(str(tree), detector.card.input)
                figures, _ = evaluate(detector, collection, replace(truth, masks={}), seed=seed)
                interval = figures.intervals.auroc if figures.intervals else None
                about = {"set": source.name, "version": version, "seed": seed, "preset": args.preset}
                found = {"auroc": figures.auroc, "interval": [interval.low, interval.high] if interval else None}
                counts = {"good": figures.n_good, "defects": figures.n_defect, "unclear": unclear}
                print(json.dumps(about | found | counts | {"load": round(os.getloadavg()[0], 1)}), flush=True)


if __name__ == "__main__":
    main()
