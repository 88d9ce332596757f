"""Measure `patchcore` with and without tiles on drawn large frames with small spots.

It measures AUROC, time and memory, and compares verdicts alone and in batches. A frame shows a milled plate with a rough surface,
bores and a printed text. Good frames differ in texture, tone, light, focus, places of the bores and noise. A defect is one dark
or bright spot. Nothing is stored in files. Prints one JSON line.

With ``--text other`` each part has another printed text, and no spot is near it. ``--ignore text`` leaves its area out.

    OMP_NUM_THREADS=1 python -m benchmarks.large_frames --tile auto
    OMP_NUM_THREADS=1 python -m benchmarks.large_frames --tile none
    OMP_NUM_THREADS=1 python -m benchmarks.large_frames --frame 1000x1500 --tile auto
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.evaluation.figures.ranking import auroc
from andon.foundation.progress import ProgressLine
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Ref
from andon.runtime.schema import FrameSpec, Status
from andon.sources.collection import FoundFrames
from andon.training.detectors.patchcore import Settings
from andon.training.observers.epochs import NONE
from andon.training.runs.export_run import export_run
from andon.training.runs.train import ObserveOptions, TrainOptions, train

Picture = NDArray[np.uint8]
Plane = NDArray[np.float32]

JUDGE_A_FILE = """
import sys
from andon.cli import main
try:
    sys.exit(main(["score", *sys.argv[1:]]))
finally:
    print([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1])
"""
"""A program that runs ``andon score`` and prints its peak memory in kB."""


def good(size: tuple[int, int], seed: Sequence[int], *, same_text: bool = True) -> Picture:
    """Return the frame of a good part, uint8 ``[H, W, 3]``. The same seed always gives the same frame."""
    generator = np.random.default_rng([0, *seed])
    return _seen(generator, _plate(generator, size, same_text=same_text))


def defective(size: tuple[int, int], seed: Sequence[int], diameter: float, *, same_text: bool = True) -> Picture:
    """Return the frame of a part with one spot at a random place. If texts differ, it is not in the area of the text."""
    generator = np.random.default_rng([1, *seed])
    plate = _plate(generator, size, same_text=same_text)
    left, top, right, bottom = text_area(size)
    reach = int(2 * diameter)
    row = column = 0.0
    while (
        not row
        or plate[int(row), int(column)] < 80  # a spot in a bore or in the ink would not be visible
        or (not same_text and left - reach < column < right + reach and top - reach < row < bottom + reach)
    ):
        row, column = (generator.uniform(2 * diameter, side - 2 * diameter) for side in size)
    rows = slice(int(row) - reach, int(row) + reach)
    columns = slice(int(column) - reach, int(column) + reach)
    below, right = np.mgrid[rows, columns].astype(np.float32)
    # an uneven outline, so that not all spots are circles
    angle = np.arctan2(below - row, right - column)
    radius = diameter / 2 * (1 + 0.2 * np.cos(2 * angle + generator.uniform(0, 6)) + 0.1 * np.cos(3 * angle))
    cover = 1 / (1 + np.exp(np.clip(2 * (np.hypot(below - row, right - column) - radius), -30, 30)))
    change = generator.choice([-1, 1]) * generator.uniform(0.3, 0.5)
    plate[rows, columns] *= 1 + change * cover
    return _seen(generator, plate)


def text_area(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the area in which texts are printed."""
    height, width = size
    unit = min(size)
    (wide, tall), _ = cv2.getTextSize("M 8888 - 88", cv2.FONT_HERSHEY_DUPLEX, unit / 500, max(1, unit // 250))
    margin = round(0.02 * unit)  # texts move by a hundredth
    left, base = round(0.32 * width), round(0.88 * height)
    return left - margin, base - tall - margin, left + wide + margin, base + margin


def _plate(generator: Generator, size: tuple[int, int], *, same_text: bool) -> Plane:
    """Draw the surface: levels of grey, ``[H, W]``."""
    height, width = size
    tone: Plane = np.full(size, generator.uniform(115, 135), np.float32)
    for cell, strength in ((3, 7.0), (14, 4.0), (120, 4.0)):
        tone += strength * generator.uniform(0.8, 1.2) * _noise(generator, size, cell)
    # traces of milling, which no two plates have at the same place
    streaks = generator.standard_normal((height, 1 + width // 200), dtype=np.float32)
    tone += 4 * cv2.resize(streaks, (width, height), interpolation=cv2.INTER_LINEAR)
    unit = min(size)
    shift = generator.uniform(-0.01, 0.01, 2) * unit
    bright, dark = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    for y, x, radius in ((0.2, 0.15, 0.04), (0.2, 0.85, 0.06), (0.8, 0.15, 0.06), (0.8, 0.85, 0.04), (0.5, 0.5, 0.09)):
        centre = (round(x * width + shift[0]), round(y * height + shift[1]))
        cv2.circle(bright, centre, round(radius * unit), (255,), max(2, round(0.004 * unit)), cv2.LINE_AA)
        cv2.circle(dark, centre, round((radius - 0.003) * unit), (255,), -1, cv2.LINE_AA)
    text = (round(0.32 * width + shift[0]), round(0.88 * height + shift[1]))
    words = "A 4711 - 08"
    if not same_text:
        signs = generator.integers(0, 10, 6)
        words = f"{'AEGHKMNR'[generator.integers(8)]} {''.join(map(str, signs[:4]))} - {''.join(map(str, signs[4:]))}"
    cv2.putText(dark, words, text, cv2.FONT_HERSHEY_DUPLEX, unit / 500, (255,), max(1, unit // 250), cv2.LINE_AA)
    for cover, level in ((bright, 190), (dark, 40)):
        tone += np.asarray((level - tone) * (cover * np.float32(0.9 / 255)), np.float32)
    return tone


def _seen(generator: Generator, plate: Plane) -> Picture:
    """Return the camera's picture: uneven light, a little blur, noise of the sensor, a tint."""
    height, width = plate.shape
    turn = generator.uniform(0, 2 * np.pi)
    across, down = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    light = 1 + 0.07 * (np.float32(np.cos(turn)) * across + np.float32(np.sin(turn)) * down[:, np.newaxis])
    light *= np.float32(generator.uniform(0.93, 1.07))
    blurred: Plane = np.asarray(cv2.GaussianBlur(plate * light, (0, 0), generator.uniform(0.6, 0.9)), np.float32)
    blurred += 3 * generator.standard_normal(plate.shape, dtype=np.float32)
    frame = np.empty((height, width, 3), np.uint8)
    for channel, tint in enumerate((0.97, 1.0, 1.04)):
        frame[:, :, channel] = np.clip(blurred * tint, 0, 255)
    return frame


def _noise(generator: Generator, size: tuple[int, int], cell: int) -> Plane:
    """Return smooth noise with structure of about `cell` pixels."""
    coarse = generator.standard_normal([side // cell + 2 for side in size], dtype=np.float32)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


class Drawn:
    """A `Collection` of good frames. They are drawn when they are first read, and then kept in memory."""

    def __init__(self, size: tuple[int, int], count: int, seed: int, *, same_text: bool = True) -> None:
        self._size, self._seed, self._same_text = size, seed, same_text
        self.found = FoundFrames(channels=3, frame_size=size, largest=size)
        self.refs = [Ref(key=f"{number:03}") for number in range(count)]
        self._drawn: dict[str, Picture] = {}

    def read(self, ref: Ref) -> Item:
        """Return a frame."""
        if ref.key not in self._drawn:
            self._drawn[ref.key] = good(self._size, (self._seed, int(ref.key)), same_text=self._same_text)
        return Item(ref, self._drawn[ref.key])


def measure(args: argparse.Namespace, work: Path) -> dict[str, object]:
    """Train, export and judge, and return the figures."""
    size: tuple[int, int] = args.frame
    parts = Drawn(size, args.good, args.seed, same_text=args.text == "same")
    ignored = ",".join(map(str, text_area(size))) if args.ignore == "text" else args.ignore
    started = time.perf_counter()
    run = train(
        "patchcore",
        parts,
        work / "run",
        settings=Settings(preset=args.preset, tile=None if args.tile == "none" else args.tile),
        options=TrainOptions(
            seed=args.seed,
            calibration_share=0.55,
            ignore=(ignored,) if ignored else (),
            region=(args.region,) if args.region else (),
        ),
        observe=ObserveOptions(picture_epochs=NONE, animation_epochs=NONE),
        progress=ProgressLine(),
    )
    trained = time.perf_counter()
    path = work / "large.onnx"
    request = CalibrationRequest(date="2026-11-30", promise=PromiseRequest(no_promise=True))
    export_run(run, path, request=request, data=parts, progress=ProgressLine())
    exported = time.perf_counter()
    detector = Detector.load(path)
    scores: list[float] = []
    invalid = rejected = 0
    seconds = []
    for number, frame in enumerate(_test(size, args)):
        began = time.process_time()
        verdict = detector(frame)
        seconds.append(time.process_time() - began)
        scores.append(verdict.score)
        invalid += verdict.status == Status.INVALID
        rejected += number < args.test and verdict.status == Status.REJECT
    truth = [False] * args.test + [True] * args.test
    valid = np.isfinite(scores)
    spec = run.spec
    assert isinstance(spec, FrameSpec)
    stated = detector.card.input
    left_out = stated.tiles.left_out if isinstance(stated, FrameSpec) and stated.tiles is not None else 0
    return {
        "tile": args.tile,
        "tiles": None if spec.tiles is None else f"{spec.tiles.rows}x{spec.tiles.columns}, chunk {spec.tiles.chunk}",
        "text, ignore, region": [args.text, ignored, args.region],
        "tiles left out": left_out,
        "preset": args.preset,
        "frame": size,
        "spot_px": args.spot,
        "size": spec.size,
        "train, calibration": [len(run.record.split.train), len(run.record.split.calibration)],
        "auroc": round(auroc(np.array(scores)[valid], np.array(truth)[valid]), 4),
        "good rejected": rejected,
        "invalid": invalid,
        "test": [args.test, args.test],
        "cpu_s a frame, median": round(float(np.median(seconds)), 3),
        "peak_mb of andon score": _peak_mb(path, size, work),
        "memory_mb of the card": detector.card.memory_mb,
        "file_mb": round(path.stat().st_size / 1e6, 1),
        "same in batches": _same_in_batches(detector, size, args),
        "train_s, export_s": [round(trained - started), round(exported - trained)],
        "seed": args.seed,
        "load": round(os.getloadavg()[0], 1),
    }


def _test(size: tuple[int, int], args: argparse.Namespace) -> Iterator[Picture]:
    same = args.text == "same"
    yield from (good(size, (args.seed, 1000 + number), same_text=same) for number in range(args.test))
    yield from (defective(size, (args.seed, number), args.spot, same_text=same) for number in range(args.test))


def _same_in_batches(detector: Detector, size: tuple[int, int], args: argparse.Namespace) -> bool:
    """Return whether good and defective frames have bit for bit the same score and map alone, in pairs and in threes."""
    frames = [
        good(size, (args.seed, 1000)), defective(size, (args.seed, 0), args.spot), good(size, (args.seed, 1001)),
    ]  # fmt: skip
    alone = [detector(frame) for frame in frames]
    same = True
    for places in ((0, 1), (1, 2), (0, 1, 2), (2, 1, 0)):
        for place, verdict in zip(places, detector.batch([frames[place] for place in places]), strict=True):
            same &= (verdict.status, verdict.score) == (alone[place].status, alone[place].score)
            same &= np.array_equal(verdict.evidence["anomaly_map"], alone[place].evidence["anomaly_map"])
    return bool(same)


def _peak_mb(model: Path, size: tuple[int, int], work: Path) -> float:
    """Return the peak memory of ``andon score`` with one frame, decoded from a PNG file, in MB."""
    folder = work / "frames"
    folder.mkdir()
    cv2.imwrite(str(folder / "one.png"), good(size, (0, 0))[:, :, ::-1])
    done = subprocess.run(
        [sys.executable, "-c", JUDGE_A_FILE, str(model), str(folder)], capture_output=True, text=True, check=False
    )
    return round(int(done.stdout.split()[-1]) * 1024 / 1e6)


def _size(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frame", type=_size, default=(3000, 4096), metavar="HxW")
    parser.add_argument("--tile", default="auto", help="auto, none, or rows x columns")
    parser.add_argument(
        "--text", choices=["same", "other"], default="same", help="whether all parts have the same text"
    )
    parser.add_argument("--ignore", default="", help="text: its area; or left,top,right,bottom")
    parser.add_argument("--region", default="", help="left,top,right,bottom")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--spot", type=float, default=12, help="diameter in pixels")
    parser.add_argument("--good", type=int, default=36, help="number of good parts for training and calibration")
    parser.add_argument("--test", type=int, default=30, help="number of good and of defective test parts")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(args, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
