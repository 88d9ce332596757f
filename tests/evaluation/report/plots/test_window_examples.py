"""Typical windows next to each other."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.watched import WATCHED, judged, run

from andon.evaluation.report.plots import window_examples
from andon.runtime import Detector


def test_a_typical_window_of_each_class_is_shown_by_sensor_and_against_what_was_rebuilt() -> None:
    verdicts = judged(run("a", [1, 1, 2, 5, 6, 7, 1, 1], faults="...pqr.."))

    (section,) = window_examples.section(WATCHED, verdicts)

    assert [picture.name for picture in section.pictures] == ["windows.png", "rebuilt.png"]
    assert section.pictures[0].alt == ("Windows compared: good (score 1), p (score 25), q (score 36), r (score 49).")
    assert section.pictures[1].alt == "Measured and reconstructed: good, p, q, r."


def test_a_file_that_rebuilds_nothing_is_not_held_against_it() -> None:
    verdicts = judged(run("a", [1, 1, 1, 5], faults="...p"))
    plain = Detector.from_bytes(WATCHED.model.data)

    (section,) = window_examples.section(plain, verdicts)

    assert [picture.name for picture in section.pictures] == ["windows.png"]


def test_of_many_kinds_three_are_shown_and_it_is_said() -> None:
    verdicts = judged(run("a", [1, 5, 6, 7, 8, 1], faults=".pqrs."))

    (section,) = window_examples.section(WATCHED, verdicts)

    assert section.pictures[0].caption.endswith("3 of 4 kinds of fault are shown.")


def test_a_log_without_faults_has_none() -> None:
    assert window_examples.section(WATCHED, judged(run("a", [1, 1, 1]))) == []


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8), st.floats(0.01, 10))
def test_names_of_channels_never_lie_closer_than_asked_and_keep_their_order(heights: list[float], least: float) -> None:
    moved = window_examples.spaced(heights, least)

    assert all(after >= before for before, after in zip(heights, moved, strict=True))
    gaps = np.diff([moved[at] for at in sorted(range(len(heights)), key=lambda at: heights[at])])
    assert (gaps >= least - 1e-9).all()
