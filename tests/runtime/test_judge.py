"""The loop from item to verdict: items that cannot be judged are INVALID with a reason, and the loop continues."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.hand_made import FRAME, frame, model_bytes, model_file

from andon.runtime import Detector, JudgeError, Reason, Status, Verdict
from andon.runtime.items import Data, Item, Lost, Ref
from andon.runtime.judge import Judge, JudgedItem, UnhealthyError, judge_item, judge_items
from andon.runtime.session import open_session


class OutOfMemory(Detector):
    """A detector whose runtime fails on frames of grey level 200."""

    def __call__(self, item: NDArray[np.uint8] | NDArray[np.float32]) -> Verdict:
        if item.mean() > 190:
            raise JudgeError("ONNX Runtime could not compute: out of memory")
        return super().__call__(item)


def _item(key: str, pixels: Data) -> Item:
    return Item(Ref(key=key), pixels)


def _judged(items: Sequence[Item | Lost]) -> list[JudgedItem]:
    return list(judge_items(Detector.from_bytes(model_bytes(FRAME, threshold=0.25)), items))


def _failing() -> OutOfMemory:
    data = model_bytes(FRAME, threshold=0.25)
    return OutOfMemory(model_file(FRAME, threshold=0.25), open_session(data, device="cpu"))


def test_an_item_of_another_size_type_or_shape_is_wrong_input_and_the_next_is_judged() -> None:
    odd = [
        _item("size", frame(1, size=(40, 48))),
        _item("type", frame(1).astype(np.float32)),
        _item("grey", frame(1)[:, :, 0]),
    ]

    made = _judged([_item("a", frame(1)), *odd, _item("b", frame(2, level=220))])

    assert [one.verdict.status for one in made] == [Status.OK, *[Status.INVALID] * 3, Status.REJECT]
    assert {one.verdict.reason for one in made[1:4]} == {Reason.WRONG_INPUT}
    assert [one.judged for one in made] == [True, False, False, False, True]
    assert made[1].detail.startswith("expected frames of 32 x 48 (height x width)")
    assert [one.ref.key for one in made] == ["a", "size", "type", "grey", "b"]


def test_a_lost_item_keeps_its_reason_and_what_exactly_was_wrong() -> None:
    unreadable, silent = _judged(
        [Lost(Ref(key="torn"), Reason.UNREADABLE, "ends after 100 bytes"), Lost(Ref(key="x"), Reason.NONE)]
    )

    assert (unreadable.verdict.reason, unreadable.detail) == (Reason.UNREADABLE, "ends after 100 bytes")
    assert (silent.verdict.reason, silent.detail) == (Reason.LOST, Reason.LOST.text)
    assert unreadable.data is None
    assert not unreadable.judged


def test_an_item_that_a_check_refuses_is_invalid_with_the_reason_of_the_check_and_was_not_judged() -> None:
    def call(_data: Data) -> Verdict:
        raise UnhealthyError(Reason.FROZEN, "12 equal frames")

    one = judge_item(Judge(call, 2.5, "abc", "frame"), _item("a", frame(1)))

    assert (one.verdict.status, one.verdict.reason, one.detail) == (Status.INVALID, Reason.FROZEN, "12 equal frames")
    assert (one.verdict.threshold, one.verdict.model, one.judged) == (2.5, "abc", False)


def test_a_frame_that_the_graph_calls_invalid_was_judged() -> None:
    (black,) = _judged([_item("black", np.zeros((32, 48, 3), np.uint8))])

    assert (black.verdict.status, black.verdict.reason) == (Status.INVALID, Reason.NO_CONTRAST)
    assert black.judged
    assert black.detail == Reason.NO_CONTRAST.text


def test_a_verdict_that_never_reached_the_graph_names_file_and_threshold() -> None:
    detector = Detector.from_bytes(model_bytes(FRAME, threshold=0.25))

    (lost,) = judge_items(detector, [Lost(Ref(key="torn"), Reason.UNREADABLE)])

    assert (lost.verdict.threshold, lost.verdict.model) == (0.25, detector.model.short_digest)


def test_a_failure_of_the_runtime_is_invalid_where_the_caller_wants_to_go_on() -> None:
    items = [_item("a", frame(1)), _item("b", frame(2, level=220)), _item("c", frame(3))]

    made = list(judge_items(_failing(), items, on_failure="invalid"))

    assert [one.verdict.status for one in made] == [Status.OK, Status.INVALID, Status.OK]
    assert (made[1].verdict.reason, made[1].detail) == (
        Reason.FAILED,
        "judging failed: ONNX Runtime could not compute: out of memory",
    )


def test_a_failure_of_the_runtime_ends_the_loop_by_default_and_names_the_item() -> None:
    loop = judge_items(_failing(), [_item("a", frame(1)), _item("b", frame(2, level=220))])

    assert next(loop).verdict.status is Status.OK
    with pytest.raises(JudgeError, match=r"^b: ONNX Runtime could not compute"):
        next(loop)
