"""Is synthetic damage drawn fast enough for training? Measure CPU milliseconds per picture, by kind, and for an epoch.

    python benchmarks/corruption.py                          # 192 px, the default of --repair
    python benchmarks/corruption.py --size 1024 --no-epoch   # as for --synthetic on a large camera's frames

Prints one JSON line per kind. A last line compares the time to draw a picture for `--repair` with the whole time that an epoch
needs per picture.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from andon.damage.kinds import FOR_TRAINING, HELD_OUT, damaged
from andon.runtime.items import Item
from andon.training.contract.synthetic_data import SyntheticFrames
from andon.training.detectors.unet_autoencoder import RECIPE, Settings
from andon.training.fitting.repair import DamageFeed
from andon.training.observers.epochs import NONE
from andon.training.runs.train import ObserveOptions, TrainOptions, train

PICTURES = 40


class Rows:
    """A part of the data, held in memory."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: list[int]) -> Tensor:
        """Return the rows at these indices."""
        return self.rows[places]

    def batches(self, size: int, *, shuffle: Generator | None = None) -> tuple[Tensor, ...]:
        """Return batches in order."""
        assert shuffle is None
        return torch.split(self.rows, size)


class TrainingData:
    """The training data that `DamageFeed` needs."""

    def __init__(self, rows: Tensor) -> None:
        self.train = self.validation = Rows(rows)


def main() -> None:
    """Measure, and print the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=192, help="side of a picture in pixels (default: 192)")
    parser.add_argument("--draws", type=int, default=40, help="pictures to draw for each kind (default: 40)")
    parser.add_argument("--no-epoch", action="store_true", help="do not measure an epoch, which is slow at large sizes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    frames = SyntheticFrames(PICTURES, (args.size, args.size))
    items = [frames.read(ref) for ref in frames.refs]
    pictures = [np.asarray(item.data, np.uint8) for item in items if isinstance(item, Item)]
    for kind in FOR_TRAINING + HELD_OUT:
        each = []
        for seed in range(args.draws):
            start_s = time.process_time()
            damaged(np.random.default_rng(seed), kind, pictures[seed % PICTURES], pictures[5])
            each.append(1000 * (time.process_time() - start_s))
        times = {"median_ms": round(float(np.median(each)), 2), "p99_ms": round(float(np.quantile(each, 0.99)), 2)}
        print(json.dumps({"kind": kind, "size": args.size, "n": args.draws} | times))
    if not args.no_epoch:
        print(json.dumps(_against_an_epoch(frames, pictures, args.size)))


def _against_an_epoch(frames: SyntheticFrames, pictures: list[NDArray[np.uint8]], size: int) -> dict[str, float]:
    feed = DamageFeed(
        TrainingData(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255),  # type: ignore[arg-type]
        seed=0,
        epochs=1,
        score=lambda _net, batch: (batch, batch),
    )
    drawn = 192
    start_s = time.process_time()
    for _ in feed.train(torch.arange(drawn) % PICTURES, 8, 0):
        pass
    draw_ms = 1000 * (time.process_time() - start_s) / drawn
    settings = Settings(repair=True, size=size, epochs=1, epoch_parts=drawn)
    with tempfile.TemporaryDirectory() as folder:
        start_s = time.process_time()
        train(
            RECIPE,
            frames,
            Path(folder) / "run",
            settings=settings,
            options=TrainOptions(threads=1),
            observe=ObserveOptions(picture_epochs=NONE),
        )
        epoch_ms = 1000 * (time.process_time() - start_s) / drawn
    return {
        "draw_ms": round(draw_ms, 2),
        "epoch_ms_a_picture": round(epoch_ms, 1),
        "share": round(draw_ms / epoch_ms, 3),
    }


if __name__ == "__main__":
    main()
