"""Measure the time of preparing a frame, and the distance of its pixels from those of an exact antialiased resize.

    OMP_NUM_THREADS=1 python -m benchmarks.resize                   # all sizes of patchcore
    OMP_NUM_THREADS=1 python -m benchmarks.resize --data PICTURE    # errors on a picture instead of drawn waves

The candidates:

* ``operator``: rows thinned to twice the size, then the operator ``Resize`` with ``antialias``. Version 1 of the preparation.
* ``nearest``: two times two nearest pixels and their mean.
* ``andon``: `andon.export.resize`.
* ``exact``: the same without thinning, as with the setting ``exact`` of a `FrameSpec`.

Prints one JSON line per size and candidate. It has the CPU milliseconds of ONNX Runtime on one thread: least and median of all
repeats. The least is also divided by that of a 1024-cube float32 matrix product of the same run, and by that of ``operator``.
Then prints one line per frame size with mean and largest error in grey levels.
"""

import argparse
import json
import os
import time
from collections.abc import Callable

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import cv2
import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from andon.export.evidence import Evidence
from andon.export.graph import Pipeline, trace
from andon.export.preprocessing import PrepareFrames
from andon.runtime.schema import FrameSpec, ScoreRule
from andon.training.nets.backbones import MEAN, SCALE

RATIOS = (0.7, 1.0, 1.3, 2.0, 3.3, 8.6)
"""Sides of the frames whose errors are measured, relative to the side of the prepared frame."""


class Operator(nn.Module):
    """The resize of version 1."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, frame: Tensor) -> Tensor:
        """Resize a batch."""
        height = frame.shape[1]
        kept = torch.sym_min(height, 2 * self.side)  # type: ignore[no-untyped-call]
        frame = frame.index_select(1, (2 * torch.arange(kept) + 1) * height // (2 * kept))
        planes = frame.permute(0, 3, 1, 2).float()
        return nn.functional.interpolate(planes, (self.side, self.side), mode="bilinear", antialias=True)


class Nearest(nn.Module):
    """Two times two nearest pixels and their mean."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, frame: Tensor) -> Tensor:
        """Resize a batch."""
        middles = 2 * torch.arange(2 * self.side) + 1
        for axis in (1, 2):
            frame = frame.index_select(axis, middles * frame.shape[axis] // (4 * self.side))
        return nn.functional.avg_pool2d(frame.permute(0, 3, 1, 2).float(), 2)


class Brightness(nn.Module):
    """A scorer that costs next to nothing. All pixels count, so that nothing is optimised away."""

    def forward(self, prepared: Tensor) -> Evidence:
        """Return the mean of the prepared frame."""
        return Evidence({}, {"brightness": prepared.mean(dim=(1, 2, 3))})


def pipeline(candidate: str, side: int) -> Pipeline:
    """Return a pipeline that only prepares frames, as `patchcore` does."""
    spec = FrameSpec(
        channels=3, size=(side, side), mean=MEAN, scale=SCALE, resize="exact" if candidate == "exact" else "fast"
    )
    made = Pipeline(Brightness(), spec, ScoreRule(score="brightness"))
    assert isinstance(made.prepare, PrepareFrames)
    if candidate in ("operator", "nearest"):
        made.prepare.resize = (Operator if candidate == "operator" else Nearest)(side)  # type: ignore[assignment]
    return made.eval()


def session(made: Pipeline) -> ort.InferenceSession:
    """Return a session of one thread, with the options of the runtime that matter for time."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(trace(made).SerializeToString(), options, providers=["CPUExecutionProvider"])


def waves(height: int, width: int) -> NDArray[np.uint8]:
    """Return a drawn frame with slow waves and fine noise."""
    rows, columns = np.mgrid[0:height, 0:width]
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 100, (height, width)), (0, 0), 2.0)
    grey = np.clip(128 + 50 * np.sin(rows / 19) + 30 * np.cos(columns / 23) + noise, 0, 255)
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2).astype(np.uint8)


def milliseconds(work: Callable[[], object]) -> float:
    """Return the CPU time of this thread for one call."""
    start = time.thread_time()
    work()
    return 1e3 * (time.thread_time() - start)


def measure_times(side: int, frame: NDArray[np.uint8], names: list[str], repeats: int) -> list[dict[str, object]]:
    """Return the times of all candidates, which take turns."""
    sessions = {name: session(pipeline(name, side)) for name in names}
    square = torch.rand(1024, 1024)
    products: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        products.append(milliseconds(lambda: square @ square))
        for name, one in sessions.items():
            times[name].append(milliseconds(lambda one=one: one.run(None, {"frame": frame[np.newaxis]})))  # type: ignore[misc]
    return [
        {
            "side": side,
            "candidate": name,
            "ms_least": round(min(taken), 2),
            "ms_median": round(float(np.median(taken)), 2),
            "products": round(min(taken) / min(products), 3),
            "of_operator": round(min(taken) / min(times["operator"]), 2),
        }
        for name, taken in times.items()
    ]


def measure_errors(side: int, frame: NDArray[np.uint8], names: list[str]) -> dict[str, object]:
    """Return mean and largest error of each candidate, in grey levels, for one frame."""
    raw = torch.from_numpy(frame[np.newaxis])
    with torch.no_grad():
        planes = raw.permute(0, 3, 1, 2).contiguous().float()
        exact = nn.functional.interpolate(planes, (side, side), mode="bilinear", antialias=True)
        errors = {name: (pipeline(name, side).prepare.resize(raw) - exact).abs() for name in names}  # type: ignore[operator]
    figures = {name: [round(float(error.mean()), 2), round(float(error.max()), 2)] for name, error in errors.items()}
    return {"side": side, "frame": list(frame.shape[:2])} | figures


def main() -> None:
    """Measure all candidates, and print the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[224, 384, 512], help="default: 224 384 512")
    parser.add_argument("--repeats", type=int, default=60, help="calls per candidate (default: 60)")
    parser.add_argument(
        "--data", metavar="PICTURE", help="measure errors on this picture, resized, instead of drawn waves"
    )
    parser.add_argument("--exact", action="store_true", help="also measure the resize without thinning, which is slow")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = ["operator", "nearest", "andon"] + ["exact"] * args.exact
    for side in args.sides:
        for line in measure_times(side, waves(1080, 1920), names, args.repeats):
            print(json.dumps(line | {"load": round(os.getloadavg()[0], 1)}), flush=True)
    for side in args.sides:
        for shape in [(round(ratio * side), round(ratio * side)) for ratio in RATIOS] + [(1080, 1920)]:
            frame = waves(*shape)
            if args.data:
                picture = cv2.imread(args.data)
                if picture is None:
                    parser.error(f"--data: expected a picture, got {args.data}.")
                frame = np.asarray(cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)
            print(json.dumps(measure_errors(side, frame, names)), flush=True)


if __name__ == "__main__":
    main()
