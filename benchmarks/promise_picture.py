"""Draw promised against observed false rejects: many calibrations on real scores, each measured on the parts that it did not use.

Each point is one calibration. Its place is the share of held-back good parts that it rejects, as a multiple of the promised
share. The scores are those of `promise_on_mnist.py`. Prints one JSON line per row of points.

    ANDON_DATA=../shared/data python -m benchmarks.promise_picture docs/pictures/promise.png
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.promise_on_mnist import Floats, chance_of_breaking, digit_scores, resampled

from andon.drawing.style import BLUE, INK, SOFT, VERMILION, new_figure, png_of
from andon.runtime.calibration_facts import percent

ROWS = ((14, 0.2), (59, 0.05), (149, 0.02), (299, 0.01), (600, 0.01), (1000, 0.01))
"""Calibration parts and promised share of each row, from the top."""
WIDEST = 4.0
"""Right end of the axis, as a multiple of the promised share. Points beyond it are drawn there as triangles."""
FULL = 5.2
"""Width of a panel in the same unit. The counts are to the right of the points."""
SPREAD = 0.32
"""Half height of a row of points."""


def draw(shares: Sequence[tuple[Floats, Floats]], expected: Sequence[float]) -> Any:
    """Return a figure with two panels: the promise, and a percentile of the same scores.

    Args:
        shares: for each of `ROWS`, the rejected shares by promise and by percentile, as multiples of the promised share.
        expected: for each of `ROWS`, the expected number of broken promises.
    """
    figure = new_figure(9.6, 4.6)
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("Threshold of andon", "Usual threshold: a percentile of the good scores")
    for panel, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        axes.set_title(title, loc="left", color=INK, fontsize=11, pad=24)
        axes.axvline(1.0, color=INK, linewidth=1.2, zorder=1)
        axes.annotate(
            "above the limit", (1.0, 1.0), (0, 4), xycoords="axes fraction", textcoords="offset points",
            ha="right", va="bottom", color=VERMILION, fontsize=9,
        )  # fmt: skip
        for row, both in enumerate(shares):
            _points(axes, row, both[panel])
            words = f"{int((both[panel] > 1.0).sum())} of {len(both[panel])}"
            if panel == 0:
                words += f"\n(expected {expected[row]:.0f})"
            axes.text(FULL, row, words, ha="right", va="center", color=VERMILION, fontsize=9)
        axes.set_xlim(0, FULL)
        axes.set_xticks([0, 1, 2, 3], ["0", "limit", "2 x limit", "3 x limit"])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_bounds(0, WIDEST)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)
    names = [f"at most {percent(alpha)},\nfrom {n} parts" for n, alpha in ROWS]
    panels[0].set_yticks(range(len(ROWS)), names)
    panels[0].set_ylim(len(ROWS) - 0.5, -0.5)
    figure.supxlabel("share of good parts rejected afterwards, one point for each calibration", color=SOFT, fontsize=10)
    return figure


def _points(axes: Any, row: int, shares: Floats) -> None:
    # evenly spread instead of random, so that the same figures give the same picture
    order = np.argsort(np.argsort(shares, kind="stable"), kind="stable")
    heights = row + SPREAD * (2 * ((order * 0.6180339887) % 1.0) - 1)
    above = shares > 1.0
    beyond = shares > WIDEST
    for chosen, colour, marker in ((~above, BLUE, "o"), (above & ~beyond, VERMILION, "o"), (beyond, VERMILION, ">")):
        axes.scatter(np.minimum(shares[chosen], WIDEST), heights[chosen], s=9 if marker == "o" else 18, color=colour,
                     marker=marker, alpha=0.55, linewidths=0, clip_on=False, zorder=3)  # fmt: skip


def main() -> None:
    """Train and score once, calibrate, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="PNG file to write")
    parser.add_argument(
        "--data", default=os.environ.get("ANDON_DATA"), help="folder with mnist/ (default: $ANDON_DATA)"
    )
    parser.add_argument("--calibrations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    scores = digit_scores(Path(args.data), args.seed)
    rng = np.random.default_rng(args.seed)
    shares, expected = [], []
    for n, alpha in ROWS:
        one = resampled(scores, n, alpha, args.calibrations, rng)
        shares.append((one.promise / alpha, one.quantile / alpha))
        expected.append(args.calibrations * chance_of_breaking(n, one.above, alpha, one.audited))
        print(json.dumps({
            "what": "promise_picture", "n": n, "alpha": alpha, "calibrations": args.calibrations, "audited": one.audited,
            "broken": int((one.promise > alpha).sum()), "expected": round(expected[-1], 2),
            "broken_by_quantile": int((one.quantile > alpha).sum()),
            "median_share": float(np.median(one.promise)), "largest_share": float(one.promise.max()),
            "largest_share_by_quantile": float(one.quantile.max()), "seed": args.seed,
        }), flush=True)  # fmt: skip
    args.picture.write_bytes(png_of(draw(shares, expected), dpi=150))


if __name__ == "__main__":
    main()
