"""Rows of results as arrays, and folders that are not what they should be."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.evaluation.results.folders import identity, write_results

from andon.archive.columns import write_options
from andon.archive.results import block_path, open_results
from andon.evaluation.results.part_counts import NO_DAY, Mark, Outcome
from andon.evaluation.results.result_rows import RowReader
from andon.foundation.errors import DataError


def read(folder: Path) -> RowReader:
    reader = RowReader(open_results(folder), "good")
    for _ in reader.batches():
        pass
    return reader


def rewritten(folder: Path, **columns: pa.Array) -> None:
    """Replace columns of the only block."""
    path = block_path(folder, "000000")
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, path, **write_options())


def test_each_row_gets_its_outcome_label_day_and_score(tmp_path: Path) -> None:
    nan = np.nan
    write_results(
        tmp_path / "r",
        [0.5, 1.5, nan, nan, nan],
        reason=[None, None, "unreadable", "not_finite", "a reason of a newer version"],
        label=["good", "bad", None, "good", "good"],
        day=[20_000.99, -0.5, 0.0, 1.0, 2.0],
        line=["x", None, "x", "y", "y"],
    )
    reader = RowReader(open_results(tmp_path / "r"), "good")

    (rows,) = reader.batches()

    lost = Outcome.LOST
    assert rows.arrays.outcome.tolist() == [Outcome.PASSED, Outcome.REJECTED, lost, Outcome.INVALID_CONTENT, lost]
    assert rows.arrays.mark.tolist() == [Mark.GOOD, Mark.OTHER, Mark.UNKNOWN, Mark.GOOD, Mark.GOOD]
    assert rows.arrays.day.tolist() == [20_000, -1, 0, 1, 2]
    assert rows.arrays.line.tolist() == [0, -1, 0, 1, 1]
    assert rows.arrays.part is None
    assert np.isnan(rows.score).tolist() == [False, False, True, True, True]
    assert dict(reader.labels) == {"good": 3, "bad": 1}


def test_rows_without_a_time_have_no_day(tmp_path: Path) -> None:
    write_results(tmp_path / "r", [0.5, 0.5])
    reader = RowReader(open_results(tmp_path / "r"), "good")

    (rows,) = reader.batches()

    assert rows.arrays.day.tolist() == [NO_DAY, NO_DAY]
    assert reader.undated == 2


def test_only_the_needed_columns_of_one_block_at_a_time_are_read(tmp_path: Path) -> None:
    write_results(tmp_path / "r", np.zeros(100), block_rows=30)
    reader = RowReader(open_results(tmp_path / "r"), "good")

    blocks = [rows.table for rows in reader.batches("level")]

    assert [len(table) for table in blocks] == [30, 30, 30, 10]
    assert not {"map", "uri", "item_id", "detail"} & set(blocks[0].column_names)


def test_rows_of_another_model_are_refused(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "r", np.zeros(4))
    other = identity("other").model.sha256
    rewritten(folder, model_sha256=pa.array([identity().model.sha256, other, other, other]).dictionary_encode())

    with pytest.raises(
        DataError, match=rf"expected rows of the model .*got rows of {other[:12]}\. Score with each model"
    ):
        read(folder)


def test_a_status_that_contradicts_the_score_is_refused(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "r", np.zeros(4))
    rewritten(folder, score=pa.array([0, 0, 7.5, 0], pa.float32()))

    with pytest.raises(DataError, match=r"got the status OK with the score 7\.5\. The folder is damaged"):
        read(folder)


def test_a_window_outside_the_training_is_rejected_whatever_its_score(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "r", np.zeros(2))
    rewritten(folder, status=pa.array(["OK", "REJECT"]), reason=pa.array([None, "outside_training"]))
    (rows,) = RowReader(open_results(folder), "good").batches()

    assert rows.arrays.outcome.tolist() == [Outcome.PASSED, Outcome.REJECTED]


@pytest.mark.parametrize("status", ["FINE", None])
def test_an_unknown_status_is_refused(tmp_path: Path, status: str | None) -> None:
    folder = write_results(tmp_path / "r", np.zeros(2))
    rewritten(folder, status=pa.array(["OK", status]))

    with pytest.raises(DataError, match="expected the status OK, REVIEW, REJECT or INVALID, got"):
        read(folder)


def test_a_block_of_another_program_is_refused(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "r", np.zeros(2))
    pq.write_table(pa.table({"item_id": ["a", "b"], "score": [0.0, 1.0]}), block_path(folder, "000000"))

    with pytest.raises(
        DataError, match=r"expected blocks with the column line, got one without it\. Give a folder that"
    ):
        read(folder)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_flipped_bit_in_a_block_is_an_error_and_not_another_score(tmp_path: Path, place: float) -> None:
    rng = np.random.default_rng(0)
    folder = write_results(tmp_path / "r", rng.random(2000), item_id=[""] * 2000)
    path = block_path(folder, "000000")
    data = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(9)
    assert column.path_in_schema == "score"
    start = column.data_page_offset
    data[start + int(place * column.total_compressed_size)] ^= 1
    path.write_bytes(data)

    with pytest.raises(DataError, match="cannot be read"):
        read(folder)


def test_a_missing_block_is_an_error(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "r", np.zeros(10), block_rows=5)
    block_path(folder, "000001").unlink()

    with pytest.raises(DataError, match=r"000001\.parquet: expected the block that _manifest.json names"):
        read(folder)
