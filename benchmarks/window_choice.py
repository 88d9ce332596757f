"""List the windows that a detector gets for each log of a folder: with `--steps auto`, and without a flag.

    OMP_NUM_THREADS=1 python -m benchmarks.window_choice FOLDER [--rows N] [--detector pca]

Each CSV file below the folder counts as a log of its own, and of each only the first N rows are used. Prints one JSON line.
`refused` counts the logs that are refused with auto, without a flag, and with the default length given as a flag. `lengths`
counts how often each length was taken.
"""

import argparse
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from andon.foundation.errors import AndonError
from andon.sources.kinds import logs
from andon.sources.series.good_rows import good_rows
from andon.sources.series.log import Log
from andon.sources.series.windows import window_spec
from andon.training.recipe.recipe import Recipe, recipe
from andon.training.runs.window_choice import AUTO, WindowRequest, require_split
from andon.training.runs.window_settings import chosen_settings


def first_rows(log: Log, rows: int | None) -> Log:
    """Return the first rows of a log with one run, without labels that are all good."""
    run = log.runs[0]
    labelled = None if run.faulty is None else run.faulty[:rows]
    short = replace(run, times_s=run.times_s[:rows], values=run.values[:rows], faulty=labelled)
    return replace(log, runs=(short,))


def _require(known: Recipe, settings: Any, log: Log) -> None:
    usual = window_spec(log.found, settings.steps, settings.hop)
    require_split(good_rows(log), usual, validation=known.uses_validation)


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--detector", default="pca")
    args = parser.parse_args()
    known = recipe(args.detector)
    settings = known.settings()
    lengths: dict[str, Counter[int]] = {"auto": Counter(), "no_flag": Counter()}
    requests = {"auto": WindowRequest(steps=AUTO), "no_flag": WindowRequest(shorten=True)}
    refused, count = Counter[str](), 0
    for path in sorted(args.folder.rglob("*.csv")):
        count += 1
        log = first_rows(logs.collect(str(path)), args.rows)
        for name, request in requests.items():
            try:
                chosen, _, _ = chosen_settings(known, settings, request, log, share=0.3)
                _require(known, chosen, log)
                lengths[name][chosen.steps] += 1
            except AndonError:
                refused[name] += 1
        try:
            _require(known, settings, log)
        except AndonError:
            refused["default_as_flag"] += 1
    line = {
        "logs": count,
        "rows": args.rows,
        "refused": {name: refused[name] for name in (*requests, "default_as_flag")},
        "lengths": {name: dict(sorted(taken.items())) for name, taken in lengths.items()},
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
