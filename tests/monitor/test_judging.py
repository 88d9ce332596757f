"""The decision step: nothing that a source gives can raise or pass in silence."""

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from andon.foundation.errors import InputError, JudgeError
from andon.monitor.judging import decide
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.judge import Judge, judge_of
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict

FRAME: NDArray[np.uint8] = np.zeros((4, 4, 1), np.uint8)
REF = Ref(key="a.png", time_s=3.0)


def _judge(answer: Verdict | Exception) -> Judge:
    def call(_data: NDArray[Any]) -> Verdict:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Judge(call, threshold=2.5, model="abc", unit="frame")


def test_the_verdict_of_the_judge_is_passed_on_unchanged_with_the_data_that_it_is_about() -> None:
    verdict = Verdict(status=Status.REJECT, score=3.0, threshold=2.5, model="abc")

    outcome = decide(Item(REF, FRAME), _judge(verdict), seq=7, wall_s=1.0)

    assert outcome.verdict is verdict
    assert outcome.data is FRAME
    assert (outcome.seq, outcome.ref, outcome.detail) == (7, REF, "")


def test_an_item_that_the_model_file_was_not_calibrated_for_is_invalid_with_what_came() -> None:
    outcome = decide(Item(REF, FRAME), _judge(InputError("expected 5 x 5, got 4 x 4")), seq=1, wall_s=0.0)

    assert outcome.verdict.status is Status.INVALID
    assert outcome.verdict.reason is Reason.WRONG_INPUT
    assert outcome.detail == "expected 5 x 5, got 4 x 4"
    assert (outcome.verdict.threshold, outcome.verdict.model) == (2.5, "abc")


def test_an_item_that_the_runtime_could_not_judge_is_failed_and_not_wrong(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        outcome = decide(Item(REF, FRAME), _judge(JudgeError("no memory")), seq=1, wall_s=0.0)

    assert (outcome.verdict.status, outcome.verdict.reason) == (Status.INVALID, Reason.FAILED)
    assert outcome.detail == "judging failed: no memory"
    assert [(record.getMessage(), record.exc_info) for record in caplog.records] == [
        ("a.png: judging failed: no memory", None)
    ]


def test_a_bug_in_judging_one_item_makes_it_invalid_and_leaves_a_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        outcome = decide(Item(REF, FRAME), _judge(ZeroDivisionError("by nought")), seq=1, wall_s=0.0)

    assert outcome.verdict.status is Status.INVALID
    assert outcome.detail == "judging failed: ZeroDivisionError: by nought"
    assert caplog.records[0].exc_info is not None
    assert (
        caplog.records[0].getMessage().endswith("The item is INVALID, and the monitor continues. Report this as a bug.")
    )


@given(st.sampled_from(list(Reason)))
def test_a_lost_item_is_invalid_with_a_reason_whatever_the_source_says(reason: Reason) -> None:
    outcome = decide(Lost(REF, reason, "why"), _judge(ValueError("is never asked")), seq=1, wall_s=0.0)

    assert outcome.verdict.status is Status.INVALID
    assert outcome.verdict.reason is (reason if reason is not Reason.NONE else Reason.LOST)
    assert outcome.detail == "why"


@settings(max_examples=60)
@given(
    data=arrays.arrays(
        dtype=st.sampled_from([np.uint8, np.float32, np.uint16, np.bool_]),
        shape=arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=25),
    )
)
def test_no_array_makes_a_real_detector_raise_and_none_but_a_fitting_one_is_judged(
    data: NDArray[Any], detector: Detector
) -> None:
    judge = judge_of(detector)

    outcome = decide(Item(REF, data), judge, seq=1, wall_s=0.0)

    fits = data.dtype == np.uint8 and data.shape in ((24, 24), (24, 24, 1))
    assert fits or outcome.verdict.status is Status.INVALID
    assert outcome.verdict.model == judge.model
