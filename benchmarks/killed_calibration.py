"""Kill `andon calibrate` at random moments, and check that the model file is always the old one or the complete new one.

    OMP_NUM_THREADS=1 python -m benchmarks.killed_calibration FILE.onnx --good FOLDER

The calibration replaces a copy of FILE.onnx under its own name. Half of the kills are at a uniform moment of the run. The other
half are within 5 ms after the temporary file appears, because the replacement is short. Prints one JSON line:

* ``killed``: kills before the end of the command.
* ``old``, ``new``, ``neither``: which file was there afterwards. ``neither`` must be 0.
* ``temporary_files_left``: temporary files that a killed command did not remove.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from andon.runtime.model_file.format import parse


def killed(words: list[str], folder: Path, after_s: float | None, dice: random.Random) -> bool:
    """Start the command and kill it. Return whether it still ran.

    Args:
        words: the command.
        folder: folder in which the temporary file appears.
        after_s: moment of the kill. None: soon after the temporary file appears.
        dice: for the delay after the temporary file appears.
    """
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if after_s is not None:
        time.sleep(after_s)
    else:
        before = set(folder.glob(".*.tmp"))
        while process.poll() is None and set(folder.glob(".*.tmp")) == before:
            time.sleep(0.0001)
        time.sleep(dice.uniform(0.0, 0.005))
    running = process.poll() is None
    if running:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return running


def main() -> None:
    """Kill, check, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE.onnx", help="calibrated model file")
    parser.add_argument("--good", required=True, metavar="FOLDER", help="good parts")
    parser.add_argument("--kills", type=int, default=200, help="number of kills (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: 0)")
    args = parser.parse_args()
    old, dice = args.file.read_bytes(), random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        file = folder / "line.onnx"
        words = [sys.executable, "-m", "andon", "calibrate", str(file), "--good", args.good, "-o", str(file)]
        words += ["--force", "--reason", "killed at random moments"]
        shutil.copyfile(args.file, file)
        begin = time.monotonic()
        subprocess.run(words, check=True, capture_output=True)
        took = time.monotonic() - begin
        new = parse(file.read_bytes())
        counts: Counter[str] = Counter()
        for number in range(args.kills):
            file.write_bytes(old)
            in_time = killed(words, folder, dice.uniform(0.0, took) if number % 2 else None, dice)
            data = file.read_bytes()
            counts["killed"] += in_time
            if data == old:
                counts["old"] += 1
            elif parse(data).threshold == new.threshold:  # `parse` compares the digest of all bytes
                counts["new"] += 1
            else:
                counts["neither"] += 1
        left = len(list(folder.glob(".*.tmp")))
    names = ("killed", "old", "new", "neither")
    figures = {
        "kills": args.kills,
        "seed": args.seed,
        "run_s": round(took, 2),
        **{name: counts[name] for name in names},
    }
    print(json.dumps(figures | {"temporary_files_left": left, "load": round(os.getloadavg()[0], 1)}))


if __name__ == "__main__":
    main()
