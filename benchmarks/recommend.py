"""Does `andon recommend` choose well? Compare its choice with the best of its menu on real defects.

    OMP_NUM_THREADS=1 python -m benchmarks.recommend --sets mvtec_ad/bottle cookies --budgets 30 100 --out FOLDER
    OMP_NUM_THREADS=1 python -m benchmarks.recommend --drawn weave plate capsule --out FOLDER

Reads the sets from the folder ANDON_DATA. Prints one JSON line for each set and budget. The line has the choice and its AUROC
on real defects. `best` is the best candidate on real defects that keeps the budget, and `lost` is the difference. The choice
never sees a real defect. All budgets use the same times. Another call with the same --out trains nothing again. `--quick` uses
one set of drawn parts.
"""

import argparse
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from benchmarks.drawn_parts import KINDS, part

from andon.damage.kinds import FOR_TRAINING, damaged
from andon.foundation.progress import ProgressLine
from andon.training.recommendation.choice import GAIN, Candidate, choose
from andon.training.recommendation.recommend import Events, Options, load_per_cpu, recommend
from andon.training.recommendation.result import Recommendation

SETS = ("mvtec_ad/bottle", "mvtec_ad/pill", "magnetic_tile", "cookies")


def line(of: Recommendation, *, name: str, budget_ms: float, gain: float) -> dict[str, object]:
    """Return the figures of one set and budget."""
    rows = {row.name: row for row in of.rows}
    listed = [Candidate(name=row.name, latency_ms=row.latency_ms, auroc=row.auroc) for row in of.rows]
    picked = choose(listed, budget_ms=budget_ms, gain=gain)
    within = [row for row in of.rows if row.latency_ms <= budget_ms and row.real_auroc is not None]
    if picked.chosen is None or not within:
        return {"set": name, "budget_ms": budget_ms, "gain": gain, "chosen": None}
    chosen = rows[picked.chosen]
    best = max(within, key=lambda row: row.real_auroc or 0.0)
    assert chosen.real_auroc is not None
    assert best.real_auroc is not None
    return {
        "set": name,
        "budget_ms": budget_ms,
        "gain": gain,
        "chosen": chosen.name,
        "ms": round(chosen.latency_ms, 1),
        "synthetic": round(chosen.auroc or 0.0, 3),
        "real": round(chosen.real_auroc, 3),
        "best": best.name,
        "best_real": round(best.real_auroc, 3),
        "lost": round(best.real_auroc - chosen.real_auroc, 3),
        "good_parts": of.good_parts,
        "judged": [of.judged_good, of.judged_defects],
    }


def main() -> None:
    """Run all sets, and print the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=[], help=f"default: {' '.join(SETS)}, if there is no --drawn")
    parser.add_argument(
        "--drawn", nargs="+", default=[], choices=list(KINDS), metavar="KIND", help="sets of drawn parts"
    )
    parser.add_argument("--budgets", nargs="+", type=float, default=[30.0, 1000.0], metavar="MS")
    parser.add_argument("--gains", nargs="+", type=float, default=[GAIN], metavar="X")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="one set of 24 drawn parts and two candidates")
    args = parser.parse_args()
    options = Options(seed=args.seed, threads=1, device="cpu", bench_s=0.1 if args.quick else 2.0)
    if args.quick:
        options = Options(
            seed=args.seed, threads=1, device="cpu", bench_s=0.1,
            menu=("pixel_knn --size 32", "patchcore --preset fast --size 96"),
        )  # fmt: skip
    sets = [_drawn(args.out / f"drawn-{kind}", kind) for kind in args.drawn]
    if args.quick:
        sets = [_drawn(args.out / "drawn", next(iter(KINDS)), good=24, tested=6)]
    elif not args.drawn or args.sets:
        sets += [Path(os.environ["ANDON_DATA"]) / name for name in args.sets or SETS]
    for path in sets:
        start_s = time.perf_counter()
        found = recommend(
            str(path),
            args.out / "choices" / path.name,
            budget_ms=max(args.budgets),
            date=datetime.now(UTC).date().isoformat(),
            options=options,
            events=Events(progress=ProgressLine()),
        )
        taken_s = time.perf_counter() - start_s
        for row in found.rows:
            figures = {"ms": row.latency_ms, "cpu_ms": row.cpu_ms, "synthetic": row.auroc, "real": row.real_auroc}
            rounded = {key: _rounded(value) for key, value in figures.items()}
            print(json.dumps({"set": path.name, "candidate": row.name, **rounded}), flush=True)
        for budget_ms in args.budgets:
            for gain in args.gains:
                print(json.dumps(line(found, name=path.name, budget_ms=budget_ms, gain=gain)), flush=True)
        load = load_per_cpu()
        print(
            json.dumps(
                {
                    "set": path.name,
                    "seconds": round(taken_s),
                    "load_per_cpu": _rounded(load),
                    "sentence": found.sentence,
                }
            )
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _drawn(folder: Path, kind: str, *, good: int = 200, tested: int = 60) -> Path:
    """Write a tree of drawn parts with labelled test parts, and return it.

    The defects are of kinds with which `andon recommend` does not judge.
    """
    generator = np.random.default_rng(0)
    for number in range(good + 2 * tested):
        picture = part(kind, number)
        place = "train/good" if number < good else "test/good" if number < good + tested else "test/damaged"
        if place == "test/damaged":
            drawn = damaged(generator, FOR_TRAINING[number % len(FOR_TRAINING)], picture, part(kind, 0))
            if drawn is None:
                continue
            picture = drawn.picture
        (folder / place).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / place / f"{number}.png"), picture[:, :, ::-1])
    return folder


if __name__ == "__main__":
    main()
