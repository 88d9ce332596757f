"""Verdicts: printed, compared and copied; over parts, and over what never reached the graph."""

import copy
import json
from types import MappingProxyType

import msgspec
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


def _judged(score: float = 9.0) -> Verdict:
    return Verdict(
        status=Status.REJECT,
        score=score,
        threshold=4.0,
        p_value=1 / 61,
        level=3.5,
        evidence=MappingProxyType(
            {"anomaly_map": np.zeros((8, 8), np.float32), "channel_scores": np.zeros(2, np.float32)}
        ),
        model="0123456789ab",
    )


def test_a_verdict_equals_itself_and_no_other_and_can_be_a_key() -> None:
    """Compare by identity, because arrays have no single truth value and a comparison of contents would fail."""
    one, other = _judged(), _judged()

    assert one == one  # noqa: PLR0124
    assert one != other
    assert copy.deepcopy(one) != one
    assert len({one, other, one}) == 2
    assert [one, other].index(other) == 1
    assert invalid(Reason.LOST) != invalid(Reason.LOST)


def test_a_printed_verdict_is_one_short_line_without_its_maps() -> None:
    assert (
        str(_judged())
        == repr(_judged())
        == (
            "Verdict(REJECT, score=9, threshold=4, level=3.5, p_value=0.0163934, "
            "evidence=['anomaly_map', 'channel_scores'], model='0123456789ab')"
        )
    )


def test_a_printed_verdict_leaves_out_what_it_does_not_have() -> None:
    assert str(invalid(Reason.NO_CONTRAST, threshold=4.0)) == "Verdict(INVALID, reason=no_contrast, threshold=4)"


def test_a_status_and_a_reason_are_printed_by_name_and_still_count_as_numbers() -> None:
    assert f"{Status.REJECT} {Reason.NO_CONTRAST}" == "REJECT NO_CONTRAST"
    assert str(Status.OK) == "OK"
    assert f"{Status.REJECT:d} {int(Reason.NO_CONTRAST)}" == "3 2"
    assert json.dumps([Status.REJECT, Reason.NO_CONTRAST]) == "[3, 2]"
    assert msgspec.json.encode([Status.REJECT, Reason.NO_CONTRAST]) == b"[3,2]"
    assert max(Status.OK, Status.REJECT) is Status(3)
