"""Parts of stored verdicts, counted in batches: the same numbers in any order and with any batch size."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.evaluation.results import part_counts
from andon.evaluation.results.part_counts import (
    NO_DAY,
    Cell,
    Count,
    Mark,
    Names,
    Outcome,
    PartCounts,
    RowArrays,
    count_by,
)


class Row(NamedTuple):
    line: str | None
    lot: str | None
    day: int | None
    mark: Mark
    outcome: Outcome
    part: str | None


ROWS = st.lists(
    st.builds(
        Row,
        line=st.sampled_from(["a", "b", None]),
        lot=st.sampled_from(["l1", "l2", None]),
        day=st.sampled_from([-3, 20_000, 20_001, None]),
        mark=st.sampled_from(Mark),
        outcome=st.sampled_from(Outcome),
        part=st.sampled_from(["1", "2", "3", None]),
    ),
    min_size=1,
    max_size=40,
)


def arrays(rows: list[Row], lines: Names, lots: Names) -> RowArrays:
    return RowArrays(
        line=lines.codes(pa.array([row.line for row in rows], pa.string()).dictionary_encode()),
        lot=lots.codes(pa.array([row.lot for row in rows], pa.string())),
        day=np.array([NO_DAY if row.day is None else row.day for row in rows], np.int32),
        mark=np.array([row.mark for row in rows], np.int8),
        outcome=np.array([row.outcome for row in rows], np.int8),
        part=pa.array([row.part for row in rows], pa.string()),
    )


def counted(rows: list[Row], cut: int) -> dict[Cell, list[int]]:
    lines, lots, counts = Names(), Names(), PartCounts()
    for piece in (rows[:cut], rows[cut:]):
        if piece:
            counts.add(arrays(piece, lines, lots))
    return {cell: numbers.tolist() for cell, numbers in counts.cells(lines, lots).items()}


def one_by_one(rows: list[Row]) -> dict[Cell, list[int]]:
    """Count in the slow and obvious way."""
    parts: dict[object, list[Row]] = defaultdict(list)
    for place, row in enumerate(rows):
        parts[(row.line, row.lot, row.part) if row.part else place].append(row)
    cells: dict[Cell, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for frames in parts.values():
        day = min((frame.day for frame in frames if frame.day is not None), default=None)
        cell = Cell(frames[0].line, day, frames[0].lot, max(frame.mark for frame in frames))
        cells[cell][max(frame.outcome for frame in frames)] += 1
    return dict(cells)


@given(rows=ROWS, cut=st.integers(0, 40))
def test_the_counts_equal_those_of_a_slow_loop_wherever_the_rows_are_cut(rows: list[Row], cut: int) -> None:
    assert counted(rows, cut) == one_by_one(rows)


@settings(max_examples=30)
@given(rows=ROWS, seed=st.integers(0, 99))
def test_the_order_of_the_rows_does_not_matter(rows: list[Row], seed: int) -> None:
    mixed = [rows[place] for place in np.random.default_rng(seed).permutation(len(rows))]

    assert counted(mixed, len(rows) // 2) == counted(rows, 0)


def test_rows_of_parts_are_reduced_while_they_arrive() -> None:
    rows = [Row("a", None, 1, Mark.GOOD, Outcome.PASSED, str(part % 5)) for part in range(60)]
    lines, lots, counts = Names(), Names(), PartCounts(most_pending=10)
    for row in rows:
        counts.add(arrays([row], lines, lots))

    assert counts.cells(lines, lots)[Cell("a", 1, None, Mark.GOOD)].tolist() == [5, 0, 0, 0]


def cells(*entries: tuple[Cell, list[int]]) -> part_counts.Cells:
    return {cell: np.array(numbers) for cell, numbers in entries}


def test_a_group_counts_the_parts_with_the_wanted_labels() -> None:
    found = cells(
        (Cell("b", 1, "l1", Mark.GOOD), [90, 3, 2, 1]),
        (Cell("a", 1, "l2", Mark.GOOD), [10, 0, 0, 0]),
        (Cell("a", 2, None, Mark.GOOD), [5, 0, 1, 0]),
        (Cell("a", None, "l2", Mark.OTHER), [0, 0, 50, 0]),
    )

    assert count_by(found, [Mark.GOOD]) == {None: Count(parts=109, rejects=4, lost=3)}
    assert count_by(found, [Mark.GOOD], by="line") == {"a": Count(16, 1, 0), "b": Count(93, 3, 3)}
    assert count_by(found, Mark, by="day") == {1: Count(103, 3, 3), 2: Count(6, 1, 0), None: Count(50, 50, 0)}
    assert list(count_by(found, [Mark.GOOD], by="lot")) == ["l1", "l2", None]


def test_one_part_of_each_lot_is_drawn_and_the_draw_of_a_lot_depends_on_no_other_lot() -> None:
    lots = {f"lot {number}": Cell("a", 1, f"lot {number}", Mark.GOOD) for number in range(2000)}
    found = cells(*((cell, [7, 1, 2, 1]) for cell in lots.values()))

    drawn = count_by(found, [Mark.GOOD], one_per_lot=True)[None]
    each = [count_by({cell: found[cell]}, [Mark.GOOD], one_per_lot=True)[None].rejects for cell in lots.values()]

    assert (drawn.parts, drawn.lost) == (2000, 2000)
    assert drawn.rejects == sum(each)
    assert abs(drawn.rejects - 600) < 80  # 3 of 10 parts are rejected: 600 expected, standard deviation 20
    assert count_by(found, [Mark.GOOD], one_per_lot=True, seed=1)[None] != drawn


@given(passed=st.integers(0, 9), rejected=st.integers(0, 9), lost=st.integers(0, 3))
def test_a_lot_of_which_all_or_no_parts_are_rejected_counts_as_such(passed: int, rejected: int, lost: int) -> None:
    found = cells((Cell("a", 1, "x", Mark.GOOD), [passed, lost, rejected, 0]))

    one = count_by(found, [Mark.GOOD], one_per_lot=True)[None]

    assert one.parts == min(1, passed + rejected)
    if not rejected or not passed:
        assert one.rejects == min(1, rejected)


def test_names_keep_their_number_in_later_batches() -> None:
    names = Names()

    first = names.codes(pa.array(["x", None, "y"]).dictionary_encode())
    second = names.codes(pa.array(["z", "y"]).dictionary_encode())

    assert (first.tolist(), second.tolist(), names.texts) == ([0, -1, 1], [2, 1], ["x", "y", "z"])
