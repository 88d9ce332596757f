"""Measure `patchcore` with real defects hidden among the good parts that it is trained on.

Defective test parts are added to the good parts of a set: 0, 1, 5 or 10 % of all. The mixture is split as in training: 70 % to
train, 30 % to calibrate. The other test parts are judged. Prints one JSON line per set, share and seed, with

* `auroc_clean`: trained on the same good parts without the added ones,
* `auroc_keep`: trained on the mixture at the defaults, which only name suspects,
* `auroc`: trained on the mixture with `--suspects leave_out`,
* `train`, `calibration`: added parts, how many of them were named, and how many good parts were named.

The network sees each picture once. Its features are kept in memory (1.5 GB for the largest set).

    python -m benchmarks.contaminated --data DATA/mvtec_ad/bottle --data DATA/mvtec_ad/pill --seeds 2
    python -m benchmarks.contaminated --quick
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np
import torch
from benchmarks.drawn_parts import part
from msgspec.structs import replace
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Generator, Tensor, nn

from andon.calibration.outliers import outlying
from andon.damage.kinds import HELD_OUT, damaged
from andon.export.pooling import Pool
from andon.export.preprocessing import prepare
from andon.foundation.progress import silent
from andon.runtime.items import Item
from andon.runtime.schema import FrameSpec
from andon.sources.collection import FoundFrames
from andon.sources.kinds import images
from andon.training.detectors.patchcore import RECIPE, PatchCore, Settings, fit, plan_of, size_seen
from andon.training.nets.backbones import MEAN, SCALE, load_pretrained
from andon.training.recipe.recipe import State

Picture = NDArray[np.uint8]
SHARES = (0.01, 0.05, 0.1)


class Parts(NamedTuple):
    """Good parts to train and calibrate, and test parts. All are uint8 ``[H, W, 3]``."""

    name: str
    good: Sequence[Picture]
    test_good: Sequence[Picture]
    defective: Sequence[Picture]


class Stored(PatchCore):
    """PatchCore on pictures whose features are in memory. A "prepared picture" is its place ``[N, 1, 1, 1]``."""

    def __init__(self, settings: Settings, spec: FrameSpec, maps: Sequence[Tensor]) -> None:
        super().__init__(settings, spec)
        self.maps = maps

    def features(self, prepared: Tensor) -> list[Tensor]:
        """Return the stored features of these places."""
        return [planes[prepared.flatten()] for planes in self.maps]


class Places:
    """A `Part` and a `TrainingData` of places."""

    def __init__(self, places: Sequence[int]) -> None:
        self.places = torch.tensor(places).view(-1, 1, 1, 1)
        self.train = self.validation = self

    def __len__(self) -> int:
        return len(self.places)

    def take(self, places: Sequence[int]) -> Tensor:
        """Return items."""
        return self.places[list(places)]

    def batches(self, size: int, *, shuffle: Generator | None = None) -> Iterator[Tensor]:
        """Yield items in order."""
        assert shuffle is None
        yield from torch.split(self.places, size)


class Named:
    """A `FitContext` that keeps the suspects."""

    device = torch.device("cpu")
    progress = staticmethod(silent)
    resumed: State | None = None

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.found: list[int] = []
        self.left_out = False

    def epoch(self, scorer: nn.Module, losses: Mapping[str, float], state: State | None = None) -> None:
        """Do nothing, because PatchCore has no epochs."""

    def suspects(self, found: Sequence[tuple[int, float]], *, left_out: bool) -> None:
        """Keep the places."""
        self.found = [place for place, _ in found]
        self.left_out = left_out


def real(path: str) -> Parts:
    """Return the parts of a folder with train/good, test/good and test/TYPE."""
    test = images.everything(f"{path}/test")
    read = {ref.key: _picture(test.read(ref)) for ref in test.refs}
    train = images.collect(path)
    return Parts(
        path.rstrip("/").rpartition("/")[2],
        [_picture(train.read(ref)) for ref in train.refs],
        [picture for key, picture in read.items() if key.startswith("good/")],
        [picture for key, picture in read.items() if not key.startswith("good/")],
    )


def drawn() -> Parts:
    """Return drawn parts with drawn defects, for a quick check of this script."""
    pictures = [part("capsule", number) for number in range(80)]
    generator = np.random.default_rng(0)
    tried = [
        damaged(generator, kind, picture, pictures[0])
        for kind, picture in zip(islice(cycle(HELD_OUT), 20), pictures[60:], strict=True)
    ]
    return Parts("capsule", pictures[:50], pictures[50:60], [pair.picture for pair in tried if pair is not None])


def _picture(item: object) -> Picture:
    assert isinstance(item, Item)
    picture = np.asarray(item.data, np.uint8)
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def features_of(parts: Parts, settings: Settings, limit: int) -> tuple[FrameSpec, list[Tensor]]:
    """Return the input specification and the features of all pictures: good, good test parts, defective."""
    sizes = tuple((picture.shape[:2], 1) for picture in parts.good)
    found = FoundFrames(channels=3, frame_size=None, largest=max(size for size, _ in sizes), sizes=sizes)
    size = size_seen(found, limit)
    spec = FrameSpec(channels=3, size=(size, size), mean=MEAN, scale=SCALE)
    scorer, preparation = PatchCore(settings, spec).eval(), prepare(spec)
    load_pretrained(scorer.backbone, path=None, download=False)
    each = []
    with torch.no_grad():
        for picture in (*parts.good, *parts.test_good, *parts.defective):
            prepared, _ = preparation(torch.from_numpy(picture[np.newaxis].copy()))
            each.append(scorer.features(prepared.to(memory_format=torch.channels_last)))
    return spec, [torch.cat(planes).contiguous() for planes in zip(*each, strict=True)]


class Fitted(NamedTuple):
    """A fitted scorer, the places of suspects in its training part, and the seconds of the fit."""

    scorer: Stored
    found: list[int]
    seconds: float


def fitted(settings: Settings, spec: FrameSpec, maps: Sequence[Tensor], places: Sequence[int], seed: int) -> Fitted:
    """Train on these places."""
    torch.manual_seed(seed)
    scorer, context = Stored(settings, spec, maps), Named(seed)
    start_s = time.perf_counter()
    fit(scorer, Places(places), settings, context)
    return Fitted(scorer, context.found, time.perf_counter() - start_s)


def scores_of(scorer: Stored, spec: FrameSpec, settings: Settings, places: Sequence[int]) -> NDArray[np.float64]:
    """Return the score of each place."""
    pool = Pool(RECIPE.score_rule(settings, spec), spec)
    with torch.no_grad():
        return np.concatenate([pool(scorer(batch))["score"].numpy() for batch in Places(places).batches(16)])


def measure(parts: Parts, settings: Settings, seeds: int, shares: Sequence[float]) -> Iterator[dict[str, object]]:
    """Yield the figures of each share and seed."""
    spec, maps = features_of(parts, settings, plan_of(settings).size)
    good, tested = len(parts.good), len(parts.test_good)
    test_good = list(range(good, good + tested))
    defective = list(range(good + tested, good + tested + len(parts.defective)))
    keep = replace(settings, suspects="keep")
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        order = generator.permutation(defective).tolist()
        kept_back = set(generator.permutation(good)[: round(0.3 * good)].tolist())
        training = [place for place in range(good) if place not in kept_back]
        clean = fitted(keep, spec, maps, training, seed)
        for share in (0.0, *shares):
            added = order[: round(share * good / (1 - share))]
            train = training + added[: round(0.7 * len(added))]
            calibration = sorted(kept_back) + added[round(0.7 * len(added)) :]
            judged = test_good + order[len(added) :]
            labels = [0] * tested + [1] * (len(order) - len(added))
            today = clean if not added else fitted(keep, spec, maps, train, seed)
            final = fitted(settings, spec, maps, train, seed) if today.found else today
            of_calibration = scores_of(final.scorer, spec, settings, calibration)
            named = [train[place] for place in today.found]
            far = [calibration[place] for place in outlying(of_calibration).nonzero()[0]]
            aurocs = {
                name: round(float(roc_auc_score(labels, scores_of(scorer, spec, settings, judged))), 4)
                for name, scorer in (
                    ("auroc_clean", clean.scorer),
                    ("auroc_keep", today.scorer),
                    ("auroc", final.scorer),
                )
            }
            yield {
                "set": parts.name,
                "share": share,
                "seed": seed,
                **aurocs,
                "train": _counts(named, train, good),
                "calibration": _counts(far, calibration, good),
                "fit_s": [round(today.seconds, 1), round(final.seconds, 1)],
            }


def _counts(named: Sequence[int], of: Sequence[int], good: int) -> dict[str, int]:
    """Return how many parts there are, how many were added, and how many of both were named."""
    return {
        "parts": len(of),
        "added": sum(place >= good for place in of),
        "named": sum(place >= good for place in named),
        "good_named": sum(place < good for place in named),
    }


def main() -> None:
    """Measure all sets, and print the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], metavar="PATH", help="a set; may be repeated")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds (default: 1)")
    parser.add_argument("--quick", action="store_true", help="use one drawn set at 128 px")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.quick or not args.data:
        settings = Settings(preset="fast", size=128, candidates=4000, memory_mb=0.2, suspects="leave_out")
        _print(measure(drawn(), settings, args.seeds, shares=(0.1,)))
    for path in args.data:
        _print(measure(real(path), Settings(suspects="leave_out"), args.seeds, SHARES))


def _print(lines: Iterator[dict[str, object]]) -> None:
    for figures in lines:
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
