"""Read the rows of a results folder as arrays: what each row means for a count, and its place in line, lot and time."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from andon.archive.results import Results
from andon.evaluation.results.part_counts import NO_DAY, Mark, Names, Outcome, RowArrays
from andon.evaluation.results.repeated_items import NO_REPEATS, Repeats
from andon.foundation.errors import DataError
from andon.runtime.schema import Reason, Status

_COLUMNS = (
    "line", "lot", "part_id", "captured_at", "status", "reason", "score", "threshold", "label", "model_sha256",
)  # fmt: skip
_US_A_DAY = 86_400_000_000
_REASONS = {reason.code: reason for reason in Reason}


class ResultRows(NamedTuple):
    """Rows of one block."""

    arrays: RowArrays
    score: NDArray[np.float32]
    """``[n]``, NaN where nothing was judged."""
    table: Any
    """The same rows as a table of pyarrow, with the further columns."""


class RowReader:
    """Read the rows of results block by block. It collects the names of lines and lots, and counts rows and labels.

    Args:
        results: the folder.
        good_label: label of the parts that a person has confirmed as good.
        lines: names of lines, to share the numbers with another folder.
        lots: names of lots.
        repeats: rows to leave out, because they repeat an item. See `andon.evaluation.results.repeated_items`.
    """

    def __init__(
        self,
        results: Results,
        good_label: str,
        *,
        lines: Names | None = None,
        lots: Names | None = None,
        repeats: Repeats = NO_REPEATS,
    ) -> None:
        self.lines = Names() if lines is None else lines
        self.lots = Names() if lots is None else lots
        self.labels: Counter[str] = Counter()
        self.rows = 0
        self.undated = 0
        """Rows without a time."""
        self._results = results
        self._good_label = good_label
        self._repeats = repeats

    def batches(self, *further: str) -> Iterator[ResultRows]:
        """Yield the rows of each block.

        Args:
            further: names of columns that the tables contain in addition.

        Raises:
            DataError: a block is missing or damaged, has other columns, or was judged by another model file.
        """
        wanted = (*_COLUMNS, *further)
        for place, table in enumerate(self._results.tables(wanted)):
            missing = [name for name in wanted if name not in table.column_names]
            if missing:
                raise DataError(
                    f"{self._results.folder}: expected blocks with the column {missing[0]}, got one without it. Give a folder "
                    "that 'andon score --out' wrote."
                )
            left_out = self._repeats.rows.get(place)
            rows = table if left_out is None else table.filter(~left_out)
            if len(rows):
                yield self._rows(rows.combine_chunks())

    def mark(self) -> frozenset[Mark]:
        """Return the marks of the parts that count: the good ones, or all parts if no row has a label.

        Raises:
            DataError: there are labels, but none is that of good parts.
        """
        if not self.labels:
            return frozenset(Mark)
        if self._good_label not in self.labels:
            listed = ", ".join(repr(label) for label, _ in self.labels.most_common(5))
            raise DataError(
                f"{self._results.folder}: expected rows with the label {self._good_label!r}, got {listed}. Name the label of "
                f"good parts, for example --good-label {self.labels.most_common(1)[0][0]}."
            )
        return frozenset([Mark.GOOD])

    def _rows(self, table: Any) -> ResultRows:
        self.rows += len(table)
        self._refuse_other_models(table)
        outcome, score = self._outcomes(table)
        day = _days(table["captured_at"])
        self.undated += int((day == NO_DAY).sum())
        part = table["part_id"]
        arrays = RowArrays(
            line=self.lines.codes(_column(table, "line")),
            lot=self.lots.codes(_column(table, "lot")),
            day=day,
            mark=self._marks(table),
            outcome=outcome,
            part=None if part.null_count == len(part) else _column(table, "part_id").cast("string"),
        )
        return ResultRows(arrays, score, table)

    def _refuse_other_models(self, table: Any) -> None:
        expected = self._results.manifest.identity.model.sha256
        found = set(table["model_sha256"].unique().to_pylist())
        if found != {expected}:
            other = next(iter(found - {expected}))
            raise DataError(
                f"{self._results.folder}: expected rows of the model {expected[:12]}, as the manifest states, got rows of "
                f"{str(other)[:12]}. Score with each model into its own folder, and compare two folders with --against."
            )

    def _marks(self, table: Any) -> NDArray[np.int8]:
        words = Names()
        codes = words.codes(_column(table, "label"))
        counts = np.bincount(codes[codes >= 0], minlength=len(words)).tolist()
        for text, count in zip(words.texts, counts, strict=True):
            if count:
                self.labels[text] += count
        marks = [Mark.GOOD if text == self._good_label else Mark.OTHER for text in words.texts]
        return np.array([*marks, Mark.UNKNOWN], np.int8)[codes]

    def _outcomes(self, table: Any) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return the outcome of each row, as `andon.calibration.units` counts it."""
        statuses, reasons = Names(), Names()
        status_codes = statuses.codes(_column(table, "status"))
        reason_codes = reasons.codes(_column(table, "reason"))
        unknown = [text for text in statuses.texts if text not in Status.__members__]
        if unknown or (status_codes < 0).any():
            raise DataError(
                f"{self._results.folder}: expected the status OK, REVIEW, REJECT or INVALID, got "
                f"{unknown[0] if unknown else None!r}. The folder is damaged, or another program wrote it."
            )
        status = np.array([Status[text] for text in statuses.texts], np.int8)[status_codes]
        lost = [_REASONS.get(text, Reason.OTHER) >= Reason.UNREADABLE for text in reasons.texts]
        never_judged = np.array([*lost, False])[reason_codes]
        outside = np.array([text == Reason.OUTSIDE_TRAINING.code for text in reasons.texts] + [False])[reason_codes]
        score = table["score"].to_numpy().astype(np.float32, copy=False)
        above = score > table["threshold"].to_numpy()
        judged = (status != Status.INVALID) & np.isfinite(score)
        self._refuse_contradictions(judged & ~outside & (above != (status == Status.REJECT)), status, score)
        outcome: NDArray[np.int8] = np.full(len(table), Outcome.PASSED, np.int8)
        outcome[status == Status.REJECT] = Outcome.REJECTED
        outcome[~judged & (status != Status.REJECT)] = Outcome.INVALID_CONTENT
        outcome[(status == Status.INVALID) & never_judged] = Outcome.LOST
        return outcome, np.where(judged, score, np.float32("nan"))

    def _refuse_contradictions(
        self, wrong: NDArray[np.bool_], status: NDArray[np.int8], score: NDArray[np.float32]
    ) -> None:
        if wrong.any():
            place = int(wrong.argmax())
            raise DataError(
                f"{self._results.folder}: expected REJECT exactly for scores above the threshold, got the status "
                f"{Status(int(status[place])).name} with the score {score[place]:g}. The folder is damaged."
            )


def _column(table: Any, name: str) -> Any:
    """Return a column of a table without chunks."""
    column = table[name]
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _days(times: Any) -> NDArray[np.int32]:
    import pyarrow as pa

    microseconds = times.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    known = times.is_valid().to_numpy()
    days = microseconds.fill_null(0).to_numpy() // _US_A_DAY
    return np.where(known, days, NO_DAY).astype(np.int32)
