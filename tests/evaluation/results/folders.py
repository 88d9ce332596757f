"""Write folders of results for tests and benchmarks, from arrays, as quickly as an archive of a million rows needs it."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from andon.archive.columns import schema, write_options
from andon.archive.results import (
    BlockEntry,
    Counts,
    Identity,
    Manifest,
    ModelIdentity,
    Promise,
    block_path,
    write_manifest,
)

ONE_PERCENT = Promise(
    promised=True,
    kind="promise",
    alpha=0.01,
    confidence=0.95,
    unit="part",
    grouped=False,
    sentence="with 95 % confidence at most 1 % of good parts are rejected",
)

Texts = Sequence[str | None] | NDArray[np.object_] | None


def identity(model: str = "bottle", *, threshold: float = 1.0, promise: Promise | None = ONE_PERCENT) -> Identity:
    digest = hashlib.sha256(model.encode()).hexdigest()
    return Identity(
        model=ModelIdentity(
            name=model,
            detector="mean_picture",
            detector_version=1,
            sha256=digest,
            short=digest[:12],
            threshold=threshold,
        ),
        promise=promise,
        versions={},
        provider="cpu",
        precision="float32",
    )


def write_results(
    folder: Path,
    score: ArrayLike,
    *,
    judged_by: Identity | None = None,
    item_id: Texts = None,
    line: Texts = None,
    lot: Texts = None,
    part_id: Texts = None,
    label: Texts = None,
    day: ArrayLike | None = None,
    reason: Texts = None,
    block_rows: int = 2000,
    complete: bool = True,
) -> Path:
    """Write a folder of results.

    Args:
        folder: the new folder.
        score: ``[n]``; a row is REJECT above the threshold of the model, and INVALID with NaN.
        judged_by: the model. Its threshold decides.
        item_id: names. Default: numbers.
        line: of each row, as the further columns.
        lot: of each row.
        part_id: of each row.
        label: of each row.
        day: days since 1970-01-01, with fractions.
        reason: code of the reason of each INVALID row. Default: unreadable.
        block_rows: rows of a block.
        complete: whether the manifest states that all blocks are there.
    """
    who = identity() if judged_by is None else judged_by
    scores = np.asarray(score, np.float32)
    count = len(scores)
    missing = np.isnan(scores)
    above = scores > np.float32(who.model.threshold)
    status = np.array(["OK", "REJECT", "INVALID"], object)[np.where(missing, 2, above.astype(np.int64))]
    names = [f"{number:08}" for number in range(count)] if item_id is None else item_id
    why = np.array([None, "unreadable"], object)[missing.astype(np.int64)] if reason is None else reason
    numbers = pa.array(scores, mask=missing)
    times = None if day is None else (np.asarray(day, np.float64) * 86_400e6).astype(np.int64)
    given = {
        "item_id": pa.array(names, pa.string()),
        "captured_at": None if times is None else pa.array(times).cast(pa.timestamp("us", tz="UTC")),
        "score": numbers,
        "level": pa.array(scores / np.float32(who.model.threshold), mask=missing),
        "threshold": pa.array(np.full(count, who.model.threshold, np.float32)),
        "status": pa.array(status, pa.string()),
        "reason": pa.array(why, pa.string()),
        "model_sha256": pa.array([who.model.sha256]).take(pa.array(np.zeros(count, np.int64))),
    } | {
        name: None if texts is None else pa.array(texts, pa.string())
        for name, texts in (("line", line), ("lot", lot), ("part_id", part_id), ("label", label))
    }
    wanted = schema()
    plain = pa.table(
        {
            field.name: pa.nulls(count, _plain(field.type)) if given.get(field.name) is None else given[field.name]
            for field in wanted
        }
    )
    (folder / "blocks").mkdir(parents=True)
    entries = []
    for at, start in enumerate(range(0, count, block_rows)):
        key = f"{at:06}"
        piece = of_block(_block(plain.slice(start, block_rows), wanted), key)
        buffer = io.BytesIO()
        pq.write_table(piece, buffer, **write_options())
        block_path(folder, key).write_bytes(buffer.getvalue())
        counts = Counts(rows=len(piece))
        entries.append(BlockEntry(key=key, counts=counts, sha256=hashlib.sha256(buffer.getvalue()).hexdigest()))
    head = Manifest(plan="p", input="in/", complete=complete, identity=who, counts=Counts(rows=count))
    write_manifest(folder, head, entries)
    return folder


def of_block(rows: pa.Table, key: str) -> pa.Table:
    """Return the rows with the key of their block."""
    at = rows.schema.get_field_index("block")
    keys = pa.array([key]).take(pa.array(np.zeros(len(rows), np.int64))).dictionary_encode()
    return rows.set_column(at, rows.schema.field(at), keys)


def _plain(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _block(plain: pa.Table, wanted: pa.Schema) -> pa.Table:
    """Return the rows with dictionaries that contain the words of these rows only."""
    columns = []
    for field in wanted:
        column = plain[field.name].combine_chunks()
        columns.append((column.dictionary_encode() if pa.types.is_dictionary(field.type) else column).cast(field.type))
    return pa.table(columns, schema=wanted)
