"""A cheap archive for the benchmarks of engines: small pictures of noise, and a net of a few nodes.

The work for one picture is small on purpose. A heavier net would hide what an engine costs.
"""

import argparse
import functools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace
from tests.runtime.hand_made import FRAME, model_bytes

from andon.archive.block import Job, Task
from andon.archive.columns import Facts, Row, table_of, write_options
from andon.archive.judging import Receipt, score_block
from andon.archive.results import BlockEntry, Counts, open_results
from andon.archive.score import open_archive, score_archive
from andon.engines.engine import open_engine
from andon.runtime.detector import Detector
from andon.sources.pictures.decode import decode

SIDE = 64
_SPEC = replace(FRAME, frame_size=(SIDE, SIDE))


def write_input(folder: Path, count: int, *, block_rows: int, seed: int) -> Path:
    """Write a model file and a table of PNG pictures, one of ten of them bright. Return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model_bytes(_SPEC, threshold=0.25))
    path = folder / f"pictures-{count}.parquet"
    generator = np.random.default_rng(seed)
    schema = pa.schema([("item_id", pa.string()), ("bytes", pa.binary()), ("lot", pa.string()), ("label", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, count, block_rows):
            rows = []
            for number in range(first, min(first + block_rows, count)):
                level = 220 if number % 10 == 9 else 128
                pixels = generator.integers(level - 30, level + 31, (SIDE, SIDE, 3), dtype=np.uint8)
                _, data = cv2.imencode(".png", pixels)
                rows.append(
                    {"item_id": f"{number:08}", "bytes": bytes(data), "lot": f"lot-{number // 5000}", "label": "good"}
                )
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return path


def plain_loop(model: Path, table: Path, out: Path) -> None:
    """Judge all rows in one process and write one file, without blocks, plan and engine."""
    detector = Detector.load(model)
    rows = []
    with pq.ParquetFile(table) as opened:
        for batch in opened.iter_batches(batch_size=256, use_threads=False):
            for one in batch.to_pylist():
                verdict = detector(decode(one["bytes"], channels=3, name=one["item_id"]))
                rows.append(
                    Row(
                        facts=Facts(item_id=one["item_id"], lot=one["lot"], label=one["label"]),
                        status=verdict.status.name,
                        reason=verdict.reason.code,
                        detail=verdict.reason.text,
                        score=verdict.score,
                        level=verdict.level,
                        p_value=verdict.p_value,
                        threshold=verdict.threshold,
                    )
                )
    out.mkdir(parents=True, exist_ok=True)
    done = table_of(rows, model_sha256=detector.model.file_sha256, block="")
    pq.write_table(done, out / "loop.parquet", **write_options())


def plain_columns(out: Path) -> dict[str, Any]:
    """Return all columns except the block, without dictionaries, sorted by item."""
    loop = out / "loop.parquet"
    table = pq.read_table(loop) if loop.exists() else open_results(out).table()
    table = table.sort_by("item_id").combine_chunks()
    columns = {}
    for field in table.schema:
        if field.name != "block":
            column = table.column(field.name)
            wanted = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            columns[field.name] = column.cast(wanted).combine_chunks()
    return columns


def logged(log: str, pause_s: float, job: Job, task: Task) -> Receipt:
    """Judge a block after a pause, and note its start and its end in a file that survives a kill."""
    _note(log, f"start {task.key} {os.getpid()}\n")
    time.sleep(pause_s)
    receipt = score_block(job, task)
    if not receipt.found:
        _note(log, f"end {task.key} {os.getpid()}\n")
    return receipt


def _note(log: str, line: str) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, line.encode())  # one call: lines of several processes do not mix
    os.close(handle)


def no_operation(_job: Job, task: Task) -> Receipt:
    """Return a receipt without judging the block."""
    rows = task.block.rows or 0
    return Receipt(key=task.key, entry=BlockEntry(key=task.key, counts=Counts(rows=rows), sha256="0" * 64))


def main() -> None:
    """Run one way over an archive: this is the command that the benchmarks measure and kill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["loop", "local", "ray"])
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--block-rows", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", default="")
    parser.add_argument("--pause-s", type=float, default=0.0, help="pause before each block, with --log")
    args = parser.parse_args()
    model = args.table.with_name("model.onnx")
    if args.way == "loop":
        plain_loop(model, args.table, args.out)
        return
    archive = open_archive(model, str(args.table), args.out, block_rows=args.block_rows)
    judge = functools.partial(logged, args.log, args.pause_s) if args.log else score_block
    with open_engine(args.way, workers=args.workers) as engine:
        outcome = score_archive(archive, engine, judge=judge)
    print(json.dumps({"judged": outcome.judged, "before": outcome.before, "complete": outcome.complete}))
    sys.exit(0 if outcome.complete else 3)


if __name__ == "__main__":
    main()
