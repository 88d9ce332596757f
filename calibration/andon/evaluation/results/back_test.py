"""Compare the stored verdicts of two models about the same items.

Items are matched by `item_id`. Rows that have no partner yet are kept until it arrives. If both folders list the items in the
same order, as for the same input, these are the rows of few blocks. A part is rejected if one of its frames is. Parts with a
frame whose input was lost in one of the folders are left out.
"""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.archive.results import Results
from andon.evaluation.figures.paired_decisions import PairedDecisions
from andon.evaluation.results.part_counts import Mark, Outcome
from andon.evaluation.results.repeated_items import find_repeats
from andon.evaluation.results.result_rows import RowReader
from andon.foundation.errors import DataError

MOST_LISTED = 1000
"""Upper limit of listed items."""


class DiscordantItem(Struct, frozen=True, kw_only=True):
    """An item about which the models disagree. Numbers are None where a model judged nothing."""

    item_id: str
    uri: str | None
    label: str | None
    old_status: str
    new_status: str
    old_score: float | None
    new_score: float | None
    old_level: float | None
    """Score on a readable scale: 0 is a typical good part, 1 the threshold."""
    new_level: float | None


class BackTest(Struct, frozen=True, kw_only=True):
    """Comparison of two models."""

    decisions: PairedDecisions
    """All parts."""
    good: PairedDecisions | None
    """Parts with the label of good ones. None if there are none."""
    independent: bool
    """False if the calibration found that parts or windows depend on each other. The p-value is then too small."""
    lost: int
    """Parts that are left out, because the input of a frame was lost."""
    only_new: int
    """Items that only the new folder contains."""
    only_old: int
    discordant_items: int
    """Number of items about which the models disagree."""
    items: tuple[DiscordantItem, ...]
    """At most `MOST_LISTED` of these items, those with the highest level first."""


def back_test(new: Results, old: Results, *, good_label: str = "good", rows_at_once: int = 100_000) -> BackTest:
    """Compare two folders with verdicts about the same items.

    Args:
        new: verdicts of the new model. Parts and labels are those of this folder.
        old: verdicts of the old model.
        good_label: label of the parts that a person has confirmed as good.
        rows_at_once: number of rows that are collected before they are matched.

    Raises:
        DataError: a folder is damaged, rows of one item have different values, or the folders have no common item that both
            models judged.
    """
    readers = [RowReader(folder, good_label, repeats=find_repeats(folder)) for folder in (new, old)]
    matcher = _Matcher(rows_at_once)
    pairs, discordant = _PairCounts(), _DiscordantItems()
    for table in matcher.tables(_new_rows(readers[0]), _old_rows(readers[1])):
        pairs.add(table)
        discordant.add(table)
    counts = pairs.counts()
    judged = counts.copy()
    judged[:, Outcome.LOST, :] = judged[:, :, Outcome.LOST] = 0
    if not judged.any():
        raise DataError(
            f"{new.folder} and {old.folder}: expected common items that both models judged, got {counts.sum()} common parts, all "
            "of them lost. Compare results of the same input."
        )
    good = judged[Mark.GOOD]
    promise = new.manifest.identity.promise
    return BackTest(
        decisions=_decisions(judged.sum(axis=0)),
        good=_decisions(good) if good.any() else None,
        independent=promise is None or (promise.tau <= 1 and not promise.one_per_lot),
        lost=int(counts.sum() - judged.sum()),
        only_new=matcher.left[0],
        only_old=matcher.left[1],
        discordant_items=discordant.count,
        items=discordant.items(),
    )


def _decisions(counts: NDArray[np.int64]) -> PairedDecisions:
    """Return the table of two by two.

    Args:
        counts: ``[old outcome, new outcome]`` number of parts.
    """
    passed = slice(0, Outcome.REJECTED)
    rejected = slice(Outcome.REJECTED, None)
    return PairedDecisions(
        both_pass=int(counts[passed, passed].sum()),
        only_new_rejects=int(counts[passed, rejected].sum()),
        only_old_rejects=int(counts[rejected, passed].sum()),
        both_reject=int(counts[rejected, rejected].sum()),
    )


def _new_rows(reader: RowReader) -> Iterator[Any]:
    import pyarrow as pa

    for rows in reader.batches("item_id", "level", "uri"):
        table, arrays = rows.table, rows.arrays
        part = pa.nulls(len(table), pa.string()) if arrays.part is None else arrays.part
        own = {name: table[name] for name in ("item_id", "uri", "label")}
        own |= {f"new_{name}": table[name] for name in ("status", "score", "level")}
        own |= {
            "line": arrays.line,
            "lot": arrays.lot,
            "part": part,
            "mark": arrays.mark,
            "new_outcome": arrays.outcome,
        }
        yield _plain(pa.table(own))


def _old_rows(reader: RowReader) -> Iterator[Any]:
    import pyarrow as pa

    for rows in reader.batches("item_id", "level"):
        own = {f"old_{name}": rows.table[name] for name in ("status", "score", "level")}
        yield _plain(pa.table({"item_id": rows.table["item_id"], **own, "old_outcome": rows.arrays.outcome}))


def _plain(table: Any) -> Any:
    """Return the table without dictionaries, because those of two blocks differ."""
    import pyarrow as pa

    fields = [
        pa.field(field.name, field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


class _Matcher:
    """Match rows of two folders by their item. Each item occurs once in a folder."""

    def __init__(self, rows_at_once: int) -> None:
        self.left = (0, 0)
        """Rows of the new and of the old folder without a partner, after the last table."""
        self._rows_at_once = rows_at_once

    def tables(self, new: Iterator[Any], old: Iterator[Any]) -> Iterator[Any]:
        """Yield the matched rows as tables with the columns of both sides."""
        import pyarrow as pa

        waiting: tuple[list[Any], list[Any]] = ([], [])
        fresh = kept = 0
        for pair in zip_longest(new, old):
            for tables, table in zip(waiting, pair, strict=True):
                if table is not None:
                    tables.append(table)
                    fresh += len(table)
            # less often the more rows wait, so that the work stays proportional to the rows
            if fresh >= max(self._rows_at_once, kept) and all(waiting):
                joined, *left = self._join(*(pa.concat_tables(tables) for tables in waiting))
                waiting = ([left[0]], [left[1]])
                fresh, kept = 0, len(left[0]) + len(left[1])
                yield joined
        if fresh and all(waiting):
            joined, *left = self._join(*(pa.concat_tables(tables) for tables in waiting))
            waiting = ([left[0]], [left[1]])
            yield joined
        self.left = (sum(map(len, waiting[0])), sum(map(len, waiting[1])))

    def _join(self, new: Any, old: Any) -> tuple[Any, Any, Any]:
        """Return the matched rows, and the rows of both sides without a partner."""
        import pyarrow as pa

        items = pa.chunked_array([*new["item_id"].chunks, *old["item_id"].chunks], pa.string())
        # one number for each item, the same on both sides
        codes = items.combine_chunks().dictionary_encode().indices.to_numpy()
        sides = codes[: len(new)], codes[len(new) :]
        place: NDArray[np.int64] = np.full(int(codes.max(initial=-1)) + 1, -1, np.int64)
        place[sides[1]] = np.arange(len(old))
        partner = place[sides[0]]
        found = partner >= 0
        matched = old.take(pa.array(partner[found]))
        joined = new.filter(pa.array(found))
        for name in matched.column_names[1:]:
            joined = joined.append_column(name, matched[name])
        alone = np.ones(len(old), np.bool_)
        alone[partner[found]] = False
        return joined, new.filter(pa.array(~found)), old.filter(pa.array(alone))


class _PairCounts:
    """Number of parts by label, outcome of the old model and outcome of the new one."""

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros((len(Mark), len(Outcome), len(Outcome)), np.int64)
        self._frames: list[Any] = []

    def add(self, table: Any) -> None:
        """Count matched rows."""
        import pyarrow.compute as pc

        columns = table.select(["mark", "old_outcome", "new_outcome", "line", "lot", "part"])
        alone = pc.is_null(columns["part"])
        self._count(columns.filter(alone))
        frames = columns.filter(pc.invert(alone))
        if len(frames):
            self._frames.append(frames)

    def counts(self) -> NDArray[np.int64]:
        """Return ``[mark, old outcome, new outcome]``. No rows can be added afterwards."""
        import pyarrow as pa

        if self._frames:
            grouped = pa.concat_tables(self._frames).group_by(["line", "lot", "part"], use_threads=False)
            parts = grouped.aggregate([(name, "max") for name in ("mark", "old_outcome", "new_outcome")])
            self._count(parts.select([f"{name}_max" for name in ("mark", "old_outcome", "new_outcome")]))
            self._frames = []
        return self._counts

    def _count(self, rows: Any) -> None:
        np.add.at(self._counts, tuple(rows.column(place).to_numpy() for place in range(3)), 1)


class _DiscordantItems:
    """The items about which the models disagree, those with the highest level first."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: Any = None

    def add(self, table: Any) -> None:
        """Keep the items of these rows that are worse than the others."""
        import pyarrow as pa

        old, new = table["old_outcome"].to_numpy(), table["new_outcome"].to_numpy()
        differ = (
            ((old >= Outcome.REJECTED) != (new >= Outcome.REJECTED)) & (old != Outcome.LOST) & (new != Outcome.LOST)
        )
        self.count += int(differ.sum())
        found = table.filter(pa.array(differ))
        levels = np.fmax(found["old_level"].to_numpy(), found["new_level"].to_numpy())
        invalid = np.fmax(old, new)[differ] == Outcome.INVALID_CONTENT  # no number is as bad as an item without one
        found = found.append_column("worst", pa.array(np.where(invalid, np.inf, levels)))
        kept = found if self._kept is None else pa.concat_tables([self._kept, found])
        self._kept = kept.sort_by([("worst", "descending"), ("item_id", "ascending")]).slice(0, MOST_LISTED)

    def items(self) -> tuple[DiscordantItem, ...]:
        """Return the items, the worst first."""
        if self._kept is None:
            return ()
        rows = self._kept.select(list(DiscordantItem.__struct_fields__)).to_pylist()
        return tuple(DiscordantItem(**row) for row in rows)
