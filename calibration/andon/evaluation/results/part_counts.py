"""Count the parts of stored verdicts by line, day, lot and label. Rows arrive in batches, in any order.

A part is rejected if one of its frames is, because the highest score of its frames decides. A part with a frame that is INVALID
because of its content counts as rejected, as in a calibration (`andon.calibration.units`). Other parts with a frame whose input
was lost are left out.

Memory grows with the number of different lines, days and lots. It also grows with the number of parts if rows have a part,
because frames of one part may be in different batches.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

NO_DAY = 2**31 - 1
"""Day of a row without a time. It is later than all days, so the earliest day of a part is a real one if there is one."""

_COLUMNS = ("line", "lot", "day", "mark", "outcome")
_PIECE = 65_536


class Outcome(IntEnum):
    """Meaning of a row for a count. The highest value over the frames of a part is the outcome of the part."""

    PASSED = 0
    LOST = 1
    REJECTED = 2
    INVALID_CONTENT = 3


class Mark(IntEnum):
    """Meaning of a label. The highest value over the frames of a part applies to the part."""

    UNKNOWN = 0
    GOOD = 1
    OTHER = 2


class RowArrays(NamedTuple):
    """Rows of stored verdicts as arrays of equal length."""

    line: NDArray[np.int32]
    """Code of the line in `Names`, -1 without one."""
    lot: NDArray[np.int32]
    """Code of the lot, -1 without one."""
    day: NDArray[np.int32]
    """Days since 1970-01-01 (UTC), `NO_DAY` without a time."""
    mark: NDArray[np.int8]
    outcome: NDArray[np.int8]
    part: Any = None
    """pyarrow array of strings, null for a row that is a part of its own. None if no row has a part."""

    def select(self, kept: NDArray[np.bool_]) -> "RowArrays":
        """Return these rows without their part."""
        return RowArrays(self.line[kept], self.lot[kept], self.day[kept], self.mark[kept], self.outcome[kept])


class Cell(NamedTuple):
    """Parts of one line, day, lot and label are counted together."""

    line: str | None
    day: int | None
    lot: str | None
    mark: Mark


Cells = dict[Cell, NDArray[np.int64]]
"""Number of parts of each cell, by `Outcome`."""


class Names:
    """Give each text a small number, the same in all batches."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def codes(self, column: Any) -> NDArray[np.int32]:
        """Return the number of each text of a pyarrow array, with or without a dictionary; -1 for null."""
        import pyarrow as pa

        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        known = [self._codes.setdefault(text, len(self._codes)) for text in column.dictionary.to_pylist()]
        places = column.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
        codes: NDArray[np.int32] = np.array([*known, -1], np.int32)[places]
        return codes

    @property
    def texts(self) -> list[str]:
        """All texts, at the place of their number."""
        return list(self._codes)


class PartCounts:
    """Number of parts by outcome, for each `Cell`.

    Args:
        most_pending: number of rows of parts that are kept before they are reduced to one row per part.
    """

    def __init__(self, most_pending: int = 1_000_000) -> None:
        self._most_pending = most_pending
        self._cells: dict[tuple[int, ...], NDArray[np.int64]] = {}
        self._frames: list[Any] = []
        self._pending = self._reduced = 0

    def add(self, rows: RowArrays) -> None:
        """Count these rows. Rows of one part may be in several calls."""
        if rows.part is None:
            self._count(rows)
            return
        alone = rows.part.is_null().to_numpy(zero_copy_only=False)
        if alone.any():
            self._count(rows.select(alone))
        if not alone.all():
            self._keep(rows, ~alone)

    def cells(self, lines: Names, lots: Names) -> Cells:
        """Return the number of parts of each cell, with the texts of lines and lots. No rows can be added afterwards."""
        if self._frames:
            self._reduce()
            parts = self._frames.pop()
            self._count(RowArrays(**{name: parts[name].to_numpy() for name in _COLUMNS}))
        line_of, lot_of = [*lines.texts, None], [*lots.texts, None]  # -1 is the last one
        return {
            Cell(line_of[line], None if day == NO_DAY else day, lot_of[lot], Mark(mark)): counts
            for (line, day, lot, mark), counts in self._cells.items()
        }

    def _count(self, rows: RowArrays) -> None:
        for start in range(0, len(rows.line), _PIECE):
            columns = [
                getattr(rows, name)[start : start + _PIECE] for name in ("line", "day", "lot", "mark", "outcome")
            ]
            for key, count in distinct(columns):
                self._cells.setdefault(key[:4], np.zeros(len(Outcome), np.int64))[key[4]] += count

    def _keep(self, rows: RowArrays, kept: NDArray[np.bool_]) -> None:
        import pyarrow as pa

        columns = {name: pa.array(getattr(rows, name)[kept]) for name in _COLUMNS}
        self._frames.append(pa.table(columns | {"part": rows.part.filter(pa.array(kept))}))
        self._pending += int(kept.sum())
        # less often the more parts there are, so that the work stays proportional to the rows
        if self._pending > self._reduced + self._most_pending:
            self._reduce()

    def _reduce(self) -> None:
        """Reduce the kept rows to one row per part."""
        import pyarrow as pa

        grouped = pa.concat_tables(self._frames).group_by(["line", "lot", "part"], use_threads=False)
        parts = grouped.aggregate([("day", "min"), ("mark", "max"), ("outcome", "max")])
        values = {"day": parts["day_min"], "mark": parts["mark_max"], "outcome": parts["outcome_max"]}
        self._frames = [pa.table({"line": parts["line"], "lot": parts["lot"], **values, "part": parts["part"]})]
        self._pending = self._reduced = len(parts)


class Count(NamedTuple):
    """Number of parts of a group."""

    parts: int = 0
    """Parts that count: passed, rejected or INVALID because of their content."""
    rejects: int = 0
    lost: int = 0

    def plus(self, other: "Count") -> "Count":
        """Return the sum of both counts."""
        return Count(self.parts + other.parts, self.rejects + other.rejects, self.lost + other.lost)


Group = str | int | None


def count_by(
    cells: Cells,
    marks: Iterable[Mark],
    *,
    by: Literal["line", "day", "lot"] | None = None,
    one_per_lot: bool = False,
    seed: int = 0,
) -> dict[Group, Count]:
    """Return the number of parts of each group, in order of their names. Parts without a name are the last group, None.

    Args:
        cells: parts by cell.
        marks: labels that count.
        by: field of `Cell` that makes the groups. None: all parts are one group, with the key None.
        one_per_lot: draw one part at random from each lot of a group, because parts of a lot depend on each other. Parts without
            a lot count one by one.
        seed: seed of the draw. The draw depends only on it, on the name of the lot, and on its numbers of parts.
    """
    wanted = frozenset(marks)
    sums: dict[tuple[Group, str | None], Count] = {}
    for cell, counts in cells.items():
        if cell.mark in wanted:
            key = (None if by is None else getattr(cell, by), cell.lot if one_per_lot else None)
            sums[key] = sums.get(key, Count()).plus(_counted(counts))
    groups: dict[Group, Count] = {}
    for (group, lot), count in sums.items():
        one = count if lot is None or not count.parts else _drawn(count, f"{seed}:{lot}")
        groups[group] = groups.get(group, Count()).plus(one)
    return dict(sorted(groups.items(), key=lambda entry: (entry[0] is None, 0 if entry[0] is None else entry[0])))


def distinct(columns: Sequence[NDArray[Any]]) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield each distinct row of these integer columns with its number.

    Args:
        columns: each ``[n]``, n at most 100 000, at most 3 of them with more than 100 distinct values.
    """
    packed: NDArray[np.int64] = np.zeros(len(columns[0]), np.int64)
    values = []
    for column in columns:
        seen, places = _ranked(column)
        packed = packed * len(seen) + places
        values.append(seen)
    keys, counts = np.unique(packed, return_counts=True)
    key_columns = []
    for seen in reversed(values):
        keys, places = np.divmod(keys, len(seen))
        key_columns.append(seen[places].tolist())
    yield from zip(zip(*reversed(key_columns), strict=True), counts.tolist(), strict=True)


def _ranked(column: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the values and the place of each value in them, without a sort if the values span a small range."""
    low = int(column.min())
    span = int(column.max()) - low + 1
    if span <= 1024:
        return np.arange(low, low + span), column.astype(np.int64) - low
    return np.unique(column, return_inverse=True)


def _counted(counts: NDArray[np.int64]) -> Count:
    lost = int(counts[Outcome.LOST])
    rejects = int(counts[Outcome.REJECTED] + counts[Outcome.INVALID_CONTENT])
    return Count(int(counts.sum()) - lost, rejects, lost)


def _drawn(count: Count, key: str) -> Count:
    """Return the count of one part that is drawn at random. The rejected ones are the first."""
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") * count.parts >> 64
    return Count(1, int(place < count.rejects), count.lost)
