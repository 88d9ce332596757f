"""Figures from a log of verdicts."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.calibration.parts import Parts
from tests.runtime.hand_made import FRAME, frame, model_bytes

from andon.evaluation.figures.other_scores import NO_OTHER_SCORES
from andon.evaluation.figures.part_figures import Evaluation
from andon.evaluation.frames import evaluate
from andon.evaluation.verdict_log import (
    Met,
    VerdictLog,
    evaluate_verdicts,
    is_verdict_log,
    meet,
    read_verdicts,
)
from andon.runtime import ConfigError, DataError, Detector, Status
from andon.runtime.items import Item
from andon.sources.truth import Truth


def line(item: str, score: float | None, **changes: Any) -> dict[str, Any]:
    """Return a line as ``andon score --json`` writes it, with REJECT above 0.25."""
    status = "INVALID" if score is None else "REJECT" if score > 0.25 else "OK"
    plain = {"item": item, "status": status, "reason": "", "score": score, "level": score, "p_value": 0.5}
    return plain | {"threshold": 0.25, "model": "abc123"} | changes


def write(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.write_text(
        "".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in lines), encoding="utf-8"
    )
    return path


def truth(**defective: bool) -> Truth:
    return Truth(defective=defective, kind={key: "crack" for key, bad in defective.items() if bad})


def figures(path: Path, known: Truth) -> Evaluation:
    return evaluate_verdicts(read_verdicts(path), known)[0]


def test_the_figures_are_those_of_judging_the_same_parts(tmp_path: Path) -> None:
    detector = Detector.from_bytes(model_bytes(FRAME, threshold=0.25))
    levels = {"g0": 128, "g1": 190, "g2": 120, "d0": 210, "d1": 140, "d2": 250}
    parts = Parts({key: frame(place, level=level) for place, (key, level) in enumerate(levels.items())})
    known = truth(**{key: key[0] == "d" for key in levels})
    lines = []
    for ref in parts.refs:
        item = parts.read(ref)
        assert isinstance(item, Item)
        lines.append({"item": ref.key} | detector(item.data).to_dict())

    written, judged = evaluate_verdicts(read_verdicts(write(tmp_path / "v.jsonl", *lines)), known)

    direct, those = evaluate(detector, parts, known)
    apart = ("promise", "within_promise", "by_score")  # lines only have the deciding score
    assert {name: getattr(written, name) for name in written.__struct_fields__ if name not in apart} == {
        name: getattr(direct, name) for name in direct.__struct_fields__ if name not in apart
    }
    assert judged == [msgspec.structs.replace(part, other_scores=NO_OTHER_SCORES) for part in those]
    assert (written.promise, written.within_promise, written.aupro, written.by_score) == ("", None, None, {})


def test_invalid_items_and_those_of_unknown_truth_and_those_never_judged_are_counted_apart(tmp_path: Path) -> None:
    path = write(
        tmp_path / "v.jsonl",
        line("g", 0.1),
        line("d", 0.3),
        line("black", None, reason="no_contrast", detail="no contrast"),
        line("new", 0.9),
    )

    found = figures(path, truth(g=False, d=True, black=True, dropped=True, lost=False))

    assert (found.n_good, found.n_defect, found.invalid, found.unknown, found.unjudged) == (1, 1, 1, 1, 2)
    assert (found.threshold, found.miss_rate) == (0.25, 0.0)


def test_what_the_monitor_writes_beside_is_read_or_left_aside(tmp_path: Path) -> None:
    more = {"seq": 1, "at": "2026-01-02T00:00:00.000Z", "part": "part 7", "time_s": 1.5}
    path = write(tmp_path / "v.jsonl", line("g", 0.1, **more), line("d", 0.3, **more, status="REVIEW"))

    found, judged = evaluate_verdicts(read_verdicts(path), truth(g=False, d=True))

    assert (judged[0].ref.part, judged[0].ref.time_s) == ("part 7", 1.5)
    assert judged[1].status is Status.REVIEW  # the decision at that time, independent of the score
    assert found.miss_rate == 1.0


def test_an_item_judged_again_counts_as_it_was_judged_last(tmp_path: Path) -> None:
    log = read_verdicts(write(tmp_path / "v.jsonl", line("g", 0.9), line("d", 0.3), line("g", 0.1)))

    assert (log.lines, len(log.verdicts)) == (3, 2)
    assert evaluate_verdicts(log, truth(g=False, d=True))[0].false_reject_rate == 0.0


def test_items_judged_more_than_once_are_told_above_all_where_verdicts_differ(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_verdicts(write(tmp_path / "once.jsonl", line("g", 0.1), line("d", 0.3)))
    assert caplog.messages == []
    read_verdicts(write(tmp_path / "alike.jsonl", line("g", 0.1), line("d", 0.3), line("g", 0.1)))
    read_verdicts(write(tmp_path / "otherwise.jsonl", line("g", 0.9), line("d", 0.3), line("g", 0.1), line("d", 0.3)))

    alike, otherwise = (message.partition(".jsonl: ")[2] for message in caplog.messages)
    assert alike == "1 item was judged more than once; the last verdict counts."
    assert otherwise.startswith(
        "2 items were judged more than once; the last verdict counts. 1 got another status or score before, for example 'g'"
    )


def test_what_an_editor_puts_before_the_first_line_is_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "verdicts"
    path.write_text(f"{json.dumps(line('g', 0.1))}\n", encoding="utf-8-sig")

    assert is_verdict_log(path)
    assert set(read_verdicts(path).verdicts) == {"g"}


@pytest.mark.parametrize("place", ["first", "later"])
def test_a_line_that_is_nested_without_end_is_refused_with_its_number(tmp_path: Path, place: str) -> None:
    deep = '{"unknown":' + "[" * 100_000
    lines: list[dict[str, Any] | str] = [line("g", 0.1), deep, line("d", 7.0)]
    path = write(tmp_path / "v.jsonl", *(lines if place == "later" else lines[1:]))

    with pytest.raises(DataError, match=f"line {2 if place == 'later' else 1}: expected a verdict"):
        read_verdicts(path)


def test_verdicts_in_utf_16_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(f"{json.dumps(line('g', 0.1))}\n", encoding="utf-16")

    with pytest.raises(DataError, match=r"got UTF-16, as PowerShell's > writes it\. Save the file as UTF-8"):
        read_verdicts(path)


def test_verdicts_of_two_models_are_refused_until_one_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "v.jsonl", line("g", 0.1), line("g", 7.0, model="def456", threshold=5.0), line("d", 0.3))

    with pytest.raises(ConfigError, match=r"abc123 \(2 lines\), def456 \(1 lines\).*--model"):
        read_verdicts(path)
    with pytest.raises(ConfigError, match=r"expected the model 'zzz'; got verdicts of abc123"):
        read_verdicts(path, model="zzz")
    assert read_verdicts(path, model="def").threshold == 5.0
    assert set(read_verdicts(path, model="abc123").verdicts) == {"g", "d"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "got none"),
        (['{"item": "a"}'], "line 1: expected a verdict .* `status`"),
        ([line("a", 0.1), "what?", line("b", 0.2)], "line 2: expected a verdict"),
        (
            [line("a", 0.1, status="FINE"), ""],
            "line 1: .* expected one of OK, REVIEW, INVALID, REJECT, got 'FINE'",
        ),
        ([line("a", None, status="OK"), ""], "line 1: .* expected a number with status OK"),
        ([line("a", 0.1), line("b", 0.1, threshold=0.5)], r"got 2 \(0.25, 0.5\)"),
        ([line("a", None, threshold=None)], "got 0"),
    ],
)
def test_lines_that_are_no_verdicts_of_one_model_are_refused(
    lines: list[dict[str, Any] | str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read_verdicts(write(tmp_path / "v.jsonl", *lines))


def test_a_last_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "v.jsonl", line("g", 0.1), line("d", 0.3))
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole + '{"item": "e", "sta', encoding="utf-8")

    assert set(read_verdicts(path).verdicts) == {"g", "d"}


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_verdicts(tmp_path / "none.jsonl")


def test_keys_that_do_not_meet_are_shown_from_both_sides(tmp_path: Path) -> None:
    log: VerdictLog = read_verdicts(write(tmp_path / "v.jsonl", line("test/good/0.png", 0.1)))

    with pytest.raises(
        DataError, match=r"none of the 1 items of the log has a label: .*'test/good/0.png', .*'good/1.png'"
    ):
        evaluate_verdicts(log, Truth(defective={"good/1.png": False}, kind={}))


def test_a_file_is_known_by_its_name_or_by_its_first_character(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(model_bytes(FRAME, threshold=0.25))

    assert is_verdict_log(write(tmp_path / "verdicts", line("a", 0.1)))
    assert is_verdict_log(tmp_path / "not-there.jsonl")
    assert not is_verdict_log(model)
    assert not is_verdict_log(tmp_path / "not-there.onnx")


def test_items_meet_the_truth_below_one_folder_that_meets_more_than_any_other() -> None:
    known = ["train/good/0", "train/good/1", "test/good/0", "test/hole/0"]

    assert meet(["good/0", "hole/0"], known) == Met(
        keys={"good/0": "test/good/0", "hole/0": "test/hole/0"}, there=2, way="as test/ITEM"
    )
    assert meet(["good/0"], known).keys == {}  # in train/ or in test/: this is not known
    assert meet(["good/1", "hole/0"], known).keys == {}  # one of each
    assert meet(["a/b/good/0", "a/b/hole/0"], ["good/0", "hole/0"]).way == "without their a/b/"
    assert meet(["test/hole/0", "hole/0"], known).keys == {"test/hole/0": "test/hole/0"}  # the same key goes before


@pytest.mark.parametrize(
    ("item", "unit"),
    [("run#31", "window"), ("line.mp4#31", "part"), ("0#31", "part"), ("camera:0#12", "part"), ("a/31.png", "part")],
)
def test_windows_are_known_by_their_names(item: str, unit: str, tmp_path: Path) -> None:
    other = item.replace("31", "47")

    assert (
        figures(
            write(tmp_path / "v.jsonl", line(item, 0.1), line(other, 0.3)), truth(**{item: False, other: True})
        ).unit
        == unit
    )


def test_what_a_line_says_of_its_unit_counts_more_than_its_name(tmp_path: Path) -> None:
    for unit, expected in (("frame", "part"), ("window", "window")):
        lines = (line("run#1", 0.1, unit=unit), line("run#2", 0.3, unit=unit))
        found = figures(write(tmp_path / f"{unit}.jsonl", *lines), truth(**{"run#1": False, "run#2": True}))

        assert found.unit == expected
