"""Quantiles of scores by line and day, with a memory that does not grow with the number of rows.

Scores have no bounds, so bins of a fixed width do not fit. A float32 consists of sign, exponent and mantissa. Read as an integer,
these bits have the order of the numbers. The first 18 of the 32 bits are the bin. A bin is therefore at most 1/512 as wide as
its numbers, and a quantile is accurate to 0.1 %. The counts of two batches can be added.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from andon.evaluation.results.part_counts import NO_DAY, Mark, Names

_DROPPED = 14
"""Low bits of a float32 that do not belong to the bin."""
_BINS = 1 << (32 - _DROPPED)
_MOST_PENDING = 2_000_000


class DayQuantiles(NamedTuple):
    """Quantiles of the scores of each day, in order of the days."""

    days: NDArray[np.int64]
    """``[n]`` days since 1970-01-01 (UTC)."""
    items: NDArray[np.int64]
    """``[n]`` number of scores."""
    quantiles: NDArray[np.float64]
    """``[n, q]``."""


class ScoreHistory:
    """Number of scores by bin, for each line, day and label."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int, int, int], int] = {}
        self._keys: list[NDArray[np.int64]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._pending = self._reduced = 0
        self.without_day = 0
        """Number of scores that were left out because they have no time."""

    def add(
        self,
        line: NDArray[np.int32],
        day: NDArray[np.int32],
        mark: NDArray[np.int8],
        score: NDArray[np.float32],
    ) -> None:
        """Add rows.

        Args:
            line: ``[n]`` codes of lines.
            day: ``[n]`` days, or `NO_DAY`. Rows without a day are counted and left out.
            mark: ``[n]`` labels (`Mark`).
            score: ``[n]`` finite scores.
        """
        dated = day != NO_DAY
        self.without_day += int((~dated).sum())
        from_zero = day[dated].astype(np.int64) + (1 << 31)
        packed = ((line[dated].astype(np.int64) + 1) << 34) + (from_zero << 2) + mark[dated]
        values, places = np.unique(packed, return_inverse=True)
        known = []
        for value in values.tolist():
            group = ((value >> 34) - 1, (value >> 2 & 0xFFFF_FFFF) - (1 << 31), value & 3)
            known.append(self._groups.setdefault(group, len(self._groups)))
        groups: NDArray[np.int64] = np.array(known, np.int64)[places]
        keys, counts = np.unique(groups * _BINS + bins(score[dated]), return_counts=True)
        self._keys.append(keys)
        self._counts.append(counts)
        self._pending += len(keys)
        if self._pending > self._reduced + _MOST_PENDING:
            self._reduce()

    def quantiles(self, lines: Names, shares: ArrayLike, marks: Iterable[Mark]) -> dict[str | None, DayQuantiles]:
        """Return the quantiles of each day, for each line in the order of their names.

        Args:
            lines: names of the lines.
            shares: ``[q]`` within 0 .. 1, for example 0.5 for the median.
            marks: labels of the scores that count.
        """
        self._reduce()
        wanted, names = frozenset(marks), [*lines.texts, None]
        groups, key_bins = np.divmod(self._keys[0], _BINS)
        days: dict[str | None, dict[int, list[slice]]] = {}
        for (line, day, mark), group in self._groups.items():
            if mark in wanted:
                start, end = np.searchsorted(groups, [group, group + 1])
                days.setdefault(names[line], {}).setdefault(day, []).append(slice(int(start), int(end)))
        history = {}
        for name in sorted(days, key=lambda name: (name is None, name or "")):
            ordered = sorted(days[name].items())
            rows, items = [], []
            for _, pieces in ordered:
                of_day = np.concatenate([key_bins[piece] for piece in pieces])
                counts = np.concatenate([self._counts[0][piece] for piece in pieces])
                order = np.argsort(of_day, kind="stable")
                rows.append(_quantiles(of_day[order], counts[order], np.asarray(shares, np.float64)))
                items.append(int(counts.sum()))
            history[name] = DayQuantiles(np.array([day for day, _ in ordered]), np.array(items), np.array(rows))
        return history

    def _reduce(self) -> None:
        """Add the counts of equal bins."""
        keys = np.concatenate([np.zeros(0, np.int64), *self._keys])
        counts = np.concatenate([np.zeros(0, np.int64), *self._counts])
        distinct, places = np.unique(keys, return_inverse=True)
        sums: NDArray[np.int64] = np.zeros(len(distinct), np.int64)
        np.add.at(sums, places, counts)
        self._keys, self._counts = [distinct], [sums]
        self._pending = self._reduced = len(distinct)


def bins(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the bin of each score. Higher scores have higher or equal bins."""
    positive_zero = np.ascontiguousarray(scores, np.float32) + np.float32(
        0
    )  # -0 and 0 are equal, but their bits differ
    bits = positive_zero.view(np.uint32)
    # two's complement order: flip all bits of negative numbers, and the sign of the others
    ordered = np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))
    return (ordered >> np.uint32(_DROPPED)).astype(np.int64)


def middle_of(places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the number in the middle of each bin."""
    ordered = ((places << _DROPPED) | (1 << (_DROPPED - 1))).astype(np.uint32)
    bits = np.where(ordered >> np.uint32(31), ordered & np.uint32((1 << 31) - 1), ~ordered)
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def _quantiles(
    places: NDArray[np.int64], counts: NDArray[np.int64], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return for each share the lowest score that at least this share of the scores does not exceed."""
    up_to = np.cumsum(counts)
    ranks = np.maximum(1, np.ceil(shares * up_to[-1] - 1e-9))
    return middle_of(places[np.searchsorted(up_to, ranks)])
