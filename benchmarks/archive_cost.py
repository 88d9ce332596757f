"""Compare engines with a plain loop: equal columns, and what an engine costs in CPU seconds.

Small pictures and a cheap net, blocks of 1000 rows, two workers. Each way runs in a process of its own, for a small and a large
archive, the ways one after the other within each repetition. CPU seconds are those of all processes, from start to end.

* ``equal``: the columns of all ways are byte-equal, except the name of the block.
* ``start_s``: CPU seconds that do not depend on the number of pictures, above those of the loop.
* ``slope``: CPU seconds of one more picture, relative to the loop. The median over the repetitions.

    OMP_NUM_THREADS=1 python -m benchmarks.archive_cost --small 10000 --large 50000 --repeat 3 --seed 0
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.archive_workload import plain_columns, write_input
from benchmarks.process_tree import adopted_orphans, run


class Way(NamedTuple):
    """Figures of one way."""

    slope_ms: float
    """CPU milliseconds of one more picture, the median."""
    slope: float
    """The same relative to the loop of the same repetition, the median."""
    start_s: float
    """CPU seconds above the loop that do not depend on the number of pictures, the median."""
    large_cpu_s: float
    large_wall_s: float
    peak_mb: float


def digest(out: Path) -> str:
    """Return a digest of the bytes of all columns except the block."""
    found = hashlib.sha256()
    for name, column in plain_columns(out).items():
        found.update(f"{name} {column.type} {column.null_count}".encode())
        for buffer in column.buffers():
            found.update(b"" if buffer is None else buffer.to_pybytes())
    return found.hexdigest()


def measure(
    ways: Sequence[str], sizes: tuple[int, int], repeat: int, seed: int, *, block_rows: int = 1000
) -> tuple[bool, dict[str, Way]]:
    """Run all ways. Return whether their columns are equal, and the figures."""
    costs: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    digests: dict[int, set[str]] = {size: set() for size in sizes}
    with adopted_orphans(), tempfile.TemporaryDirectory(prefix="archive-cost-") as scratch:
        folder = Path(scratch)
        tables = {size: write_input(folder, size, block_rows=block_rows, seed=seed) for size in sizes}
        for repetition in range(repeat):
            for size in sizes:
                for way in ways:
                    out = folder / f"{way}-{size}"
                    shutil.rmtree(out, ignore_errors=True)
                    words = [sys.executable, "-m", "benchmarks.archive_workload", way, str(tables[size]), str(out)]
                    cost = run([*words, "--block-rows", str(block_rows)])
                    if cost.returncode != 0:
                        raise SystemExit(f"{way} with {size} pictures ended with {cost.returncode}")
                    costs.setdefault((way, size), []).append((cost.cpu_s, cost.wall_s, cost.peak_mb))
                    if repetition == 0:
                        digests[size].add(digest(out))
                    print(f"{way} {size}: {cost.cpu_s:.2f} CPU s, {cost.wall_s:.1f} s", file=sys.stderr)
    small, large = sizes
    slopes = {
        way: [
            (big[0] - little[0]) / (large - small)
            for big, little in zip(costs[way, large], costs[way, small], strict=True)
        ]
        for way in ways
    }
    figures = {}
    for way in ways:
        starts = [
            (mine[0] - own * small) - (loop[0] - its * small)
            for mine, own, loop, its in zip(
                costs[way, small], slopes[way], costs["loop", small], slopes["loop"], strict=True
            )
        ]
        figures[way] = Way(
            slope_ms=round(1000 * statistics.median(slopes[way]), 4),
            slope=round(_ratio(slopes[way], slopes["loop"]), 3),
            start_s=round(statistics.median(starts), 2),
            large_cpu_s=round(statistics.median(one[0] for one in costs[way, large]), 2),
            large_wall_s=round(statistics.median(one[1] for one in costs[way, large]), 1),
            peak_mb=round(max(one[2] for one in costs[way, large])),
        )
    return all(len(found) == 1 for found in digests.values()), figures


def _ratio(costs: Sequence[float], of: Sequence[float]) -> float:
    """Return the median ratio; NaN if too few pictures were judged for the clock of CPU time to notice them."""
    return statistics.median(a / b for a, b in zip(costs, of, strict=True)) if min(of) > 0 else float("nan")


def main() -> None:
    """Measure, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ways", nargs="+", default=["loop", "local", "ray"])
    args = parser.parse_args()
    load = os.getloadavg()[0]
    equal, figures = measure(args.ways, (args.small, args.large), args.repeat, args.seed)
    print(
        json.dumps(
            {
                "equal": equal,
                "ways": {way: one._asdict() for way, one in figures.items()},
                "cores": os.cpu_count(),
                "load": [round(load, 1), round(os.getloadavg()[0], 1)],
            }
        )
    )


if __name__ == "__main__":
    main()
