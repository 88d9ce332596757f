"""Parts of a running line: one decision for each trigger, in order, in time also if the judge hangs."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.foundation.errors import ConfigError
from andon.monitor.event import AlarmChanged, Body, InvalidBegan, InvalidEnded, LateScore, Rejected, ToReview
from andon.monitor.frame_queue import FrameQueue
from andon.monitor.judging import Outcome
from andon.monitor.line_judge import LineJudge
from andon.monitor.loop import queue_for
from andon.monitor.part_decisions import PartDecisions
from andon.monitor.part_settings import MAX_OPEN, PartSettings, parts_from_table
from andon.monitor.parts import PartDecision
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.judge import Judge
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict, part_status
from andon.sources.clock import SystemClock

LONG_S = 1000.0


class HandClock(SystemClock):
    """A clock that a test turns. The wall clock goes on."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def mono_s(self) -> float:
        return self.now_s


class Watched:
    """A line of parts without a source: frames come by `give`, and are judged by `judge_all`.

    The level of a frame is its verdict: 1 OK, 2 REVIEW, 3 REJECT, 0 INVALID.
    """

    def __init__(self, clock: SystemClock | None = None, *, live: bool = True, **given: Any) -> None:
        self.clock = clock or SystemClock()
        self.events: list[Body] = []
        self.decided: list[tuple[PartDecision, Outcome]] = []
        self.called = 0
        self.during_a_call: Callable[[], None] = lambda: None
        self.hang: threading.Event | None = None
        self.in_call = threading.Event()
        self.parts = PartDecisions(
            PartSettings(**{"deadline_s": LONG_S, **given}),
            self.clock,
            can_wait=not live,
            record=lambda body, _outcome: self.events.append(body),
            on_decision=lambda decision, outcome: self.decided.append((decision, outcome)),
        )
        self.queue: FrameQueue = queue_for(live=live, parts=self.parts)
        self.line = LineJudge(
            Judge(self._call, 1.0, "m", "frame"),
            sinks=[],
            clock=self.clock,
            record=lambda body, _outcome: self.events.append(body),
            parts=self.parts,
        )
        self.parts.start()

    def _call(self, frame: np.ndarray[Any, Any]) -> Verdict:
        self.called += 1
        self.during_a_call()
        if self.hang is not None:
            self.in_call.set()
            self.hang.wait(30.0)
        return VERDICTS[int(frame[0, 0, 0])]

    def give(self, key: str, level: int = 1, *, part: str = "") -> None:
        self.queue.give(Item(Ref(key=key, part=part), np.full((1, 1, 1), level, np.uint8)), self.clock.mono_s())

    def give_many(self, count: int) -> None:
        for number in range(count):
            self.give(str(number))

    def judge_all(self) -> None:
        while (taken := self.queue.take(0.0)) is not None:
            self.line.judge(taken)

    def end(self) -> list[PartDecision]:
        self.parts.close()
        return [decision for decision, _ in self.decided]

    def of(self, kind: type) -> list[Any]:
        return [body for body in self.events if isinstance(body, kind)]


VERDICTS = [
    Verdict(status=Status.INVALID, reason=Reason.NO_CONTRAST),
    Verdict(status=Status.OK, score=0.5),
    Verdict(status=Status.REVIEW, score=0.9),
    Verdict(status=Status.REJECT, score=2.0),
]


def until(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    give_up_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < give_up_s, "the condition did not become true"
        time.sleep(0.002)


@pytest.fixture
def hung() -> Iterator[Watched]:
    """A line whose judge does not return from its first frame."""
    watched = Watched(deadline_s=0.2, guard_s=0.01, max_open=3)
    watched.hang = threading.Event()
    watched.give("a")
    thread = threading.Thread(target=watched.judge_all)
    thread.start()
    assert watched.in_call.wait(20.0)
    yield watched
    watched.hang.set()
    thread.join()


# Complaint 9: a slow judge delays all later decisions. The decision must not need the judge.
def test_a_part_is_invalid_in_time_while_the_judge_hangs_and_its_score_comes_late(hung: Watched) -> None:
    until(lambda: hung.decided)
    decision, outcome = hung.decided[0]
    assert hung.hang is not None
    hung.hang.set()
    until(lambda: hung.of(LateScore))
    hung.end()

    assert (decision.status, decision.problem, decision.action) == (Status.INVALID, "deadline", "reject")
    assert decision.at_s >= decision.triggered_s + 0.19
    assert outcome.detail == "deadline: 1 of 1 frames of the part were not judged before the decision"
    (late,) = hung.of(LateScore)
    assert (late.verdict.item, late.verdict.status) == ("a", "OK")
    assert (len(hung.decided), hung.parts.status().late) == (1, 1)


def test_parts_that_wait_behind_a_hung_judge_get_their_decisions_in_order_and_are_not_judged_later(
    hung: Watched,
) -> None:
    for key in "bcd":
        hung.give(key)
    until(lambda: len(hung.decided) == 4)
    assert hung.hang is not None
    hung.hang.set()
    until(lambda: hung.line.counters.grabbed == 4)
    hung.end()

    # d arrived while three parts were open
    assert [one.part for one, _ in hung.decided] == ["d", "a", "b", "c"]
    assert [one.problem for one, _ in hung.decided] == ["overrun", "deadline", "deadline", "deadline"]
    assert hung.called == 1
    assert (hung.line.counters.judged, hung.line.counters.invalid) == (1, 3)
    assert len(hung.of(LateScore)) == 1


# Complaint 8: frames are skipped without a count.
steps = st.lists(
    st.tuples(
        st.sampled_from(["give", "give", "judge", "wait"]), st.integers(0, 2), st.integers(0, 3), st.integers(0, 4)
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(1, 3), st.integers(1, 3))
def test_each_trigger_has_one_decision_in_order_and_every_frame_is_counted(
    given_steps: list[tuple[str, int, int, int]], frames: int, most: int
) -> None:
    clock = HandClock()
    watched = Watched(clock, frames=frames, max_open=most, deadline_s=10.0, guard_s=0.5)
    given_frames, part = 0, 0
    seen: dict[str, float] = {}
    judged: dict[str, list[Status]] = {}
    for step, next_part, level, quarters in given_steps:
        if step == "give":
            part += next_part
            name = f"part {part}"
            given_frames += 1
            watched.give(f"{given_frames}.png", level, part=name)
            seen.setdefault(name, clock.now_s)
        elif step == "judge":
            taken = watched.queue.take(0.0)
            if taken is not None:
                before = watched.called
                watched.line.judge(taken)
                if watched.called > before and taken.part is not None and isinstance(taken.item, Item):
                    judged.setdefault(taken.part, []).append(VERDICTS[int(taken.item.data[0, 0, 0])].status)
        else:
            clock.now_s += quarters / 4
    decisions = watched.end()
    watched.judge_all()

    assert sorted(one.part for one in decisions) == sorted(seen)
    in_order = [int(one.part.split()[1]) for one in decisions if one.problem != "overrun"]
    assert in_order == sorted(in_order)
    for one in decisions:
        assert one.triggered_s == seen[one.part]
        if one.problem != "overrun":
            missing = [Status.INVALID] * (one.missing > 0)
            assert one.status == part_status([*judged.get(one.part, []), *missing])
    end = watched.queue.finish()
    counters = watched.line.counters
    assert counters.grabbed + end.displaced + end.left == given_frames
    assert counters.grabbed == counters.judged + counters.invalid + counters.dropped
    status = watched.parts.status()
    assert (status.open, status.decided, sum(status.by_status.values())) == (0, len(seen), len(seen))


def test_a_rejected_part_is_one_event_with_the_record_of_its_worst_frame() -> None:
    watched = Watched(frames=3)
    for key, level in (("a1", 1), ("a2", 3), ("a3", 2)):
        watched.give(key, level, part="a")
    for key in ("b1", "b2", "b3"):
        watched.give(key, 2, part="b")
    watched.judge_all()
    watched.end()

    (rejected,), (review,) = watched.of(Rejected), watched.of(ToReview)
    assert (rejected.verdict.item, rejected.verdict.part, rejected.verdict.seq) == ("a2", "a", 2)
    assert (review.verdict.part, review.verdict.status) == ("b", "REVIEW")
    assert [outcome.data is not None for _, outcome in watched.decided] == [True, True]


def test_invalid_parts_are_one_span_of_events_and_an_alarm_after_some_in_a_row() -> None:
    watched = Watched(max_invalid=2)
    for key, level in (("a", 1), ("b", 0), ("c", 0), ("d", 0), ("e", 1)):
        watched.give(key, level)
        watched.judge_all()
        until(lambda: watched.parts.status().open == 0)
    watched.end()

    (began,), (ended,) = watched.of(InvalidBegan), watched.of(InvalidEnded)
    assert (began.verdict.item, began.verdict.reason, ended.items) == ("b", "no_contrast", 3)
    assert [(one.alarm, one.change) for one in watched.of(AlarmChanged)] == [("parts", "raised"), ("parts", "cleared")]


def test_frames_without_a_name_are_parts_in_the_order_of_their_arrival() -> None:
    watched = Watched(frames=2)
    for number in range(5):
        watched.give(f"{number}.png", 3 if number == 3 else 1)
    watched.judge_all()
    decisions = watched.end()

    assert [(one.part, one.status.name, one.missing) for one in decisions] == [
        ("0.png", "OK", 0),
        ("2.png", "REJECT", 0),
        ("4.png", "INVALID", 1),
    ]


def test_a_key_that_comes_again_is_a_new_part() -> None:
    watched = Watched()
    for _ in range(3):
        watched.give("same.png")
        watched.judge_all()
    decisions = watched.end()

    assert [(one.part, one.status.name) for one in decisions] == [
        ("same.png", "OK"),
        ("same.png (2)", "OK"),
        ("same.png (3)", "OK"),
    ]


def test_a_message_about_the_source_is_no_part_and_its_silence_is_still_reported() -> None:
    watched = Watched()
    watched.queue.give(Lost(Ref(key="s#failed"), Reason.LOST), report=True)
    watched.queue.give(Lost(Ref(key="s#stale1"), Reason.STALE))
    watched.judge_all()
    watched.give("a")
    watched.judge_all()

    assert [one.part for one in watched.end()] == ["a"]
    assert [body.verdict.item for body in watched.of(InvalidBegan)] == ["s#failed", "s#stale1"]
    assert len(watched.of(InvalidEnded)) == 1


def test_a_frame_that_cannot_be_read_is_a_part_of_its_own() -> None:
    watched = Watched()
    watched.queue.give(Lost(Ref(key="torn.jpg"), Reason.UNREADABLE, "cut short"), time.monotonic())
    watched.judge_all()

    (decision,) = watched.end()
    assert (decision.part, decision.status, decision.reason) == ("torn.jpg", Status.INVALID, Reason.UNREADABLE)


# Complaint 9: true back-pressure for a source that can wait.
def test_a_source_that_can_wait_waits_for_room_and_no_part_is_an_overrun() -> None:
    watched = Watched(live=False, max_open=2)
    reader = threading.Thread(target=watched.give_many, args=(40,))
    reader.start()
    while watched.line.counters.grabbed < 40:
        watched.judge_all()
        time.sleep(0.001)
    reader.join()
    decisions = watched.end()

    assert [(one.part, one.status.name) for one in decisions] == [(str(number), "OK") for number in range(40)]


def test_a_reader_that_waits_for_room_is_free_when_the_queue_closes() -> None:
    watched = Watched(live=False, max_open=1)
    reader = threading.Thread(target=watched.give_many, args=(3,))
    reader.start()
    until(lambda: watched.parts.status().open == 1)
    watched.queue.close()
    reader.join(5.0)
    watched.end()

    assert not reader.is_alive()


# Complaint 9: scoring parts that are late anyway starves the following ones.
def test_a_frame_that_would_be_late_is_not_judged_and_the_line_tries_again_after_a_slow_period() -> None:
    clock = HandClock()
    watched = Watched(clock, deadline_s=1.0, guard_s=0.0)

    def slow_at_first() -> None:
        clock.now_s += 5.0 if watched.called <= 3 else 0.0

    watched.during_a_call = slow_at_first
    for number in range(12):
        watched.give(str(number))
        watched.judge_all()
        clock.now_s += 2.0
    decisions = watched.end()

    assert [one.status.name for one in decisions[:3]] == ["INVALID"] * 3
    assert decisions[-1].status is Status.OK
    assert {one.problem for one in decisions if one.status is Status.INVALID} == {"deadline"}
    assert 3 < watched.called < 12
    assert watched.line.counters.grabbed == 12


# ------------------------------------------------------------------ triggers from outside


def test_a_trigger_without_a_frame_and_a_frame_without_a_trigger_are_counted() -> None:
    watched = Watched(trigger="external", frames=1)
    assert watched.parts.waits_for_trigger
    watched.give("early")
    assert watched.parts.trigger(number=7)
    assert not watched.parts.waits_for_trigger
    watched.give("seven", 3)
    assert watched.parts.trigger(number=8)
    watched.judge_all()
    decisions = watched.end()

    assert [(one.part, one.status.name, one.problem) for one in decisions] == [
        ("7", "REJECT", ""),
        ("8", "INVALID", "no_frame"),
    ]
    assert watched.parts.status().untriggered == 1
    assert watched.of(Rejected)[0].verdict.part == "7"
    assert not watched.parts.trigger(number=9)  # the line has ended


# Complaint 8: skipped parts need a report.
def test_skipped_and_repeated_numbers_of_triggers_are_counted_and_skipped_ones_raise_an_alarm() -> None:
    watched = Watched(trigger="external", max_open=20)
    for number in (5, 6, 6, 9, 1, 5):
        watched.parts.trigger(number=number)
    decisions = watched.end()
    status = watched.parts.status()

    # 1 is a new start of the controller, so the second 5 is another part
    assert [one.part for one in decisions] == ["5", "6", "9", "1", "5 (6)"]
    assert (status.repeated, status.skipped, status.decided) == (1, 5, 5)
    raised = [one for one in watched.of(AlarmChanged) if one.alarm == "triggers" and one.change == "raised"]
    assert raised[0].text.startswith("2 triggers before number 9 did not arrive.")


def test_a_lost_frame_does_not_shift_the_frames_of_later_triggers_within_the_stated_time() -> None:
    clock = HandClock()
    watched = Watched(clock, trigger="external", frame_within_s=0.5)
    watched.parts.trigger()
    clock.now_s = 1.0
    watched.parts.trigger()
    watched.give("second", 3)
    watched.judge_all()
    decisions = watched.end()

    assert [(one.status.name, one.problem) for one in decisions] == [("INVALID", "no_frame"), ("REJECT", "")]


@pytest.mark.parametrize("late", [2, 4])
def test_triggers_that_arrive_late_and_together_get_no_frame_of_another_part(late: int) -> None:
    # a broker that hangs for some seconds delivers all triggers at once, when their parts have passed
    clock = HandClock()
    watched = Watched(clock, trigger="external", frame_within_s=0.5, max_open=20)
    for number in range(late):
        watched.parts.trigger(number=number)
    watched.give("the frame of the last trigger", 3)
    clock.now_s = 1.0
    watched.parts.trigger(number=late)
    watched.give("next", 1)
    watched.judge_all()
    decisions = watched.end()

    assert [(one.status.name, one.problem) for one in decisions] == [("INVALID", "no_frame")] * late + [("OK", "")]
    assert watched.parts.status().untriggered == 1


def test_a_trigger_with_the_name_of_a_part_gets_the_frames_of_this_name() -> None:
    watched = Watched(trigger="external")
    watched.parts.trigger(part="left")
    watched.parts.trigger(part="right")
    watched.give("1.png", 3, part="right")
    watched.give("2.png", 1, part="left")
    watched.judge_all()

    assert [(one.part, one.status.name) for one in watched.end()] == [("left", "OK"), ("right", "REJECT")]


def test_a_trigger_is_refused_if_parts_begin_with_their_first_frame() -> None:
    watched = Watched()
    with pytest.raises(ConfigError, match=r'Set trigger = "external" in \[line.parts\]'):
        watched.parts.trigger()
    watched.end()


def test_an_alarm_of_the_parts_can_be_acknowledged() -> None:
    watched = Watched(trigger="external")
    for number in (1, 3, 4):
        watched.parts.trigger(number=number)

    before = watched.parts.alarms["triggers"].condition
    assert watched.parts.acknowledge("triggers", 1, "an operator")
    assert (before, watched.parts.alarms["triggers"].condition) == ("rtn_unack", "normal")
    watched.end()


def test_close_ends_a_line_of_parts_that_never_ran() -> None:
    parts = PartDecisions(PartSettings(deadline_s=1.0, trigger="external"), SystemClock())
    parts.close()

    assert not parts.trigger()


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "l.toml: line[0].parts: expected deadline_s, got nothing."),
        ({"deadline_s": 0}, "l.toml: line[0].parts.deadline_s: expected a number > 0 and <= 3600, got 0."),
        (
            {"deadline_s": 1.0, "max_open": 2, "max_rate_hz": 3.0},
            "l.toml: line[0].parts: expected max_open or max_rate_hz",
        ),
        ({"deadline_s": 1.0, "guard_s": 1.0}, "l.toml: line[0].parts: expected guard_s below deadline_s"),
        ({"deadline_s": 1.0, "deadlin": 1}, "l.toml: line[0].parts.deadlin: unknown key (did you mean 'deadline_s'?)"),
        ({"deadline_s": 1.0, "on_invalid": "keep"}, "l.toml: line[0].parts.on_invalid: expected one of pass"),
    ],
)
def test_a_wrong_table_of_parts_is_refused_with_the_full_path(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parts_from_table(table, at="l.toml: line[0].parts")

    assert str(refusal.value).startswith(problem)


def test_the_number_of_open_parts_follows_from_the_rate() -> None:
    given_rate = parts_from_table({"deadline_s": 0.25, "max_rate_hz": 10}, at="x").rule

    assert (given_rate.max_open, PartSettings(deadline_s=1.0).rule.max_open) == (4, MAX_OPEN)
    assert msgspec.convert({"deadline_s": 1}, PartSettings).rule.frames == 1
