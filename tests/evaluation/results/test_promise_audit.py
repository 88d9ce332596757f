"""The promise against stored verdicts: the same numbers as a slow count with scipy."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy.stats import beta
from tests.evaluation.results.folders import ONE_PERCENT, identity, write_results

from andon.archive.results import open_results
from andon.calibration.audit import audit_file
from andon.evaluation.results.promise_audit import ResultsAudit, audit_results, day_name, tally
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.calibration_facts import Calibration


def audited(folder: Path, *, good_label: str = "good", **options: Any) -> ResultsAudit:
    return audit_results(tally(open_results(folder), good_label=good_label), today="2026-11-30", **options)


def year(folder: Path, rows: int = 6000, seed: int = 0) -> dict[str, Any]:
    """Write a folder with lines, days, lots, parts of three frames, labels and lost items. Return its columns."""
    rng = np.random.default_rng(seed)
    part = np.arange(rows) // 3
    columns: dict[str, Any] = {
        "score": rng.gamma(4.0, 0.1, rows).astype(np.float32),
        "line": np.array(["L1", "L2", None], object)[part % 3],
        "day": 20_000 + part // 100 + 0.5,
        "lot": np.array([f"lot {number // 50}" for number in part], object),
        "part_id": np.array([f"p{number}" for number in part], object),
        "label": np.array(["good", "good", "good", "scratch", None], object)[
            rng.integers(0, 5, len(part) // 3 + 1)[part]
        ],
        "reason": np.full(rows, None, object),
    }
    for reason, share in (("unreadable", 0.01), ("no_contrast", 0.003)):
        lost = rng.random(rows) < share
        columns["score"][lost], columns["reason"][lost] = np.nan, reason
    order = rng.permutation(rows)
    columns = {name: values[order] for name, values in columns.items()}
    write_results(folder, **columns, judged_by=identity(threshold=1.0), block_rows=701)
    return columns


def slow(columns: dict[str, Any], by: str | None) -> dict[Any, tuple[int, int]]:
    """Count parts and rejects of good parts with loops."""
    frames: dict[str, list[int]] = defaultdict(list)
    for place, part in enumerate(columns["part_id"]):
        frames[part].append(place)
    groups: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    for places in frames.values():
        if any(columns["label"][place] != "good" for place in places):
            continue
        scores = [columns["score"][place] for place in places]
        blank = any(columns["reason"][place] == "no_contrast" for place in places)
        lost = any(columns["reason"][place] == "unreadable" for place in places)
        rejected = blank or any(score > 1.0 for score in scores)
        if lost and not rejected:
            continue
        key: Any = None if by is None else columns[by][places[0]]
        group = groups[day_name(int(key)) if by == "day" else key]
        group[0] += 1
        group[1] += rejected
    return {name: (parts, rejects) for name, (parts, rejects) in groups.items()}


def test_counts_and_bounds_equal_those_of_a_slow_loop_with_scipy(tmp_path: Path) -> None:
    columns = year(tmp_path / "r")

    audit = audited(tmp_path / "r", by=("line", "day", "lot"))

    assert audit.total is not None
    assert (audit.total.audit.parts, audit.total.audit.rejects) == slow(columns, None)[None]
    for by in ("line", "day", "lot"):
        expected = slow(columns, by)
        assert len(audit.groups[by]) == len(expected)
        for group in audit.groups[by]:
            parts, rejects = expected[None if group.name == "(no line)" else group.name]
            assert (group.audit.parts, group.audit.rejects) == (parts, rejects)
            lower = beta.ppf(0.05, rejects, parts - rejects + 1) if rejects else 0.0
            upper = beta.ppf(0.95, rejects + 1, parts - rejects) if rejects < parts else 1.0
            assert (group.audit.lower, group.audit.upper) == pytest.approx((lower, upper), rel=1e-12)


def test_the_groupings_with_several_groups_are_the_default(tmp_path: Path) -> None:
    write_results(tmp_path / "r", np.zeros(400), line=["a"] * 400, day=np.repeat([3.0, 4.0], 200), label=["good"] * 400)

    assert list(audited(tmp_path / "r").groups) == ["day"]
    assert [group.name for group in audited(tmp_path / "r").groups["day"]] == ["1970-01-04", "1970-01-05"]


@pytest.mark.parametrize(("rejects", "finding"), [(0, "confirmed"), (12, "violated"), (4, "undecided")])
def test_a_folder_gets_the_same_finding_as_a_count(tmp_path: Path, rejects: int, finding: str) -> None:
    scores = np.zeros(500)
    scores[:rejects] = 2.0
    write_results(tmp_path / "r", scores, label=["good"] * 500)

    total = audited(tmp_path / "r").total

    counted, parts_in_total = audit_file(
        Calibration(kind="promise", alpha=0.01, confidence=0.95, n=0, n_eff=0, above=0),
        rejects=rejects,
        parts=500,
        date="2026-11-30",
    )
    assert total is not None
    assert (total.audit, total.parts_in_total) == (counted, parts_in_total)
    assert total.audit.finding == finding


def test_without_labels_the_reject_share_is_a_bound_and_nothing_is_decided(tmp_path: Path) -> None:
    write_results(tmp_path / "r", np.repeat([0.0, 2.0], [995, 5]), line=["a", "b"] * 500)

    audit = audited(tmp_path / "r")

    assert audit.total is None
    assert audit.groups == {}
    assert audit.reject_share is not None
    assert audit.reject_share.upper == pytest.approx(beta.ppf(0.95, 6, 995), rel=1e-12)
    assert audit.reject_share.sentence == (
        "no labels: 5 of 1000 parts were rejected, with 95 % confidence at most 1.05 % of such parts. This bounds the share of "
        "false rejects from above, if defective parts are rejected at least as often as good ones"
    )
    assert [share.name for share in audit.reject_shares["line"]] == ["a", "b"]


def test_dependent_windows_without_labels_get_a_wider_bound(tmp_path: Path) -> None:
    who = identity(promise=replace(ONE_PERCENT, tau=10.0))
    write_results(tmp_path / "r", np.zeros(1000), judged_by=who)

    share = audited(tmp_path / "r").reject_share

    assert share is not None
    assert share.upper == pytest.approx(1 - 0.05 ** (1 / 100), rel=1e-9)


def test_parts_without_a_label_do_not_count_where_others_have_one(tmp_path: Path) -> None:
    write_results(tmp_path / "r", [0, 2, 0, 2], label=["good", None, "good", "scratch"])

    total = audited(tmp_path / "r").total

    assert total is not None
    assert (total.audit.parts, total.audit.rejects) == (2, 0)


def test_a_part_with_one_labelled_frame_is_good_and_one_with_a_defect_in_a_frame_is_not(tmp_path: Path) -> None:
    parts = ["a", "a", "b", "b", "c"]
    write_results(tmp_path / "r", [0, 2, 0, 0, 0], part_id=parts, label=["good", None, "good", "scratch", "good"])

    total = audited(tmp_path / "r").total

    assert total is not None
    assert (total.audit.parts, total.audit.rejects) == (2, 1)


def test_equal_part_names_of_two_lots_are_two_parts(tmp_path: Path) -> None:
    write_results(tmp_path / "r", [0, 0], part_id=["1", "1"], lot=["a", "b"], label=["good", "good"])

    total = audited(tmp_path / "r").total

    assert total is not None
    assert total.audit.parts == 2


def test_windows_that_depend_on_each_other_count_as_fewer(tmp_path: Path) -> None:
    promise = replace(ONE_PERCENT, tau=10.0)
    write_results(tmp_path / "r", np.zeros(2000), label=["good"] * 2000, judged_by=identity(promise=promise))

    total = audited(tmp_path / "r").total

    assert total is not None
    assert total.audit.finding == "undecided"
    assert "counted as 200 independent ones" in total.audit.sentence


def test_one_part_of_each_lot_counts_where_the_calibration_counted_so(tmp_path: Path) -> None:
    lots = [f"lot {number // 10}" for number in range(4000)]
    scores = np.where(np.arange(4000) // 10 % 4 == 0, 2.0, 0.0)  # all parts of each fourth lot are rejected
    who = identity(promise=replace(ONE_PERCENT, one_per_lot=True))
    write_results(tmp_path / "r", scores, lot=lots, label=["good"] * 4000, judged_by=who)

    drawn, all_parts = audited(tmp_path / "r"), audited(tmp_path / "r", one_per_lot=False)

    assert drawn.total is not None
    assert all_parts.total is not None
    assert (drawn.total.audit.parts, drawn.total.audit.rejects) == (400, 100)
    assert (all_parts.total.audit.parts, all_parts.total.audit.rejects) == (4000, 1000)
    assert list(drawn.groups) == []
    assert list(all_parts.groups) == ["lot"]


def test_a_draw_from_lots_needs_lots_and_excludes_counts_by_lot(tmp_path: Path) -> None:
    write_results(tmp_path / "r", [0.0], label=["good"])

    with pytest.raises(DataError, match=r"expected rows with a lot.*got none\. Score the items again with a lot"):
        audited(tmp_path / "r", one_per_lot=True)
    with pytest.raises(ConfigError, match="--by lot: expected counts of all parts of a lot"):
        audited(tmp_path / "r", one_per_lot=True, by=("lot",))


@pytest.mark.parametrize("by", ["line", "day", "lot"])
def test_groups_that_no_row_has_are_refused(tmp_path: Path, by: Any) -> None:
    write_results(tmp_path / "r", [0.0], label=["good"])

    with pytest.raises(DataError, match=f"for --by {by}, got none. Score the items again"):
        audited(tmp_path / "r", by=(by,))


def test_labels_without_the_good_one_are_refused_with_the_flag_that_helps(tmp_path: Path) -> None:
    write_results(tmp_path / "r", [0.0, 0.0, 0.0], label=["ok", "ok", "nok"])

    with pytest.raises(DataError, match=r"expected rows with the label 'good', got 'ok', 'nok'.*--good-label ok"):
        audited(tmp_path / "r")
    found = audited(tmp_path / "r", good_label="ok").total
    assert found is not None
    assert found.audit.parts == 2


def test_a_model_without_a_promise_asks_for_the_share_to_check(tmp_path: Path) -> None:
    for number, promise in enumerate((None, replace(ONE_PERCENT, promised=False))):
        folder = tmp_path / str(number)
        write_results(folder, np.zeros(299), label=["good"] * 299, judged_by=identity(promise=promise))

        with pytest.raises(ConfigError, match=r"promises no false-reject rate.*--false-reject 0\.01"):
            audited(folder)
        total = audited(folder, alpha=0.01).total
        assert total is not None
        assert total.audit.finding == "confirmed"


def test_a_folder_without_rows_or_without_judged_parts_is_refused(tmp_path: Path) -> None:
    write_results(tmp_path / "empty", [])
    write_results(tmp_path / "lost", [np.nan], label=["good"])

    with pytest.raises(DataError, match="expected at least one row, got none"):
        audited(tmp_path / "empty")
    with pytest.raises(DataError, match="expected at least one part that was judged, got none"):
        audited(tmp_path / "lost")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(block_rows=st.integers(1, 50), seed=st.integers(0, 3))
def test_blocks_do_not_change_the_result(tmp_path_factory: pytest.TempPathFactory, block_rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "score": rng.gamma(4.0, 0.2, 60),
        "part_id": [f"{number}" for number in rng.integers(0, 25, 60)],
        "line": [("a", "b", None)[number] for number in rng.integers(0, 3, 60)],
        "day": rng.integers(100, 103, 60).astype(np.float64),
        "label": [("good", None, "bad")[number] for number in rng.integers(0, 3, 60)],
    }
    folder = tmp_path_factory.mktemp("blocks")
    write_results(folder / "one", **columns)
    write_results(folder / "many", **columns, block_rows=block_rows)

    assert audited(folder / "many") == audited(folder / "one")


def test_an_empty_name_of_a_line_is_a_group_like_any_other(tmp_path: Path) -> None:
    write_results(tmp_path, np.zeros(6), line=["", "L1", None] * 2, lot=["", "A", "B"] * 2, label=["good"] * 6)

    audit = audited(tmp_path, by=("line", "lot"))

    assert [group.name for group in audit.groups["line"]] == ["", "L1", "(no line)"]
    assert [group.audit.parts for group in audit.groups["lot"]] == [2, 2, 2]


def test_another_spelling_of_the_good_label_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_results(tmp_path, np.zeros(6), label=["good", "Good", "Good", " good", "scratch", None])

    assert audited(tmp_path).total is not None

    (record,) = caplog.records
    assert "the label 'Good' (2 rows), ' good' (1 rows) does not count as 'good'" in record.getMessage()


def test_labels_with_another_meaning_are_not_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_results(tmp_path, np.zeros(3), label=["good", "scratch", None])

    audited(tmp_path)

    assert caplog.records == []
