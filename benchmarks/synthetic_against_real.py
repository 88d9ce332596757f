"""Does AUROC on synthetic defects rank detectors like real defects do? Rank correlation over the cells of a comparison.

    andon compare ... --synthetic --out leaderboard
    python benchmarks/synthetic_against_real.py leaderboard

Prints one JSON line over all cells, and one for each set (means over seeds). The line of a set also shows the cost of choosing
by synthetic defects. It gives the real AUROC of the detector that is best on synthetic defects, and of the best on real ones.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from andon.training.comparison.results import cell_statuses


def main() -> None:
    """Read the comparison, and print the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of a comparison that was made with --synthetic")
    cells: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for each in cell_statuses(parser.parse_args().folder):
        if each.result is not None and "synthetic_auroc" in each.result.figures:
            figures = each.result.figures
            cells[each.key.set, each.key.name].append((figures["synthetic_auroc"], figures["auroc"]))
    means = {key: tuple(np.mean(values, axis=0)) for key, values in cells.items()}
    print(json.dumps({"over": "all", "cells": len(means), **_correlation(list(means.values()))}))
    for name in sorted({data for data, _ in means}):
        here = {choice: pair for (data, choice), pair in means.items() if data == name}
        chosen = max(here, key=lambda choice: here[choice][0])
        best = max(here, key=lambda choice: here[choice][1])
        choice_cost = {
            "chosen": chosen,
            "its_auroc": round(here[chosen][1], 4),
            "best": best,
            "best_auroc": round(here[best][1], 4),
        }
        print(json.dumps({"over": name, "cells": len(here), **_correlation(list(here.values())), **choice_cost}))


def _correlation(pairs: list[tuple[float, float]]) -> dict[str, float]:
    synthetic, real = zip(*pairs, strict=True)
    return {"spearman": round(float(spearmanr(synthetic, real).statistic), 3)}


if __name__ == "__main__":
    main()
