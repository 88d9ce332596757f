"""Define the columns of result files: one row for each item, the same for frames and windows.

All floats are null where nothing was judged. The encodings are those with the smallest files: 8 bytes a row instead of 12.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from andon.foundation.extras import needs

SCHEMA = "andon.result/1"
"""Version of the columns and of the footer. A minor addition is a new nullable column. Everything else is a new number."""

WORDS = ("uri", "line", "part_id", "lot", "status", "reason", "label", "model_sha256", "block")
"""Columns of few different values, stored as dictionaries."""
NUMBERS = ("score", "level", "p_value", "threshold")
"""Columns of float32."""
GIVEN = ("line", "part_id", "lot", "captured_at", "label")
"""Columns that are copied from the input, where it has them."""


class Facts(Struct, frozen=True, kw_only=True):
    """Facts that the input states about one item."""

    item_id: str
    """Name of the item, unique in the input."""
    uri: str | None = None
    """Path or address of its file. None if the bytes are in the input itself and have no name."""
    captured_at: datetime | None = None
    line: str | None = None
    part_id: str | None = None
    lot: str | None = None
    label: str | None = None


class Row(Struct, frozen=True, kw_only=True):
    """One judged item."""

    facts: Facts
    status: str
    """OK, REVIEW, REJECT or INVALID."""
    reason: str
    """Code of the reason, for example ``unreadable``. Empty for most rows."""
    detail: str
    """Readable description of the problem. Empty unless there is a reason."""
    score: float
    level: float
    p_value: float
    threshold: float
    map: bytes | None = None
    """PNG of the heat map."""


def known_time(seconds: float) -> datetime | None:
    """Return the time that is this many seconds after 1970 in UTC, or None if it is not in the years 1 to 9999.

    >>> known_time(1.5), known_time(1e12)
    (datetime.datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=datetime.timezone.utc), None)
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # which one depends on the platform
        return None


def schema() -> Any:
    """Return the columns as a schema of pyarrow.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    with needs("archive", "an archive of results"):
        import pyarrow as pa
    word = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            pa.field("item_id", pa.string(), nullable=False),
            pa.field("uri", word),
            pa.field("line", word),
            pa.field("part_id", word),
            pa.field("lot", word),
            pa.field("captured_at", pa.timestamp("us", tz="UTC")),
            pa.field("status", word, nullable=False),
            pa.field("reason", word),
            pa.field("detail", pa.string()),
            *(pa.field(name, pa.float32()) for name in NUMBERS),
            pa.field("label", word),
            pa.field("map", pa.binary()),
            pa.field("model_sha256", word, nullable=False),
            pa.field("block", word, nullable=False),
        ]
    )


def table_of(rows: Sequence[Row], *, model_sha256: str, block: str) -> Any:
    """Return rows as a table of pyarrow with the columns of `schema`."""
    import pyarrow as pa

    facts = [row.facts for row in rows]
    columns: dict[str, list[Any]] = {
        "item_id": [one.item_id for one in facts],
        "uri": [one.uri for one in facts],
        **{name: [getattr(one, name) for one in facts] for name in GIVEN},
        "status": [row.status for row in rows],
        "reason": [row.reason or None for row in rows],
        "detail": [row.detail or None for row in rows],
        **{name: [_number(getattr(row, name)) for row in rows] for name in NUMBERS},
        "map": [row.map for row in rows],
        "model_sha256": [model_sha256] * len(rows),
        "block": [block] * len(rows),
    }
    wanted = schema()
    return pa.table([_array(columns[field.name], field.type) for field in wanted], schema=wanted)


def write_options() -> dict[str, Any]:
    """Return the encodings as arguments of ``pyarrow.parquet.write_table``."""
    return {
        "compression": "zstd",
        "write_page_checksum": True,  # a flipped bit is an error for readers, not another score
        "use_dictionary": list(WORDS),
        "column_encoding": {"item_id": "DELTA_BYTE_ARRAY", **dict.fromkeys(NUMBERS, "BYTE_STREAM_SPLIT")},
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _array(values: list[Any], kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode()
    return pa.array(values, kind)
