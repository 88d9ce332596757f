"""Measure how much the memory of the driver grows with the number of blocks, and how long it needs for a block.

The input is a table file that exists only as a plan, and no block is judged: the judge returns a receipt. All that is left is the
driver: plan, keys, receipts and manifest.

    OMP_NUM_THREADS=1 python -m benchmarks.archive_driver_memory --few 1000 --many 100000
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.archive_workload import no_operation
from tests.archive.one_process import OneProcess
from tests.runtime.hand_made import FRAME, model_bytes

from andon.archive.block import Job, Version
from andon.archive.plan import ArchiveInput, TableFile
from andon.archive.results import MANIFEST, identity_of, write_block
from andon.archive.score import Archive, score_archive
from andon.runtime.detector import Detector

_ROWS, _GROUPS = 2000, 1000


class Driver(NamedTuple):
    """Figures of one number of blocks, from a process of its own."""

    blocks: int
    peak_mb: float
    cpu_s: float
    manifest_mb: float


def drive(blocks: int, folder: Path) -> Driver:
    """Run the driver in this process."""
    detector = Detector.from_bytes(model_bytes(FRAME, threshold=0.25))
    files = [
        TableFile(f"/archive/part-{at:05}.parquet", Version(1, at), (_ROWS,) * min(_GROUPS, blocks - first))
        for at, first in enumerate(range(0, blocks, _GROUPS))
    ]
    job = Job(
        model="/model.onnx", model_sha256=detector.model.file_sha256, precision="float32", device="cpu", out=str(folder)
    )
    archive = Archive(job, ArchiveInput("/archive", files, _ROWS))
    # the manifest takes its identity from the file of the first block
    first = next(archive.tasks())
    write_block(folder, first.key, [], identity_of(detector))
    begun_s = time.process_time()
    outcome = score_archive(archive, OneProcess(), judge=no_operation, new_plan=True)
    if not outcome.complete or outcome.plan.blocks != blocks:
        raise SystemExit(f"expected {blocks} blocks with receipts, got {outcome}")
    peak_kb = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return Driver(
        blocks=blocks,
        peak_mb=round(int(peak_kb.split()[1]) / 1024, 1),
        cpu_s=round(time.process_time() - begun_s, 2),
        manifest_mb=round((folder / MANIFEST).stat().st_size / 1e6, 1),
    )


def measure(few: int, many: int) -> tuple[Driver, Driver]:
    """Run the driver for both numbers, each in a process of its own."""
    found = []
    for blocks in (few, many):
        with tempfile.TemporaryDirectory(prefix="archive-driver-") as folder:
            words = [sys.executable, "-m", "benchmarks.archive_driver_memory", "--drive", str(blocks), folder]
            done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=600)
            found.append(Driver(**json.loads(done.stdout)))
    return found[0], found[1]


def main() -> None:
    """Measure, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=1_000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--drive", nargs=2, metavar=("BLOCKS", "FOLDER"), help="run in this process")
    args = parser.parse_args()
    if args.drive:
        print(json.dumps(drive(int(args.drive[0]), Path(args.drive[1]))._asdict()))
        return
    few, many = measure(args.few, args.many)
    grown = round(many.peak_mb - few.peak_mb, 1)
    load = round(os.getloadavg()[0], 1)
    print(json.dumps({"few": few._asdict(), "many": many._asdict(), "grown_mb": grown, "load": load}))


if __name__ == "__main__":
    main()
