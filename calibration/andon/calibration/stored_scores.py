"""Read the scores of good parts that a model file judged earlier: JSON lines of verdicts, or a CSV table."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from andon.calibration.scoring import Scores
from andon.foundation.errors import DataError
from andon.runtime.items import Ref
from andon.runtime.model_file.format import ModelFile
from andon.runtime.schema import Reason, Status
from andon.sources.grouping import regroup

_COLUMNS = ("item", "score", "model")


class _Line(Struct, frozen=True, kw_only=True):
    """One verdict. Other fields are ignored."""

    item: str
    score: float | None
    model: str
    status: str = ""
    reason: str = ""
    part: str = ""
    outside_promise: tuple[str, ...] = ()


def read_scores(path: Path, model: ModelFile, *, group: str | None = None) -> Scores:
    """Read the scores of good parts.

    Args:
        path: JSON lines as ``andon score --json`` or ``andon monitor`` writes them, or a CSV file with the columns item, score
            and model, and optionally status, reason and part.
        model: the file that is calibrated. It must have given the scores.
        group: rule that assigns items to parts and lots (`sources.grouping`); None for the parts in the file.

    Raises:
        DataError: the file cannot be read, a line is not a verdict, an item occurs twice, or another file gave the scores.
    """
    lines = list(_csv_lines(path) if path.suffix.lower() == ".csv" else _json_lines(path))
    if not lines:
        raise DataError(f"{path}: expected at least one verdict, got an empty file.")
    for number, line in lines:
        if line.model != model.short_digest:
            raise DataError(
                f"{path}, line {number}: expected verdicts of the model file {model.short_digest}, got one of "
                f"{line.model or 'an unknown file'}. Scores of another file cannot be compared. Judge the parts with this file: "
                "andon score FILE.onnx FOLDER --json."
            )
        if "provider" in line.outside_promise:
            raise DataError(
                f"{path}, line {number}: expected scores of the device type that the file was calibrated on, got scores of "
                "another. Score the parts there: andon calibrate FILE.onnx --good PATH --device DEVICE."
            )
    twice = _first_twice([line.item for _, line in lines])
    if twice:
        raise DataError(f"{path}: expected each item once, got {twice!r} more than once. Leave out repeated items.")
    refs = [Ref(key=line.item, part=line.part or line.item, group=line.part or line.item) for _, line in lines]
    calibration = model.card.calibration
    return Scores(
        refs=tuple(refs if group is None else regroup(refs, group)),
        score=np.array([np.nan if line.score is None else line.score for _, line in lines]),
        status=np.array([_status(line) for _, line in lines], np.uint8),
        reason=np.array([_reason(line) for _, line in lines], np.uint8),
        map_values=np.empty(0, np.float32),
        provider=calibration.provider if calibration else None,
    )


def _json_lines(path: Path) -> Iterator[tuple[int, _Line]]:
    for number, text in enumerate(_text(path).splitlines(), 1):
        if text.strip():
            try:
                yield number, msgspec.json.decode(text, type=_Line)
            except msgspec.MsgspecError as error:
                raise DataError(
                    f"{path}, line {number}: expected a verdict with item, score and model, got: {error}."
                ) from error


def _csv_lines(path: Path) -> Iterator[tuple[int, _Line]]:
    rows = csv.DictReader(_text(path).splitlines())
    missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise DataError(
            f"{path}: expected the columns {', '.join(_COLUMNS)}, found no {', '.join(missing)}. The column model holds the "
            "first 12 digits of the file's digest (andon inspect)."
        )
    for number, row in enumerate(rows, 2):
        plain: dict[str, Any] = {name: row[name] or "" for name in ("item", "model")}
        plain |= {name: row[name] for name in ("status", "reason", "part") if row.get(name)}
        try:
            score = float(row["score"]) if row["score"] else None
        except ValueError as error:
            raise DataError(f"{path}, line {number}: expected a number as score, got {row['score']!r}.") from error
        yield number, _Line(score=score, **plain)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error


def _first_twice(keys: list[str]) -> str:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return ""


def _status(line: _Line) -> Status:
    """Return the status as calibration needs it: INVALID or judged."""
    return Status.INVALID if line.status == Status.INVALID.name or line.score is None else Status.OK


def _reason(line: _Line) -> Reason:
    if _status(line) is not Status.INVALID:
        return Reason.NONE
    return next((reason for reason in Reason if reason.code == line.reason and reason), Reason.LOST)
