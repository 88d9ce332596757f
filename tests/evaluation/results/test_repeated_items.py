"""Items that several rows name: equal rows count once, others are refused unless the user separates them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.evaluation.results.folders import identity, write_results

from andon.archive.results import block_path, open_results
from andon.evaluation.results.promise_audit import ResultsAudit, audit_results, tally
from andon.evaluation.results.repeated_items import find_repeats
from andon.foundation.errors import DataError


def audited(folder: Path, **options: Any) -> ResultsAudit:
    return audit_results(tally(open_results(folder), **options), today="2026-11-30")


def test_equal_rows_in_two_blocks_count_once_and_are_reported(tmp_path: Path) -> None:
    names = ["a", "b", "c", "a", "b", "d"]
    write_results(tmp_path / "r", [2.0, 0.0, 0.0, 2.0, 0.0, 0.0], item_id=names, label=["good"] * 6, block_rows=2)

    audit = audited(tmp_path / "r")

    assert audit.total is not None
    assert (audit.rows, audit.repeated, audit.total.audit.parts, audit.total.audit.rejects) == (4, 2, 4, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"score": [0.0, 0.5]},
        {"label": ["good", "bad"]},
        {"label": ["good", None]},
        {"day": [1.0, 2.0]},
        {"line": ["L1", "L2"]},
        {"part_id": ["p", "q"]},
        {"lot": [None, "lot"]},
        {"score": [0.0, np.nan], "reason": [None, "unreadable"]},
    ],
    ids="-".join,
)
def test_rows_of_an_item_with_other_values_are_refused_or_counted_apart(tmp_path: Path, other: dict[str, Any]) -> None:
    columns: dict[str, Any] = {"score": [0.0, 0.0], "label": ["good", "good"], "item_id": ["a", "a"]}
    write_results(tmp_path / "r", **columns | other, block_rows=1)

    with pytest.raises(
        DataError, match=r"got 1 of them in rows with different values: 'a'. If they are different items, add"
    ):
        tally(open_results(tmp_path / "r"))
    counted = tally(open_results(tmp_path / "r"), separate_repeats=True)

    assert (counted.rows, counted.repeated) == (2, 0)


def test_the_first_contradictions_are_named_and_all_are_counted(tmp_path: Path) -> None:
    names = [f"{number % 50}" for number in range(100)]
    write_results(tmp_path / "r", np.arange(100.0), item_id=names, block_rows=30)

    with pytest.raises(DataError, match=r"got 50 of them in rows with different values: '0', '1', '2'[.]"):
        find_repeats(open_results(tmp_path / "r"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([0.0, 2.0])), min_size=1, max_size=30),
    block_rows=st.integers(1, 31),
)
def test_each_different_row_of_an_item_is_kept_once_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float]], block_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("repeats") / "r"
    names, scores = zip(*rows, strict=True)
    write_results(folder, scores, item_id=names, block_rows=block_rows)

    repeats = find_repeats(open_results(folder), separate=True)

    left_out = np.zeros(len(rows), np.bool_)
    for block, mask in repeats.rows.items():
        left_out[block * block_rows : block * block_rows + len(mask)] = mask
    assert left_out.tolist() == [row in rows[:place] for place, row in enumerate(rows)]
    assert repeats.total == left_out.sum()


def test_rows_of_another_model_are_reported_as_such_and_not_as_repeated_items(tmp_path: Path) -> None:
    write_results(tmp_path / "r", [0.0, 0.0], item_id=["a", "b"], block_rows=1)
    write_results(tmp_path / "other", [0.5, 0.5], item_id=["b", "a"], block_rows=1, judged_by=identity("other"))
    block_path(tmp_path / "r", "000001").write_bytes(block_path(tmp_path / "other", "000001").read_bytes())

    with pytest.raises(DataError, match="expected rows of the model"):
        tally(open_results(tmp_path / "r"))
