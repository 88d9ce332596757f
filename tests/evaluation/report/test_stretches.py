"""The stretches of a log that a report shows; faults and their delays."""

import pytest
from tests.evaluation.watched import judged, run
from tests.runtime.hand_made import WINDOW

from andon.evaluation.report import stretches


def test_a_delay_runs_from_the_first_faulty_row_to_the_end_of_the_first_reject() -> None:
    #                         0  1  2  3  4  5  6  7
    verdicts = judged(run("a", [1, 1, 1, 5, 1, 1, 1, 1], faults="..pp..q."))

    caught, missed = stretches.faults(verdicts)

    # fault p begins at row 8, 4 s; its second window ends at row 15, 7.5 s
    assert (caught.kind, caught.onset_s, caught.end_s, caught.delay_s, caught.highest) == ("p", 4.0, 7.5, 3.5, 25.0)
    assert (missed.kind, missed.delay_s, missed.highest) == ("q", None, 1.0)


def test_windows_in_recovery_are_neither_good_nor_defective() -> None:
    verdicts = judged(run("a", [1, 5, 5, 1], faults=".p..", recovering="..x."))

    kinds = [(one.kind, one.defective) for one in stretches.judged_windows(verdicts)]

    assert kinds == [("good", False), ("p", True), ("good", False)]


def test_the_worst_false_rejects_the_misses_and_one_fault_of_each_kind_are_chosen() -> None:
    quiet = [1.0] * 40
    first = quiet.copy()
    first[10], first[30] = 3.0, 4.0  # two false rejects
    second = quiet.copy()
    second[5:7], second[20:22] = [5.0, 5.0], [6.0, 6.0]
    faults = "." * 5 + "pp" + "." * 13 + "pp" + "." * 8 + "qq"
    verdicts = judged(run("a", first), run("b", second, faults=faults))

    chosen = stretches.choose(verdicts, WINDOW)

    assert [(one.name, one.run) for one in chosen] == [
        ("false-reject", "a"),
        ("false-reject", "a"),
        ("miss", "b"),
        ("fault", "b"),
    ]
    assert [one.facts[0] for one in chosen[:2]] == [("score", "16"), ("score", "9")]
    assert chosen[2].title == "Missed fault: q"
    onsets = [dict(one.facts).get("begins at") for one in chosen]
    assert onsets[2:] == ["60 s", "10 s"]
    for one in chosen:
        assert 0 <= one.begin < one.stop <= 160


def test_rejects_side_by_side_are_one_stretch() -> None:
    levels = [1.0] * 60
    levels[10:13], levels[50] = [3.0, 3.5, 3.2], 3.1

    chosen = stretches.choose(judged(run("a", levels)), WINDOW)

    assert [dict(one.facts)["ends at"] for one in chosen] == ["23.5 s", "101.5 s"]


def test_without_any_wrong_verdict_what_came_nearest_is_shown() -> None:
    chosen = stretches.choose(judged(run("a", [1, 1.5, 1, 1, 3, 1, 5, 1], faults="....p.q.")), WINDOW)

    assert [(one.name, one.tone) for one in chosen] == [("good", "good"), ("weakest", "plain"), ("fault", "plain")]
    assert chosen[1].title.endswith(": p")


def test_a_long_fault_is_shown_from_its_begin_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "MOST_ROWS", 100)

    chosen = stretches.choose(
        judged(run("a", [1.0] * 20 + [1.1] * 200 + [1.0] * 5, faults="." * 20 + "p" * 200)), WINDOW
    )

    missed = next(one for one in chosen if one.name == "miss")
    assert missed.begin < 80 < missed.stop
    assert missed.stop - missed.begin == 100
