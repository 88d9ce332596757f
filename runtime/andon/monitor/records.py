"""A verdict as one JSON line with stable keys: the keys of ``andon score --json``, and the time and origin of the item."""

from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, Struct, UnsetType

from andon.monitor.judging import Outcome
from andon.runtime.schema import Reason, Status, json_number

_LONGEST_DETAIL = 500
"""Upper limit of characters. A long error message must not make a line too long for one write."""


class AlarmChange(Struct, frozen=True, kw_only=True):
    """Change of an alarm of the line with an item."""

    name: str
    """rejects, or health for INVALID items."""
    event: str
    """raised, repeated or cleared."""
    number: int
    """Number of the alarm of this name, from 1."""


class Record(Struct, frozen=True, kw_only=True):
    """One JSON line. Numbers are null where nothing was judged."""

    seq: int
    """Number of the item, from 1 at each start, in the order of the source.

    If a number is missing, the item was dropped or the line was lost.
    """
    at: str
    """Wall time of the verdict: ISO 8601, UTC, milliseconds. For display only. Use `seq` for ordering."""
    item: str
    """Key of the item, for example ``good/012.png`` or ``line.mp4#120``."""
    unit: str | UnsetType = UNSET
    """Type of the item: frame or window. The key does not show the type."""
    part: str | UnsetType = UNSET
    """Name of the physical part, where it differs from the item."""
    time_s: float | None
    """Time in the source, in seconds."""
    status: str
    """OK, REVIEW, INVALID or REJECT."""
    reason: str
    """Code of the reason, for example ``no_contrast``. Empty unless INVALID."""
    score: float | None
    level: float | None
    p_value: float | None
    threshold: float | None
    model: str
    """Short digest of the model file that judged."""
    channel: str | UnsetType = UNSET
    """Sensor channel to look at first, for a window that is not OK."""
    detail: str | UnsetType = UNSET
    """Description of the problem of an INVALID item."""
    line: str | UnsetType = UNSET
    """Name of the line, if it has one."""
    alarms: list[AlarmChange] | UnsetType = UNSET
    """Present if this item raised or cleared an alarm."""


def record(outcome: Outcome) -> Record:
    """Convert an outcome to its record."""
    ref, verdict = outcome.ref, outcome.verdict
    explained = verdict.status is Status.INVALID or verdict.reason is Reason.OUTSIDE_TRAINING
    detail = (outcome.detail or verdict.reason.text) if explained else ""
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
        channel=_text(outcome.channel) if outcome.channel else UNSET,
        detail=_text(detail)[:_LONGEST_DETAIL] if detail else UNSET,
        line=outcome.line or UNSET,
        alarms=[AlarmChange(name=one.name, event=one.kind, number=one.number) for one in outcome.alarms] or UNSET,
    )


def line(written: Record) -> bytes:
    """Return the record as one line of UTF-8 with its line break. JSON escapes all other line breaks."""
    return _encoder.encode(written) + b"\n"


def iso(wall_s: float) -> str:
    """Format seconds since 1970 as ISO 8601 in UTC.

    >>> iso(1_795_305_600.25)
    '2026-11-22T00:00:00.250Z'
    """
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _text(text: str) -> str:
    """Return text that can be encoded as UTF-8. Invalid bytes of file names, which are lone surrogates, are escaped."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text


_encoder = msgspec.json.Encoder()
