"""Verdicts over parts, and over what never reached the graph."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.runtime import Reason, Status, Verdict
from andon.runtime.verdict import invalid, part_status, part_verdict

VERDICTS = st.lists(
    st.builds(Verdict, status=st.sampled_from(Status), score=st.floats(allow_nan=True, width=32)), min_size=1
)


@given(VERDICTS)
def test_the_status_of_a_part_is_the_highest_of_its_frames(verdicts: list[Verdict]) -> None:
    assert part_verdict(verdicts).status == max(verdict.status for verdict in verdicts)


@pytest.mark.parametrize(
    ("frames", "part"),
    [
        ([Status.OK, Status.OK], Status.OK),
        ([Status.OK, Status.REVIEW], Status.REVIEW),
        ([Status.OK, Status.INVALID, Status.REVIEW], Status.INVALID),
        ([Status.INVALID, Status.REJECT, Status.OK], Status.REJECT),
    ],
)
def test_a_part_is_rejected_by_any_frame_and_passes_only_if_every_frame_was_judged(
    frames: list[Status], part: Status
) -> None:
    assert part_status(frames) is part


@given(VERDICTS)
def test_the_order_of_frames_does_not_matter(verdicts: list[Verdict]) -> None:
    one, other = part_verdict(verdicts), part_verdict(verdicts[::-1])

    assert one.status == other.status
    assert one.score == other.score or (np.isnan(one.score) and np.isnan(other.score))


def test_among_equal_statuses_the_highest_score_counts_and_nan_last() -> None:
    frames = [Verdict(status=Status.REJECT, score=score) for score in (1.0, float("nan"), 3.0, 2.0)]

    assert part_verdict(frames).score == 3.0


def test_what_never_reached_the_graph_is_invalid_without_numbers() -> None:
    verdict = invalid(Reason.UNREADABLE, threshold=4.0, model="abc")

    assert verdict.status is Status.INVALID
    assert verdict.to_dict() == {
        "status": "INVALID",
        "reason": "unreadable",
        "score": None,
        "level": None,
        "p_value": None,
        "threshold": 4.0,
        "model": "abc",
    }


def test_a_part_without_frames_has_no_verdict() -> None:
    with pytest.raises(ValueError, match="empty"):
        part_verdict([])
