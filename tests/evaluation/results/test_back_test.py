"""Two models about the same items: matched in any order, decided by part, listed worst first."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from scipy.stats import binomtest
from tests.evaluation.results.folders import ONE_PERCENT, identity, write_results

from andon.archive.results import open_results
from andon.evaluation.figures.paired_decisions import PairedDecisions
from andon.evaluation.results.back_test import MOST_LISTED, BackTest, back_test
from andon.foundation.errors import DataError

NEW, OLD = identity("new", threshold=1.0), identity("old", threshold=0.5)


def compared(tmp_path: Path, new: dict[str, Any], old: dict[str, Any], **options: Any) -> BackTest:
    write_results(tmp_path / "new", **{"judged_by": NEW} | new)
    write_results(tmp_path / "old", **{"judged_by": OLD} | old)
    return back_test(open_results(tmp_path / "new"), open_results(tmp_path / "old"), **options)


@pytest.mark.parametrize(("block_rows", "rows_at_once"), [(50, 1), (50, 200), (333, 200), (10_000, 100_000)])
def test_the_table_equals_a_loop_whatever_the_order_and_the_blocks(
    tmp_path: Path, block_rows: int, rows_at_once: int
) -> None:
    rng = np.random.default_rng(0)
    names = np.array([f"item {number}" for number in range(1000)])
    quality = rng.gamma(4.0, 0.2, 1000)
    new = (quality + rng.normal(0, 0.05, 1000)).astype(np.float32)
    old = (quality / 2 + rng.normal(0, 0.05, 1000)).astype(np.float32)
    order, older = rng.permutation(1000)[:950], rng.permutation(1000)[:970]

    test = compared(
        tmp_path,
        {"score": new[order], "item_id": names[order], "block_rows": block_rows},
        {"score": old[older], "item_id": names[older], "block_rows": 97},
        rows_at_once=rows_at_once,
    )

    common = sorted(set(order.tolist()) & set(older.tolist()))
    new_rejects, old_rejects = new[common] > 1, old[common] > 0.5
    b, c = int((new_rejects & ~old_rejects).sum()), int((old_rejects & ~new_rejects).sum())
    assert test.decisions == PairedDecisions(
        both_pass=int((~new_rejects & ~old_rejects).sum()),
        only_new_rejects=b,
        only_old_rejects=c,
        both_reject=int((new_rejects & old_rejects).sum()),
    )
    assert test.decisions.p_value == pytest.approx(binomtest(b, b + c, 0.5).pvalue, rel=1e-12)
    assert (test.only_new, test.only_old, test.lost) == (950 - len(common), 970 - len(common), 0)
    assert test.discordant_items == b + c == len(test.items)


def test_the_items_are_listed_with_both_scores_and_the_highest_level_first(tmp_path: Path) -> None:
    test = compared(
        tmp_path,
        {"score": [0.2, 1.5, 3.0, 0.1, 0.9], "label": ["good", "good", "scratch", None, "good"]},
        {"score": [0.1, 0.2, 0.3, 1.0, 0.1]},
    )

    assert [(item.item_id, item.old_status, item.new_status, item.label) for item in test.items] == [
        ("00000002", "OK", "REJECT", "scratch"),
        ("00000003", "REJECT", "OK", None),  # level 2 of the old model
        ("00000001", "OK", "REJECT", "good"),
    ]
    assert test.items[0].new_score == pytest.approx(3.0)
    assert test.items[0].old_level == pytest.approx(0.6)
    assert test.good == PairedDecisions(both_pass=2, only_new_rejects=1, only_old_rejects=0, both_reject=0)


def test_a_part_is_one_decision_and_its_frames_are_listed_one_by_one(tmp_path: Path) -> None:
    parts = ["a", "a", "a", "b", None]

    test = compared(tmp_path, {"score": [2.0, 2.0, 0.0, 0.0, 0.0], "part_id": parts}, {"score": [0, 0, 1, 0, 0]})

    assert test.decisions == PairedDecisions(both_pass=2, only_new_rejects=0, only_old_rejects=0, both_reject=1)
    assert test.discordant_items == 3


def test_lost_items_are_left_out_and_invalid_ones_count_as_rejected(tmp_path: Path) -> None:
    nan = np.nan
    test = compared(
        tmp_path,
        {"score": [0.0, nan, nan, 0.0], "reason": [None, "unreadable", "no_contrast", None]},
        {"score": [0.0, 0.0, 0.0, nan]},
    )

    assert test.lost == 2
    assert test.decisions == PairedDecisions(both_pass=1, only_new_rejects=1, only_old_rejects=0, both_reject=0)
    assert [(item.new_status, item.new_score) for item in test.items] == [("INVALID", None)]


def test_a_long_list_keeps_the_worst(tmp_path: Path) -> None:
    count = MOST_LISTED + 500
    scores = np.random.default_rng(1).permutation(np.linspace(1.1, 9.0, count))

    test = compared(tmp_path, {"score": scores, "block_rows": 100}, {"score": np.zeros(count)})

    assert test.discordant_items == count
    assert len(test.items) == MOST_LISTED
    assert [item.new_score for item in test.items] == pytest.approx(np.sort(scores)[::-1][:MOST_LISTED])


def test_rows_in_the_same_order_are_matched_block_by_block(tmp_path: Path) -> None:
    rows = {"score": np.zeros(100), "block_rows": 10}

    test = compared(tmp_path, rows, rows, rows_at_once=20)

    assert test.decisions == PairedDecisions(both_pass=100, only_new_rejects=0, only_old_rejects=0, both_reject=0)
    assert (test.only_new, test.only_old, test.items) == (0, 0, ())


def test_parts_that_depend_on_each_other_are_reported(tmp_path: Path) -> None:
    for number, (tau, one_per_lot) in enumerate([(1.0, False), (3.0, False), (1.0, True)]):
        who = identity("new", promise=replace(ONE_PERCENT, tau=tau, one_per_lot=one_per_lot))
        test = compared(tmp_path / str(number), {"score": [0.0], "judged_by": who}, {"score": [0.0]})

        assert test.independent == (number == 0)


def test_folders_without_common_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected common items that both models judged, got 0 common parts"):
        compared(tmp_path, {"score": [0.0], "item_id": ["a"]}, {"score": [0.0], "item_id": ["b"]})


def test_an_item_with_two_different_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"old: expected each item_id once, got 1 of them in rows with different values: 'a'"
    ):
        compared(tmp_path, {"score": [0.0], "item_id": ["a"]}, {"score": [0.0, 0.1], "item_id": ["a", "a"]})


def test_equal_rows_of_an_item_are_compared_once(tmp_path: Path) -> None:
    twice = {"score": [0.0, 2.0, 2.0], "item_id": ["a", "b", "b"], "block_rows": 1}

    test = compared(tmp_path, twice, {"score": [0.0, 0.0], "item_id": ["b", "a"]}, rows_at_once=1)

    assert test.decisions == PairedDecisions(both_pass=1, only_new_rejects=1, only_old_rejects=0, both_reject=0)
    assert (test.only_new, test.only_old) == (0, 0)
