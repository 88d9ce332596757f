"""Is the promise kept? 200 random calibrations on scores of normal MNIST pictures, each checked on the remaining pictures.

The scores are those of a real model file. A small `unet_autoencoder` is trained on digits other than 5, exported, and run on the
9 108 normal pictures of the official test set. One JSON line per promise contains three numbers. `broken` is the number of
calibrations that reject more good parts than promised. `expected` is the number that theory predicts. `broken_by_quantile` is the
number for the usual threshold `numpy.quantile(scores, 1 - alpha)`.

    ANDON_DATA=../shared/data python -m benchmarks.promise_on_mnist
"""

import argparse
import gzip
import json
import math
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom, binom

from andon.calibration.calibrate import lift
from andon.calibration.promise import allowance
from andon.calibration.request import CalibrationRequest
from andon.calibration.scoring import score
from andon.runtime.items import Item, Ref
from andon.runtime.schema import TOLERANCE
from andon.sources.collection import FoundFrames
from andon.training.detectors.unet_autoencoder import RECIPE, Settings
from andon.training.runs.export_run import export_run
from andon.training.runs.train import TrainOptions, train

ANOMALY = 5

Floats = NDArray[np.float64]


class Resampled(NamedTuple):
    """False-reject shares of random calibrations, each measured on the parts that the calibration did not use."""

    promise: Floats
    """``[calibrations]``, with the threshold of a promise."""
    quantile: Floats
    """The same, with ``numpy.quantile(scores, 1 - alpha)`` as the threshold."""
    above: int
    """Calibration parts above the threshold of the promise."""
    audited: int
    """Parts that each calibration is checked on."""


class Digits:
    """Grey MNIST pictures of all digits except 5."""

    def __init__(self, pictures: NDArray[np.uint8]) -> None:
        self._pictures = pictures
        self.found = FoundFrames(channels=1, frame_size=(28, 28), largest=(28, 28))
        self.refs = [Ref(key=f"{number:05}") for number in range(len(pictures))]

    def read(self, ref: Ref) -> Item:
        """Return one picture, uint8 ``[28, 28, 1]``."""
        return Item(ref, self._pictures[int(ref.key)][:, :, None])


def _idx(path: Path) -> NDArray[np.uint8]:
    data = gzip.decompress(path.read_bytes())
    dimensions = data[3]
    shape = np.frombuffer(data, ">u4", dimensions, 4)
    pictures: NDArray[np.uint8] = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    return pictures


def _normals(root: Path, part: str) -> NDArray[np.uint8]:
    raw = root / "mnist" / "MNIST" / "raw"
    labels = _idx(raw / f"{part}-labels-idx1-ubyte.gz")
    normals: NDArray[np.uint8] = _idx(raw / f"{part}-images-idx3-ubyte.gz")[labels != ANOMALY]
    return normals


def digit_scores(root: Path, seed: int) -> Floats:
    """Train the detector, export it, and return the scores ``[9108]`` of the normal test pictures in the order of the file."""
    with tempfile.TemporaryDirectory() as temporary:
        good = Digits(_normals(root, "train")[:3000])
        run = train(
            RECIPE,
            good,
            Path(temporary) / "run",
            settings=Settings(size=32, narrow=4, epochs=4),
            options=TrainOptions(seed=seed, threads=1),
        )
        exported = export_run(run, Path(temporary) / "mnist.onnx", request=CalibrationRequest(date=""), data=good)
        return score(exported.model.data, Digits(_normals(root, "t10k"))).score


def threshold_of(scores: Floats, above: int) -> float:
    """Return the threshold that a model file gets from these calibration scores, with `above` of them above it."""
    lifted = lift(np.sort(scores), float(np.median(np.abs(scores))), TOLERANCE)
    return float(lifted[len(scores) - 1 - above])


def resampled(scores: Floats, n: int, alpha: float, calibrations: int, generator: np.random.Generator) -> Resampled:
    """Calibrate on n random scores, check on the other ones, and repeat this."""
    above = allowance(n, alpha)
    promise, quantile = [], []
    for _ in range(calibrations):
        order = generator.permutation(len(scores))
        calibration, audit = scores[order[:n]], scores[order[n:]]
        promise.append((audit > threshold_of(calibration, above)).mean())
        quantile.append((audit > np.quantile(calibration, 1 - alpha)).mean())
    return Resampled(np.array(promise), np.array(quantile), above, len(scores) - n)


def chance_of_breaking(n: int, above: int, alpha: float, audited: int) -> float:
    """Return the exact probability that more than a share alpha of the audited parts is rejected, for scores without ties."""
    return float(betabinom.sf(math.floor(alpha * audited + 1e-9), audited, above + 1, n - above))


def interval(calibrations: int, chance: float) -> list[int]:
    """Return the 99 % interval of the number of broken promises."""
    low, high = binom.interval(0.99, calibrations, chance)
    return [int(low), int(high)]


def main() -> None:
    """Train and score once. Then calibrate 200 times per promise, and check each calibration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default=os.environ.get("ANDON_DATA"), help="folder that contains mnist/ (default: $ANDON_DATA)"
    )
    parser.add_argument("--calibrations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    scores = digit_scores(Path(args.data), args.seed)
    generator = np.random.default_rng(args.seed)
    for n, alpha in ((300, 0.01), (600, 0.01), (1000, 0.01), (100, 0.05), (1000, 0.05)):
        shares = resampled(scores, n, alpha, args.calibrations, generator)
        expected = chance_of_breaking(n, shares.above, alpha, shares.audited)
        print(
            json.dumps(
                {
                    "what": "promise_on_mnist",
                    "n": n,
                    "alpha": alpha,
                    "confidence": 0.95,
                    "above": shares.above,
                    "audited": shares.audited,
                    "calibrations": args.calibrations,
                    "broken": int((shares.promise > alpha).sum()),
                    "broken_by_quantile": int((shares.quantile > alpha).sum()),
                    "expected": round(args.calibrations * expected, 2),
                    "99_percent_interval": interval(args.calibrations, expected),
                    "seed": args.seed,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
