"""A verdict as one JSON line: stable, documented keys, those of ``andon score --json`` and when and where the item was judged."""

from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, Struct, UnsetType

from andon.monitor.judging import Outcome
from andon.runtime.schema import Status, json_number

_LONGEST_DETAIL = 500
"""Characters: an error message must not make a line longer than what is written in one piece."""


class Record(Struct, frozen=True, kw_only=True):
    """One line. Numbers are null where nothing was judged."""

    seq: int
    """From 1 in the order of the source, again with each start; the item of a missing number was dropped, or its line lost."""
    at: str
    """Wall time of the verdict, ISO 8601, UTC, milliseconds: for people; order is `seq`."""
    item: str
    """Key of the item, e.g. ``good/012.png`` or ``line.mp4#120``."""
    unit: str | UnsetType = UNSET
    """frame or window: what the item is. Its key does not show it."""
    part: str | UnsetType = UNSET
    """The physical thing, where it is not the item itself."""
    time_s: float | None
    """Source time, seconds."""
    status: str
    """OK, REVIEW, INVALID, REJECT."""
    reason: str
    """Code of the reason, such as ``no_contrast``; empty unless INVALID."""
    score: float | None
    level: float | None
    p_value: float | None
    threshold: float | None
    model: str
    """Short digest of the model file that judged."""
    detail: str | UnsetType = UNSET
    """In words what was wrong, where the item is INVALID."""


def record(outcome: Outcome) -> Record:
    """Return an outcome as it is written."""
    ref, verdict = outcome.ref, outcome.verdict
    detail = (outcome.detail or verdict.reason.text) if verdict.status is Status.INVALID else ""
    return Record(
        seq=outcome.seq,
        at=iso(outcome.wall_s),
        item=_text(ref.key),
        unit=outcome.unit,
        part=_text(ref.part) if ref.part != ref.key else UNSET,
        time_s=json_number(ref.time_s) if ref.time_s is not None else None,
        status=verdict.status.name,
        reason=verdict.reason.code,
        score=json_number(verdict.score),
        level=json_number(verdict.level),
        p_value=json_number(verdict.p_value),
        threshold=json_number(verdict.threshold),
        model=verdict.model,
        detail=_text(detail)[:_LONGEST_DETAIL] if detail else UNSET,
    )


def line(written: Record) -> bytes:
    """Return the record as one line of UTF-8, with its end. JSON escapes line breaks: there is no other one inside."""
    return _encoder.encode(written) + b"\n"


def iso(wall_s: float) -> str:
    """Return seconds since 1970 as people read them.

    >>> iso(1_795_305_600.25)
    '2026-11-22T00:00:00.250Z'
    """
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _text(text: str) -> str:
    """Return text that UTF-8 can hold: file names may be any bytes, and half a surrogate pair stands for each other byte."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text


_encoder = msgspec.json.Encoder()
