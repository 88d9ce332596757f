"""Compare settings of `patchcore` on synthetic defects on good parts, so that no real defect is used for tuning.

Each candidate is trained on good parts. It is evaluated on other good parts and on copies of them with a drawn defect. Prints one
JSON line per candidate and set, then one per candidate over all sets, best last. An `auroc` over 30 good and 60 defective parts
has a standard error of about .05. The error of differences between candidates is smaller, because they see the same parts.

    python -m benchmarks.patchcore_settings --quick
    python -m benchmarks.patchcore_settings --size 512 --data ../shared/data/mvtec_ad/bottle     # its good parts only
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np
import torch
from benchmarks.drawn_parts import KINDS, part
from msgspec.structs import replace
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Generator, Tensor, nn

from andon.damage.kinds import FOR_TRAINING, HELD_OUT, damaged
from andon.evaluation.figures.pixels import aupro
from andon.export.pooling import Pool
from andon.export.preprocessing import prepare
from andon.foundation.progress import silent
from andon.runtime.items import Item
from andon.runtime.schema import FrameSpec
from andon.sources.source import collect
from andon.training.detectors.patchcore import RECIPE, PatchCore, Settings, fit, plan_of
from andon.training.nets.backbones import MEAN, SCALE
from andon.training.recipe.recipe import State


class Set(NamedTuple):
    """Good parts for training, good parts for testing, and defective parts with masks. All are uint8 ``[H, W, 3]``."""

    name: str
    train: Sequence[NDArray[np.uint8]]
    good: Sequence[NDArray[np.uint8]]
    bad: Sequence[tuple[NDArray[np.uint8], NDArray[np.bool_]]]


class Prepared:
    """Prepared parts, held in memory."""

    def __init__(self, pictures: Sequence[NDArray[np.uint8]], size: int) -> None:
        spec = FrameSpec(channels=3, size=(size, size), mean=MEAN, scale=SCALE)
        preparation = prepare(spec)
        frames = [np.repeat(picture, 4 - picture.shape[2], axis=2)[:, :, :3] for picture in pictures]
        with torch.no_grad():
            self.rows = torch.cat([preparation(torch.from_numpy(frame[np.newaxis].copy()))[0] for frame in frames])

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: Sequence[int]) -> Tensor:
        """Return the rows at these indices."""
        return self.rows[list(places)]

    def batches(self, size: int, *, shuffle: Generator | None = None) -> Iterator[Tensor]:
        """Yield batches in order."""
        assert shuffle is None
        yield from torch.split(self.rows, size)


class TrainingData:
    """The training data that `fit` needs."""

    def __init__(self, train: Prepared) -> None:
        self.train = self.validation = train


class Bare:
    """A `FitContext` that stores nothing."""

    device = torch.device("cpu")
    progress = staticmethod(silent)
    resumed: State | None = None

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def epoch(self, scorer: nn.Module, losses: Mapping[str, float], state: State | None = None) -> None:
        """Do nothing, because PatchCore has no epochs."""

    def suspects(self, found: Sequence[tuple[int, float]], *, left_out: bool) -> None:
        """Do nothing."""


def candidates(size: int) -> dict[str, Settings]:
    """Return the settings to compare by name. They are those of the presets at this size, each changed in one setting."""
    base = Settings(preset="fast", size=size)
    return {
        "taps 7|10, root of density": base,
        "taps 4|7": replace(base, taps=(4, 7)),
        "taps 7|10|14": replace(base, taps=(7, 10, 14)),
        "plain distance": replace(base, density=0.0),
        "full density": replace(base, density=1.0),
        "soft length": replace(base, length="soft"),
        "maximum": replace(base, pool="max"),
        "twice the rows": replace(base, memory_mb=1.57),
        "half of the candidates": replace(base, candidates=15_000),
        "taps 7|10|14, full density (standard)": Settings(size=size),
        "standard, soft length": Settings(size=size, length="soft"),
        "standard, 3 000 rows of 50 000": Settings(preset="fine", size=size),
    }


def synthetic_set(kind: str, count: int) -> Set:
    """Return a set of drawn parts."""
    return split(kind, [part(kind, number) for number in range(count)])


def split(name: str, pictures: Sequence[NDArray[np.uint8]]) -> Set:
    """Return a set of these pictures. A third is for testing, and two damaged copies are made of each of them."""
    kept = max(8, len(pictures) // 3)
    generator = np.random.default_rng(0)
    kinds = islice(cycle(FOR_TRAINING + HELD_OUT), 2 * kept)
    others = [pictures[int(generator.integers(len(pictures)))] for _ in range(2 * kept)]
    tried = (
        damaged(
            generator,
            kind,
            pictures[place // 2],
            other if other.shape == pictures[place // 2].shape else pictures[place // 2],
        )
        for place, (kind, other) in enumerate(zip(kinds, others, strict=True))
    )
    return Set(name, pictures[kept:], pictures[:kept], [pair for pair in tried if pair is not None])


def real(path: str) -> Set:
    """Return a set of the good parts in a folder, as training would read them. Its test set is not used."""
    collection = collect(path)
    items = (collection.read(ref) for ref in collection.refs)  # type: ignore[union-attr]
    return split(
        path.rstrip("/").rpartition("/")[2],
        [np.asarray(item.data, np.uint8) for item in items if isinstance(item, Item)],
    )


def measure(settings: Settings, used: Set, seed: int) -> dict[str, float]:
    """Return the AUROC of pictures, the AUPRO of maps on the grid of the map, and the seconds of the fit."""
    size = plan_of(settings).size
    spec = FrameSpec(channels=3, size=(size, size))
    torch.manual_seed(seed)
    scorer = PatchCore(settings, spec)
    start_s = time.perf_counter()
    fit(scorer, TrainingData(Prepared(used.train, size)), settings, Bare(seed))
    fit_s = time.perf_counter() - start_s
    pool = Pool(RECIPE.score_rule(settings, spec), spec)
    scores: list[float] = []
    maps: list[NDArray[np.float32]] = []
    with torch.no_grad():
        for batch in Prepared([*used.good, *(picture for picture, _ in used.bad)], size).batches(4):
            outputs = pool(scorer(batch))
            scores += outputs["score"].tolist()
            maps += list(outputs["anomaly_map"].numpy())
    side = maps[0].shape[0]
    masks = [np.zeros((side, side), np.bool_)] * len(used.good) + [_shrunk(mask, side) for _, mask in used.bad]
    defective = [False] * len(used.good) + [True] * len(used.bad)
    return {
        "auroc": round(float(roc_auc_score(defective, scores)), 4),
        "aupro": round(float(aupro(maps, masks)), 4),
        "fit_s": round(fit_s, 2),
    }


def _shrunk(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Return the mask on a grid of `side` cells.

    A cell is defective if the mask covers more than 0.3 of it, or more than half of the largest coverage of any cell.
    """
    covered = nn.functional.interpolate(torch.from_numpy(mask)[None, None].float(), (side, side), mode="area")[0, 0]
    shrunk: NDArray[np.bool_] = (covered > min(0.3, 0.5 * float(covered.max()))).numpy()
    return shrunk


def main() -> None:
    """Measure all candidates, and print the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224, help="side of the network's input in pixels (default: 224)")
    parser.add_argument("--parts", type=int, default=90, help="drawn parts per set (default: 90)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="measure only the candidates with these names")
    parser.add_argument("--seeds", type=int, default=1, help="number of coreset seeds (default: 1)")
    parser.add_argument(
        "--data", action="append", default=[], metavar="PATH", help="also use these good parts; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="use one drawn set of 30 parts at 128 px")
    args = parser.parse_args()
    torch.set_num_threads(1)
    kinds = list(KINDS)[:1] if args.quick else list(KINDS)
    sets = [synthetic_set(kind, 30 if args.quick else args.parts) for kind in kinds] + [
        real(path) for path in args.data
    ]
    size = 128 if args.quick else args.size
    means = []
    for name, settings in candidates(size).items():
        if args.only and name not in args.only:
            continue
        rows = [(used.name, seed, measure(settings, used, seed)) for used in sets for seed in range(args.seeds)]
        for used_name, seed, figures in rows:
            print(json.dumps({"candidate": name, "set": used_name, "size": size, "seed": seed} | figures), flush=True)
        mean = {key: round(float(np.mean([figures[key] for _, _, figures in rows])), 4) for key in rows[0][2]}
        means.append(
            {"candidate": name, "set": "all", "size": size, "seeds": args.seeds, "torch": torch.__version__} | mean
        )
    for line in sorted(means, key=lambda line: float(line["auroc"])):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
