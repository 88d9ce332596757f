"""List the windows that `--steps auto` chooses for each log of a folder, and whether a detector can be trained with them.

    OMP_NUM_THREADS=1 python -m benchmarks.window_choice FOLDER [--rows N] [--detector pca]

Each CSV file below the folder counts as a log of its own, and of each only the first N rows are used. Prints one JSON line: the
number of logs, the number that is refused with auto and with the defaults of the detector, and how often each length was chosen.
"""

import argparse
import json
import os
from collections import Counter
from pathlib import Path

from msgspec.structs import replace

from andon.foundation.errors import AndonError
from andon.sources.kinds import logs
from andon.sources.series.good_rows import good_rows
from andon.sources.series.log import Log
from andon.sources.series.windows import window_spec
from andon.training.recipe.recipe import recipe
from andon.training.runs.window_choice import AUTO, WindowRequest, require_split
from andon.training.runs.window_settings import chosen_settings


def first_rows(log: Log, rows: int | None) -> Log:
    """Return the first rows of a log with one run, without labels that are all good."""
    run = log.runs[0]
    labelled = None if run.faulty is None else run.faulty[:rows]
    short = replace(run, times_s=run.times_s[:rows], values=run.values[:rows], faulty=labelled)
    return replace(log, runs=(short,))


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--detector", default="pca")
    args = parser.parse_args()
    known = recipe(args.detector)
    settings = known.settings()
    lengths, refused, refused_by_default, count = Counter[int](), 0, 0, 0
    for path in sorted(args.folder.rglob("*.csv")):
        count += 1
        log = first_rows(logs.collect(str(path)), args.rows)
        try:
            _, _, choice = chosen_settings(known, settings, WindowRequest(steps=AUTO), log, share=0.3)
            lengths[choice.steps] += 1
        except AndonError:
            refused += 1
        try:
            usual = window_spec(log.found, getattr(settings, "steps"), getattr(settings, "hop"))  # noqa: B009
            require_split(good_rows(log), usual, validation=known.uses_validation)
        except AndonError:
            refused_by_default += 1
    line = {
        "logs": count,
        "rows": args.rows,
        "refused_auto": refused,
        "refused_default": refused_by_default,
        "lengths": dict(sorted(lengths.items())),
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
