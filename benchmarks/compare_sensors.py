"""Prepare SKAB, Tennessee Eastman and the simulated converter as sets for `andon compare`, and run it with one plan.

    ANDON_DATA=DATA OMP_NUM_THREADS=1 python -m benchmarks.compare_sensors --out comparison/
    ANDON_DATA=DATA OMP_NUM_THREADS=1 python -m benchmarks.compare_sensors --out comparison/ --skab-files 34

* SKAB: each file is a set. Its first 400 rows are for training, the others for evaluation, in windows of 8 rows.
* Tennessee Eastman: `d00` for training, and the 18 runs without faults 3, 9 and 15 for evaluation, in windows of 8 rows.
* Converter: 1 500 good runs of 64 rows for training, and 40 faults of severity .5 in 60 000 rows, in windows of 64 rows.

400 rows support no promise, so thresholds are estimates. The folder gets `plan.toml`, the data as CSV, and the tables. The same
command continues an interrupted comparison.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from benchmarks.skab import FOLDERS, TRAIN_ROWS
from benchmarks.tennessee_eastman import CHANNELS, FAULTS, HARDLY_SEEN, ONSET, ROW_MINUTES, read
from numpy.typing import NDArray

from andon.cli import main as andon

DETECTORS = ("whitening", "pca", "window_mean")
SHORT = "--steps 8 --hop 1"
CONVERTER_TRAIN = "power_converter:seed=0,runs=1500,rows=64"
CONVERTER_TEST = "power_converter:seed=7,rows=60000,faults=40,severity=0.5"


def skab_sets(data: Path, out: Path, files: int) -> list[tuple[str, str, str]]:
    """Write some files of SKAB, evenly spread over the folders. Return name, training log and labelled log of each."""
    paths = [path for folder in FOLDERS for path in sorted((data / "skab" / folder).glob("*.csv"), key=_number)]
    chosen = [paths[at] for at in np.linspace(0, len(paths) - 1, files).round().astype(int)]
    sets = []
    for path in chosen:
        head, *rows = path.read_text(encoding="utf-8").replace("\r", "").splitlines()
        names = head.split(";")
        labels = [names.index(name) for name in ("anomaly", "changepoint")]
        kept = [place for place in range(len(names)) if place not in labels]
        name = f"skab-{path.parent.name}-{path.stem}"
        good = [";".join(names[place] for place in kept)]
        good += [";".join(row.split(";")[place] for place in kept) for row in rows[:TRAIN_ROWS]]
        sets.append(
            (name, _write(out / name / "good.csv", good), _write(out / name / "test.csv", [head, *rows[TRAIN_ROWS:]]))
        )
    return sets


def tennessee_set(data: Path, out: Path) -> tuple[str, str, str]:
    """Write Tennessee Eastman. Return name, training log and folder of labelled logs."""
    folder, name = data / "tennessee_eastman", "tennessee-eastman"
    good = _rows(read(folder / "d00.dat.gz"), None)
    for fault in FAULTS:
        if fault in HARDLY_SEEN:
            continue
        rows = _rows(read(folder / f"d{fault:02}_te.dat.gz"), fault)
        _write(out / name / "test" / f"fault{fault:02}.csv", rows)
    return name, _write(out / name / "good.csv", good), str(out / name / "test")


def _rows(values: NDArray[np.float32], fault: int | None) -> list[str]:
    head = ["time", *CHANNELS, *(["anomaly"] if fault is not None else [])]
    lines = [",".join(head)]
    for number, row in enumerate(values.tolist()):
        label = [] if fault is None else [str(int(number >= ONSET))]
        lines.append(",".join([str(60 * ROW_MINUTES * number), *(f"{value:.7g}" for value in row), *label]))
    return lines


def plan(sets: Sequence[tuple[str, str, str]], flags: str) -> str:
    """Return a plan for `andon compare` in TOML."""
    detectors = ", ".join(f'"{name} {flags}"' if flags else f'"{name}"' for name in DETECTORS)
    data = ",\n".join(f'  {{ name = "{name}", train = "{good}", test = "{test}" }}' for name, good, test in sets)
    return f"detectors = [{detectors}]\ndata = [\n{data},\n]\nseeds = [0]\npromise = {{ no_promise = true }}\n"


def _write(path: Path, lines: Sequence[str]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def _number(path: Path) -> tuple[int, str]:
    return int(path.stem) if path.stem.isdecimal() else 0, path.stem


def main() -> int:
    """Write the data and both plans, and run them into one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--skab-files", type=int, default=8, help="number of SKAB files, at most 34")
    args = parser.parse_args()
    data, out = Path(os.environ["ANDON_DATA"]), args.out
    short = [*skab_sets(data, out / "data", args.skab_files), tennessee_set(data, out / "data")]
    long = [("converter", CONVERTER_TRAIN, CONVERTER_TEST)]
    code = 0
    for name, text in (("short", plan(short, SHORT)), ("long", plan(long, ""))):
        path = out / f"plan-{name}.toml"
        path.write_text(text, encoding="utf-8")
        code = max(code, andon(["compare", "--plan", str(path), "--out", str(out / "cells")]))
    return code


if __name__ == "__main__":
    raise SystemExit(main())
