"""Figures of an evaluation as text."""

from tests.evaluation.judged_parts import parts_of
from tests.evaluation.watched import WATCHED, judged, run

from andon.calibration.miss import miss_upper
from andon.evaluation.figures.part_figures import summarise
from andon.evaluation.logs import log_figures
from andon.evaluation.text_summary import logs_text, parts_text


def test_rates_have_their_counts_and_exact_intervals() -> None:
    figures = summarise(
        parts_of([0.1, 0.2], [0.15, 2.0], kind="hole"), threshold=1.0, promise="at most 5 %", alpha=0.05
    )

    lines = parts_text(figures).splitlines()

    assert lines[0] == "parts          2 good, 2 defective, 0 INVALID"
    assert "false rejects  0.00% [0.00%, 84.19%]   0 of 2 good   (as promised: at most 5 %)" in lines
    assert "misses         50.00% [1.26%, 98.74%]   1 of 2 defective; threshold 1" in lines
    assert lines[-1] == "hole                       2  0.7500   50.0%"


def test_misses_are_bounded_for_defects_like_these() -> None:
    text = parts_text(summarise(parts_of([0.1, 0.2], [0.5] + [2.0] * 19, kind="hole"), threshold=1.0))

    assert "\n               with 95 % confidence at most 21.7 % of defects like these 20 pass (1 passed)\n" in text
    assert "hole                      20  1.0000    5.0%   21.7 %" in text
    assert text.splitlines()[-1].startswith(
        "at most: bounds for such defects, all of them together with 95 % confidence"
    )


def test_types_of_fewer_than_ten_defects_have_no_bound_of_their_own() -> None:
    figures = summarise(parts_of([0.1], [2.0] * 9, kind="hole") + parts_of([], [2.0] * 10, kind="dent"), threshold=1.0)

    assert figures.by_defect["hole"].miss_at_most is None
    assert figures.by_defect["dent"].miss_at_most == miss_upper(0, 10)
    assert figures.miss_bound is not None
    assert (figures.miss_bound.defects, figures.miss_bound.missed) == (19, 0)
    assert any(line.startswith("hole ") and line.endswith(" -") for line in parts_text(figures).splitlines())


def test_misses_of_windows_have_no_bound_because_windows_of_a_fault_depend_on_each_other() -> None:
    figures = summarise(parts_of([0.1], [2.0] * 20), threshold=1.0, unit="window")

    assert figures.unit == "window"
    assert figures.miss_bound is None
    assert "confidence" not in parts_text(figures)


def test_one_kind_of_parts_alone_has_no_curve_and_says_which_is_missing() -> None:
    text = parts_text(summarise(parts_of([0.1, 0.2], []), threshold=1.0))

    assert "good parts only: AUROC and similar results also need defective ones" in text
    assert "misses" not in text


def test_a_name_of_a_run_forges_no_line() -> None:
    text = logs_text(log_figures(WATCHED, judged(run("pump\n\x1b[1A", [1.0, 1.5] * 10), run("b", [1.0] * 20))))

    assert [line.split()[0] for line in text.splitlines()[:4]] == ["file", "pump\\n\\x1b[1A", "b", "all"]
