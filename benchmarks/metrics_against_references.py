"""Do our figures agree with reference implementations? Prints one JSON line with the largest difference for each comparison.

The inputs are random and real:

* Areas under the ROC and precision-recall curves, pixel AUROC, best F1: compared with scikit-learn.
* VUS-PR: compared with `RangeAUC_volume_opt` of TSB-AD, 250 thresholds. Real input: SKAB. The score is the distance from the
  first 400 rows of each file.
* AUPRO(0.3): compared with anomalib on the CPU. It sums in float32. So it also runs in float64, with `torch.Tensor.float`
  replaced by `double`. Real input: MVTec AD bottle. The map is the distance from the mean good picture.

References that are not installed are listed; they are not an error. They need packages that andon must not depend on. Install
them in a separate environment, with numpy, scipy, scikit-learn, opencv-python-headless and andon.

    pip install --no-deps TSB-AD anomalib torchmetrics lightning-utilities
    ANDON_DATA=../shared/data python benchmarks/metrics_against_references.py
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from andon.evaluation.figures import pixels, ranking
from andon.evaluation.figures.series import vus_pr
from andon.sources.kinds.logs import collect
from andon.sources.pictures.decode import decode_file
from andon.sources.truth import tree_truth

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]
Maps = list[NDArray[np.float32]]
Masks = list[NDArray[np.bool_]]


def main() -> None:
    """Compare all figures, and print the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        default=os.environ.get("ANDON_DATA"),
        help="folder that contains skab/ and mvtec_ad/ (default: $ANDON_DATA)",
    )
    parser.add_argument("--cases", type=int, default=200, help="random inputs per reference (default: 200)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = Path(args.data) if args.data else None
    _of_scores(args.cases, args.seed)
    _of_series(args.cases, args.seed, data)
    _of_pixels(args.cases, args.seed, data)


def _of_scores(cases: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    names = ("area under roc_curve", "area under pr_curve", "oracle_f1_max", "pixel_auroc")
    worst = dict.fromkeys(names, 0.0)
    for number in range(cases):
        n = int(generator.integers(2, 400))
        labels = generator.random(n) < generator.uniform(0.1, 0.9)
        labels[:2] = True, False
        scores = generator.normal(size=n).astype(np.float32).astype(np.float64) + labels
        scores = scores.round(1) if number % 2 else scores
        precision, recall, _ = sklearn_metrics.precision_recall_curve(labels, scores)
        roc, pr = ranking.roc_curve(scores, labels), ranking.pr_curve(scores, labels)
        area = sklearn_metrics.roc_auc_score(labels, scores)
        single = scores.astype(np.float32)
        found = {
            "area under roc_curve": abs(np.trapezoid(roc.tpr, roc.fpr) - area),
            "area under pr_curve": abs(
                np.diff(pr.recall, prepend=0) @ pr.precision - sklearn_metrics.average_precision_score(labels, scores)
            ),
            "oracle_f1_max": abs(
                ranking.oracle_f1_max(scores, labels) - (2 * precision * recall / (precision + recall + 1e-300)).max()
            ),
            "pixel_auroc": abs(
                pixels.pixel_auroc([single[:, None]], [labels[:, None]]) - sklearn_metrics.roc_auc_score(labels, single)
            ),
        }
        worst = {name: max(worst[name], float(found[name])) for name in worst}
    for name, difference in worst.items():
        _tell(name, "scikit-learn", "random", cases, difference)


def _of_series(cases: int, seed: int, data: Path | None) -> None:
    try:
        reference = importlib.import_module("TSB_AD.evaluation.basic_metrics").basic_metricor()
    except ImportError:
        _absent("vus_pr", "TSB-AD")
        return

    def compare(kind: str, series: Iterator[tuple[Scores, Labels, int]]) -> None:
        worst, count, ours_s, theirs_s = 0.0, 0, 0.0, 0.0
        for scores, labels, buffer in series:
            start = time.perf_counter()
            ours = vus_pr(scores, labels, buffer)
            between = time.perf_counter()
            theirs = reference.RangeAUC_volume_opt(labels.astype(int), scores, buffer, 250)[-1]
            ours_s, theirs_s = ours_s + between - start, theirs_s + time.perf_counter() - between
            worst, count = max(worst, abs(ours - theirs)), count + 1
        _tell("vus_pr", "TSB-AD", kind, count, worst, ours_s=ours_s, theirs_s=theirs_s)

    compare("random", _random_series(cases, seed))
    if data is not None:
        compare("SKAB, L 100", _skab(data))


def _random_series(cases: int, seed: int) -> Iterator[tuple[Scores, Labels, int]]:
    generator = np.random.default_rng(seed)
    while cases:
        n = int(generator.integers(20, 400))
        labels = np.zeros(n, np.bool_)
        for _ in range(generator.integers(1, 6)):
            begin = int(generator.integers(0, n))
            labels[begin : begin + int(generator.integers(1, 30))] = True
        if labels.all():
            continue  # the reference finds no fault in a series that is faulty throughout
        scores: Scores = generator.normal(size=n) + 2 * labels * generator.random()
        cases -= 1
        scores = scores.round() if cases % 3 == 0 else scores
        yield scores, labels, int(generator.integers(0, 40))


def _skab(data: Path) -> Iterator[tuple[Scores, Labels, int]]:
    for folder in ("valve1", "valve2", "other"):
        for run in collect(str(data / "skab" / folder)).runs:
            assert run.faulty is not None
            usual = run.values[:400]
            apart = (run.values - usual.mean(axis=0)) / (usual.std(axis=0) + 1e-6)
            yield np.square(apart).mean(axis=1).astype(np.float64)[400:], run.faulty[400:], 100


def _of_pixels(cases: int, seed: int, data: Path | None) -> None:
    reference = _anomalib()
    if reference is None:
        _absent("aupro", "anomalib")
        return
    import torch

    exact = torch.Tensor.double

    def compare(kind: str, sets: list[tuple[Maps, Masks]], *, double: bool) -> None:
        single = torch.Tensor.float
        worst, ours_s, theirs_s = 0.0, 0.0, 0.0
        for maps, masks in sets:
            start = time.perf_counter()
            ours = pixels.aupro(maps, masks)
            between = time.perf_counter()
            meter = reference(fpr_limit=0.3)
            if double:
                meter.fpr_limit = torch.tensor(0.3, dtype=torch.float64)
                torch.Tensor.float = exact  # type: ignore[method-assign]
            try:
                meter.update(torch.from_numpy(np.stack(maps)), torch.from_numpy(np.stack(masks).astype(np.uint8)))
                theirs = float(meter.compute())
            finally:
                torch.Tensor.float = single  # type: ignore[method-assign]
            ours_s, theirs_s = ours_s + between - start, theirs_s + time.perf_counter() - between
            worst = max(worst, abs(ours - theirs))
        named = f"anomalib in {'float64' if double else 'float32, as it is'}"
        _tell("aupro", named, kind, len(sets), worst, ours_s=ours_s, theirs_s=theirs_s)

    for double in (True, False):
        compare("random", list(_random_maps(cases, seed)), double=double)
        if data is not None:
            compare("MVTec AD bottle, 256 px", [_bottle(data)], double=double)


def _random_maps(cases: int, seed: int) -> Iterator[tuple[Maps, Masks]]:
    from scipy import ndimage

    generator = np.random.default_rng(seed)
    for number in range(cases):
        shape = (int(generator.integers(1, 5)), int(generator.integers(12, 40)), int(generator.integers(12, 40)))
        masks = ndimage.uniform_filter(generator.random(shape), (0, 5, 5)) > 0.56
        masks[0, 0, :2] = True, False
        maps = generator.normal(size=shape) + masks * generator.random()
        maps = np.round(maps, 1) if number % 3 == 0 else maps
        yield list(maps.astype(np.float32)), list(masks)


def _bottle(data: Path) -> tuple[Maps, Masks]:
    import cv2

    root = data / "mvtec_ad" / "bottle"
    truth = tree_truth(root)

    def small(path: Path) -> NDArray[np.float32]:
        return cv2.resize(decode_file(path), (256, 256), interpolation=cv2.INTER_AREA).astype(np.float32)

    usual = np.mean([small(path) for path in sorted((root / "train/good").iterdir())], axis=0)
    maps: Maps = []
    masks: Masks = []
    for key, defective in truth.defective.items():
        if key.startswith("test/"):
            maps.append(np.abs(small(root / key) - usual).mean(axis=2).astype(np.float32))
            mask = truth.mask(key) if defective else None
            marked = np.zeros((256, 256), np.uint8) if mask is None else mask.astype(np.uint8)
            masks.append(cv2.resize(marked, (256, 256), interpolation=cv2.INTER_NEAREST) > 0)
    return maps, masks


def _anomalib() -> Callable[..., Any] | None:
    """Return only AUPRO of anomalib. Importing the whole package needs Lightning, torchvision and more, which AUPRO does not."""
    found = importlib.util.find_spec("anomalib")
    if found is None or not found.submodule_search_locations:
        return None
    root = Path(next(iter(found.submodule_search_locations)))
    for name in ("anomalib", "anomalib.metrics", "anomalib.utils"):
        hollow = types.ModuleType(name)
        hollow.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = hollow
    labelling, wrapper, drawing = (
        types.ModuleType(f"anomalib.{name}") for name in ("metrics.pro", "metrics.base", "metrics.utils")
    )
    components = _load(root / "utils" / "cv" / "connected_components.py")
    for name in ("connected_components_cpu", "connected_components_gpu"):
        setattr(labelling, name, getattr(components, name, None))
    wrapper.AnomalibMetric = type("AnomalibMetric", (), {})  # type: ignore[attr-defined]
    drawing.plot_metric_curve = None  # type: ignore[attr-defined]
    sys.modules |= {module.__name__: module for module in (labelling, wrapper, drawing)}
    try:
        meter: Callable[..., Any] = importlib.import_module("anomalib.metrics.aupro")._AUPRO
    except ImportError:
        return None
    return meter


def _load(path: Path) -> types.ModuleType:
    """Load one module file, without importing its package, which would need more packages."""
    if importlib.util.find_spec("kornia") is None:  # only used on GPUs
        kornia = types.ModuleType("kornia.contrib")
        kornia.connected_components = None  # type: ignore[attr-defined]
        sys.modules |= {"kornia": types.ModuleType("kornia"), "kornia.contrib": kornia}
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _tell(figure: str, reference: str, inputs: str, cases: int, difference: float, **seconds: float) -> None:
    record = {
        "what": "metrics_against_references",
        "figure": figure,
        "reference": reference,
        "version": _version(reference),
        "inputs": inputs,
        "cases": cases,
        "largest_difference": difference,
    }
    print(json.dumps(record | {name: round(value, 3) for name, value in seconds.items()}), flush=True)


def _absent(figure: str, reference: str) -> None:
    print(json.dumps({"what": "metrics_against_references", "figure": figure, "reference": reference, "absent": True}))


def _version(reference: str) -> str:
    try:
        return importlib.metadata.version(reference.split(maxsplit=1)[0])
    except importlib.metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
