"""Count broken promises on scores of real parts and real logs: 200 calibrations for each row, one JSON line per row.

Frames: the scores are those of exported model files, on good parts that training did not use. There are three ways to check:

* `random`: calibrate on n random parts, and check on all other ones. For scores without ties, the chance of a broken promise is
  then exact for any scores. So this checks the program, not the assumption that later parts are like earlier ones.
* `other folder`: calibrate on parts of the training folder, and check on `test/good`. All calibrations share these test parts.
* `in order`: calibrate on n consecutive pictures, and check on all other ones. MNIST is sorted by writers.

Logs: `pca` is trained on the first rows. The calibrations use n consecutive windows, or some of the runs, and are checked on the
next n windows, or on the other runs. `naive` counts each window as independent. `too_few` and `drifting` are refused by andon.
`broken_before` and `broken` count promises without and with the check against drift. Calibrations overlap in time: the windows
hold far fewer than 200 independent ones.

    ANDON_DATA=../shared/data python -m benchmarks.promise_on_real_scores               # about five minutes on a busy machine
    ANDON_DATA=../shared/data python -m benchmarks.promise_on_real_scores tile skab
"""

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.promise_on_mnist import (
    Floats,
    Resampled,
    chance_of_breaking,
    digit_scores,
    interval,
    resampled,
    threshold_of,
)
from benchmarks.sensor_models import Candidate, judge, rows_as_log, train_detector
from numpy.typing import NDArray

from andon.calibration.dependence import dependence_time, design_effect, effective_number
from andon.calibration.promise import allowance
from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.calibration.scoring import score
from andon.calibration.statement import statement_of
from andon.calibration.units import Sample
from andon.foundation.errors import CalibrationError, NotEnoughParts
from andon.foundation.settings import from_mapping
from andon.runtime.calibration_facts import Sampling
from andon.sources.series.log import Log
from andon.sources.source import collect
from andon.training.recipe.recipe import recipe
from andon.training.runs.export_run import calibration_part, export_run
from andon.training.runs.train import TrainOptions, train
from benchmarks import skab as skab_files
from benchmarks import tennessee_eastman as te

Row = dict[str, Any]
FAULT_FREE_ROWS = 160
"""Rows at the begin of each test run of Tennessee Eastman, before its fault."""
PROMISES = (0.2, 0.05)
"""Promises from windows."""
GOOD_ROWS = 400
"""Rows at the begin of each file of SKAB, before its fault."""


def part_scores(folder: Path, seed: int) -> tuple[Floats, Floats]:
    """Train `patchcore --preset fast`. Return the scores of the parts that training kept back, and of `test/good`."""
    known = recipe("patchcore")
    settings = from_mapping(known.settings, {"preset": "fast"}, where="patchcore")
    with tempfile.TemporaryDirectory() as temporary:
        run = train(
            known, str(folder), Path(temporary) / "run", settings=settings, options=TrainOptions(seed=seed, threads=1)
        )
        exported = export_run(run, Path(temporary) / "model.onnx", request=CalibrationRequest(date=""))
        kept_back = score(exported.model.data, calibration_part(run))
        good = collect(str(folder / "test" / "good"))
        assert not isinstance(good, Log)
        test = score(exported.model.data, good)
    return kept_back.score[kept_back.valid], test.score[test.valid]


class Draws(NamedTuple):
    """The number and sizes of calibrations, and the generator that draws them."""

    calibrations: int
    rng: np.random.Generator
    sizes: Sequence[tuple[int, float]] = ()
    """Number of parts and promised share of each row."""


def random_parts(what: str, scores: Floats, draws: Draws) -> Iterator[Row]:
    """Yield rows for random calibrations that are checked on all other parts."""
    for n, alpha in draws.sizes:
        shares = resampled(scores, n, alpha, draws.calibrations, draws.rng)
        yield {"what": what, "how": "random"} | _counted(n, alpha, shares)


def other_parts(what: str, scores: Floats, test: Floats, draws: Draws) -> Iterator[Row]:
    """Yield rows for random calibrations that are checked on the parts of another folder."""
    for n, alpha in draws.sizes:
        drawn = [draws.rng.choice(scores, n, replace=False) for _ in range(draws.calibrations)]
        shares = _checked(n, alpha, [(one, test) for one in drawn])
        yield {"what": what, "how": "other folder"} | _counted(n, alpha, shares)


def parts_in_order(what: str, scores: Floats, draws: Draws) -> Iterator[Row]:
    """Yield rows for calibrations on consecutive parts that are checked on all other parts."""
    for n, alpha in draws.sizes:
        starts = draws.rng.integers(0, len(scores) - n + 1, draws.calibrations)
        pairs = [(scores[at : at + n], np.delete(scores, np.s_[at : at + n])) for at in starts]
        yield {"what": what, "how": "in order"} | _counted(n, alpha, _checked(n, alpha, pairs))


def _checked(n: int, alpha: float, pairs: Sequence[tuple[Floats, Floats]]) -> Resampled:
    above = allowance(n, alpha)
    return Resampled(
        promise=np.array([(later > threshold_of(drawn, above)).mean() for drawn, later in pairs]),
        quantile=np.array([(later > np.quantile(drawn, 1 - alpha)).mean() for drawn, later in pairs]),
        above=above,
        audited=len(pairs[0][1]),
    )


def _counted(n: int, alpha: float, shares: Resampled) -> Row:
    calibrations = len(shares.promise)
    chance = chance_of_breaking(n, shares.above, alpha, shares.audited)
    return {
        "n": n, "alpha": alpha, "audited": shares.audited, "calibrations": calibrations,
        "broken": int((shares.promise > alpha).sum()), "broken_by_quantile": int((shares.quantile > alpha).sum()),
        "expected": round(calibrations * chance, 2), "99_percent_interval": interval(calibrations, chance),
        "median_share": float(np.median(shares.promise)),
    }  # fmt: skip


def window_row(what: str, how: str, alpha: float, cases: Sequence[tuple[Sequence[Floats], Floats]]) -> Row:
    """Return a row for calibrations on windows.

    Args:
        what: name of the set.
        how: how the windows were chosen.
        alpha: promised share.
        cases: for each calibration, the scores by run in time order, and the later scores that it is checked on.
    """
    counts = dict.fromkeys(("naive", "too_few", "drifting", "broken_before", "broken"), 0)
    for runs, later in cases:
        scores = np.concatenate(list(runs))
        n = len(scores)
        counts["naive"] += int((later > threshold_of(scores, allowance(n, alpha))).mean() > alpha)
        try:
            statement_of(_sample(runs, scores), PromiseRequest(false_reject=alpha))
            refused = False
        except NotEnoughParts:
            counts["too_few"] += 1
            continue
        except CalibrationError:
            refused = True
            counts["drifting"] += 1
        # without the check against drift, andon would choose this threshold
        n_eff = effective_number(n, max(dependence_time(runs, alpha), design_effect(runs, alpha)))
        broken = bool((later > threshold_of(scores, allowance(n, alpha, n_eff=n_eff))).mean() > alpha)
        counts["broken_before"] += broken
        counts["broken"] += broken and not refused
    n = sum(len(run) for run in cases[0][0])
    return {"what": what, "how": how, "n": n, "alpha": alpha, "audited": len(cases[0][1]),
            "calibrations": len(cases), **counts,
            "promised": len(cases) - counts["too_few"] - counts["drifting"]}  # fmt: skip


def _sample(runs: Sequence[Floats], scores: Floats) -> Sample:
    return Sample(
        scores=scores,
        runs=tuple(runs),
        keys=(),
        invalid=0,
        unit="window",
        sampling=Sampling(method="effective_number", units=len(scores), groups=len(runs)),
    )


def blocks(what: str, series: Floats, sizes: Sequence[int], draws: Draws) -> Iterator[Row]:
    """Yield rows for calibrations on n consecutive windows of one run, checked on the next n windows."""
    for n in sizes:
        starts = draws.rng.integers(0, len(series) - 2 * n + 1, draws.calibrations)
        cases = [([series[at : at + n]], series[at + n : at + 2 * n]) for at in starts]
        for alpha in PROMISES:
            yield window_row(what, "next windows", alpha, cases)


def whole_runs(what: str, runs: Sequence[Floats], count: int, draws: Draws) -> Iterator[Row]:
    """Yield rows for calibrations on some runs, checked on the other runs."""
    orders = [draws.rng.permutation(len(runs)) for _ in range(draws.calibrations)]
    cases = [([runs[at] for at in one[:count]], np.concatenate([runs[at] for at in one[count:]])) for one in orders]
    for alpha in PROMISES:
        yield window_row(what, f"{count} of {len(runs)} runs, checked on the others", alpha, cases)


def _pca(rows: dict[str, NDArray[np.float32]], names: Sequence[str], steps: int, seed: int) -> Any:
    return train_detector(
        Candidate("pca", {"steps": steps, "hop": 1}),
        rows_as_log(rows, names),
        seed=seed,
        promise=PromiseRequest(no_promise=True),
    )


def bottle(root: Path, calibrations: int, seed: int) -> Iterator[Row]:
    """Yield the rows of MVTec AD bottle."""
    rng = np.random.default_rng(seed)
    kept_back, test = part_scores(root / "mvtec_ad" / "bottle", seed)
    everything = np.concatenate([kept_back, test])
    yield from random_parts("bottle", everything, Draws(calibrations, rng, ((14, 0.2), (29, 0.1), (59, 0.05))))
    yield from other_parts("bottle", kept_back, test, Draws(calibrations, rng, ((14, 0.2), (29, 0.1))))


def tile(root: Path, calibrations: int, seed: int) -> Iterator[Row]:
    """Yield the rows of magnetic tile."""
    rng = np.random.default_rng(seed)
    kept_back, test = part_scores(root / "magnetic_tile", seed)
    everything = np.concatenate([kept_back, test])
    sizes = ((29, 0.1), (59, 0.05), (100, 0.05), (149, 0.02))
    yield from random_parts("tile", everything, Draws(calibrations, rng, (*sizes, (299, 0.01))))
    yield from other_parts("tile", kept_back, test, Draws(calibrations, rng, sizes))


def mnist(root: Path, calibrations: int, seed: int) -> Iterator[Row]:
    """Yield the rows of MNIST without fives."""
    rng = np.random.default_rng(seed)
    scores = digit_scores(root, seed)
    sizes = ((59, 0.05), (300, 0.01), (600, 0.01), (1000, 0.01))
    yield from random_parts("mnist", scores, Draws(calibrations, rng, sizes))
    yield from parts_in_order("mnist", scores, Draws(calibrations, rng, sizes))


def skab(root: Path, calibrations: int, seed: int) -> Iterator[Row]:
    """Yield the rows of SKAB: the clean file by blocks of time, and the fault-free beginnings of the other files by run."""
    rng = np.random.default_rng(seed)
    names, files, clean = skab_files.read(root / "skab")
    train_rows = int(0.3 * len(clean))
    for steps, sizes in ((1, (300, 1000, 3000)), (8, (100, 400))):
        detector = _pca({"clean": clean[:train_rows]}, names, steps, seed)
        log = rows_as_log({"rest": clean[train_rows:]}, names)
        series = judge(detector, log, hop=steps)["rest"].scores["score"]
        yield from blocks(f"SKAB, clean file, windows of {steps}", series, sizes, Draws(calibrations, rng))
    starts = {file.name: file.values[:GOOD_ROWS] for file in files if not file.faulty[:GOOD_ROWS].any()}
    trained = dict(list(starts.items())[::3])
    rest = {name: rows for name, rows in starts.items() if name not in trained}
    judged = judge(_pca(trained, names, 1, seed), rows_as_log(rest, names))
    runs = [judged[name].scores["score"] for name in rest]
    yield from whole_runs("SKAB, begin of each file, windows of 1", runs, len(runs) // 2, Draws(calibrations, rng))


def tennessee_eastman(root: Path, calibrations: int, seed: int) -> Iterator[Row]:
    """Yield the rows of Tennessee Eastman: the fault-free run by blocks of time, and the fault-free beginnings by run."""
    rng = np.random.default_rng(seed)
    folder = root / "tennessee_eastman"
    good = te.read(folder / "d00_te.dat.gz")
    beginnings = {
        rows.tobytes(): rows
        for fault in te.FAULTS
        for rows in [te.read(folder / f"d{fault:02}_te.dat.gz")[:FAULT_FREE_ROWS]]
        if not np.array_equal(rows, good[:FAULT_FREE_ROWS])
    }
    detector = _pca({"d00": te.read(folder / "d00.dat.gz")}, te.CHANNELS, 1, seed)
    judged = judge(
        detector, rows_as_log({str(place): rows for place, rows in enumerate(beginnings.values())}, te.CHANNELS)
    )
    runs = [judged[str(place)].scores["score"] for place in range(len(beginnings))]
    series = judge(detector, rows_as_log({"good": good}, te.CHANNELS))["good"].scores["score"]
    yield from blocks("Tennessee Eastman, d00_te, windows of 1", series, (240, 400), Draws(calibrations, rng))
    yield from whole_runs("Tennessee Eastman, begin of each run, windows of 1", runs, 12, Draws(calibrations, rng))


SETS = {one.__name__: one for one in (bottle, tile, mnist, skab, tennessee_eastman)}


def main() -> None:
    """Print the rows of all chosen sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], help="default: all")
    parser.add_argument(
        "--data", default=os.environ.get("ANDON_DATA"), help="folder of the data sets (default: $ANDON_DATA)"
    )
    parser.add_argument("--calibrations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.getLogger("andon").setLevel(logging.ERROR)  # a warning for each calibration
    for name in args.sets or SETS:
        start_s = time.perf_counter()
        for row in SETS[name](Path(args.data), args.calibrations, args.seed):
            print(json.dumps({**row, "seed": args.seed}), flush=True)
        print(json.dumps({"what": name, "seconds": round(time.perf_counter() - start_s, 1)}), flush=True)


if __name__ == "__main__":
    main()
