"""The image of a line: its result, its counters, and whether the line is ready."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.monitor.outcomes import some_outcome
from tests.monitor.statuses import FULL, LINE, statuses, with_line

from andon.monitor.health import readiness
from andon.monitor.parts import PartDecision
from andon.monitor.process_image import (
    LATE,
    LineResult,
    ProcessImage,
    ResultCode,
    after_result,
    in_doubt,
    line_ready,
    result_of_outcome,
    result_of_part,
    with_counters,
    with_state,
)
from andon.monitor.status import ProcessStatus
from andon.runtime.items import Ref
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import invalid

EMPTY = ProcessImage(line="bottles")
results = st.builds(
    LineResult,
    result=st.sampled_from([code for code in ResultCode if code]),
    part=st.text(max_size=5),
    score=st.none() | st.floats(0, 10),
    threshold=st.none() | st.floats(0, 10),
    reason=st.sampled_from(["", "black"]),
    judged_wall_s=st.floats(0, 2e9),
    model=st.just("0f3a"),
    at_s=st.floats(0, 1e6),
)


@given(st.lists(results, max_size=30))
def test_each_result_has_the_next_number_and_counts_once(given_results: list[LineResult]) -> None:
    image = EMPTY
    for number, result in enumerate(given_results, 1):
        before, image = image, after_result(image, result)

        assert image.number == image.total == number
        assert (image.result, image.part, image.score) == (result.result, result.part, result.score)
        counters = [(one.ok, one.review, one.reject, one.invalid) for one in (before, image)]
        assert all(old <= new for old, new in zip(*counters, strict=True))
    assert {code: getattr(image, code.name.lower()) for code in ResultCode if code} == {
        code: sum(result.result is code for result in given_results) for code in ResultCode if code
    }


@given(st.lists(results, min_size=1, max_size=10), st.lists(results, max_size=10))
def test_counters_go_on_while_a_result_stays(first: list[LineResult], more: list[LineResult]) -> None:
    shown = EMPTY
    for result in first:
        shown = after_result(shown, result)
    newer = shown
    for result in more:
        newer = after_result(newer, result)

    image = with_counters(shown, newer)

    assert image.total == newer.total
    assert (image.number, image.result, image.part) == (shown.number, shown.result, shown.part)


@given(st.lists(results, min_size=1, max_size=5))
def test_a_result_in_doubt_keeps_its_number_and_is_invalid(given_results: list[LineResult]) -> None:
    image = EMPTY
    for result in given_results:
        image = after_result(image, result)

    doubtful = in_doubt(image)

    assert (doubtful.number, doubtful.total) == (image.number, image.total)
    assert (doubtful.result, doubtful.reason, doubtful.score) == (ResultCode.INVALID, LATE, None)


@given(statuses, st.integers(1, 1000))
@example(FULL, 1)
def test_a_line_is_ready_only_if_it_alone_would_make_the_monitor_ready(status: ProcessStatus, heartbeat: int) -> None:
    for line in status.lines:
        image = with_state(replace(EMPTY, line=line.name), status, heartbeat=heartbeat)

        alone = readiness(replace(status, lines=(line,), store=None))
        assert image.ready is line_ready(line, status)
        assert image.ready is (alone.ok and line.state == "running" and not line.source_report)
        assert (image.state, image.heartbeat) == (line.state, heartbeat)


def test_a_line_that_judges_is_ready_whatever_the_other_lines_do() -> None:
    assert line_ready(LINE, FULL)
    broken = replace(FULL, lines=(LINE, replace(LINE, name="caps", state="failed")), store=None)
    assert not readiness(broken).ok
    assert line_ready(LINE, broken)


@pytest.mark.parametrize(
    "status",
    [
        with_line(state="starting"),
        with_line(state="retrying", quiet_ok=True),
        with_line(state="ended", quiet_ok=True),
        with_line(state="failed"),
        with_line(golden=False),
        with_line(source_report="stale", quiet_ok=True),
        with_line(source_report="warming"),
        with_line(source_report="gap"),
        with_line(last_outcome_s=900.0),
        with_line(judging_since_s=900.0),
        replace(FULL, stopping=True),
    ],
    ids=["starting", "retrying", "ended", "failed", "golden", "stale", "warming", "gap", "silent", "hung", "stopping"],
)
def test_a_line_that_cannot_judge_is_not_ready(status: ProcessStatus) -> None:
    assert with_state(EMPTY, status, heartbeat=1).ready is False


def test_a_line_with_a_refused_model_file_is_ready_because_the_old_file_judges() -> None:
    assert line_ready(LINE, with_line(reload_error="bottle.onnx: not a model file"))


def test_an_image_counts_active_alarms_and_has_the_model_before_the_first_result() -> None:
    image = with_state(EMPTY, FULL, heartbeat=1)

    assert image.alarms == 1
    assert image.model == LINE.model
    assert with_state(replace(EMPTY, number=1, model="old"), FULL, heartbeat=1).model == "old"
    assert with_state(replace(EMPTY, line="unknown", ready=True), FULL, heartbeat=1).ready is False


def test_the_outcome_of_an_item_becomes_a_result() -> None:
    result = result_of_outcome(some_outcome(7, Status.REJECT, 3.0), 12.0)

    assert result == LineResult(
        result=ResultCode.REJECT, part="line.mp4#7", score=3.0, threshold=2.0, judged_wall_s=7.0, model="0f3a", at_s=12.0
    )  # fmt: skip
    bad = result_of_outcome(some_outcome(8, Status.INVALID), 12.0)
    assert bad is not None
    assert (bad.result, bad.reason, bad.score) == (ResultCode.INVALID, "black", None)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason])
def test_a_report_about_the_source_is_no_result(reason: Reason) -> None:
    result = result_of_outcome(some_outcome(verdict=invalid(reason)), 1.0)

    assert (result is None) == (reason in (Reason.STALE, Reason.WARMING, Reason.GAP))


def test_the_decision_about_a_part_becomes_a_result() -> None:
    decision = PartDecision(
        part="part 4", status=Status.INVALID, reason=Reason.LOST, problem="deadline", missing=1, score=1.5, action="reject",
        triggered_s=9.0, at_s=10.0,
    )  # fmt: skip

    assert result_of_part(decision, some_outcome(status=Status.INVALID), 1.8e9) == LineResult(
        result=ResultCode.INVALID, part="part 4", score=1.5, threshold=2.0, reason="lost", judged_wall_s=1.8e9, model="0f3a",
        at_s=10.0,
    )  # fmt: skip


@given(st.text(max_size=400))
def test_any_name_of_an_item_becomes_a_short_readable_text(key: str) -> None:
    result = result_of_outcome(some_outcome(ref=Ref(key=key)), 1.0)

    assert result is not None
    assert result.part.isprintable()
    assert len(result.part) < 300
    assert msgspec.json.decode(msgspec.json.encode(result), type=LineResult) == result


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), None])
def test_a_score_that_is_no_number_is_none(number: float | None) -> None:
    decision = PartDecision(part="p", status=Status.OK, score=number, action="pass", triggered_s=0.0, at_s=0.0)

    assert result_of_part(decision, some_outcome(), 0.0).score is None
