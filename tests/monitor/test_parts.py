"""Parts: one decision for each trigger, in order, before the deadline, and never OK with a missing frame."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import ConfigError
from andon.monitor.parts import (
    REMEMBERED,
    Decisions,
    PartRule,
    PartsState,
    arrival,
    due_s,
    end,
    frame,
    parts_in_flight,
    tick,
    trigger,
    unhealthy,
)
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict, invalid, part_status

RULE = PartRule(frames=2, deadline_s=1.0, guard_s=0.25, max_open=3)
OK = Verdict(status=Status.OK, score=0.5)
REVIEW = Verdict(status=Status.REVIEW, score=0.95)
REJECT = Verdict(status=Status.REJECT, score=2.0)
BLACK = invalid(Reason.BLACK)


def decide(*verdicts: Verdict, rule: PartRule = RULE) -> Any:
    """Return the decision about a part with these frames, at its deadline if some are missing."""
    state, _ = trigger(PartsState(), "a", 0.0, rule)
    for verdict in verdicts:
        state, decisions = frame(state, "a", verdict, 0.1, rule)
        if decisions:
            return decisions[0]
    return tick(state, 0.75, rule)[1][0]


@pytest.mark.parametrize(
    ("verdicts", "status", "reason", "problem", "action"),
    [
        ([OK, OK], Status.OK, Reason.NONE, "", "pass"),
        ([OK, REVIEW], Status.REVIEW, Reason.NONE, "", "pass"),
        ([OK, REJECT], Status.REJECT, Reason.NONE, "", "reject"),
        ([BLACK, REJECT], Status.REJECT, Reason.NONE, "", "reject"),
        ([REJECT], Status.REJECT, Reason.NONE, "deadline", "reject"),
        ([OK, BLACK], Status.INVALID, Reason.BLACK, "", "reject"),
        ([OK], Status.INVALID, Reason.LOST, "deadline", "reject"),
        ([REVIEW], Status.INVALID, Reason.LOST, "deadline", "reject"),
        ([BLACK], Status.INVALID, Reason.BLACK, "deadline", "reject"),
        ([], Status.INVALID, Reason.LOST, "no_frame", "reject"),
    ],
)
def test_the_decision_about_a_part_follows_the_agreed_table(
    verdicts: list[Verdict], status: Status, reason: Reason, problem: str, action: str
) -> None:
    decision = decide(*verdicts)

    assert (decision.status, decision.reason, decision.problem, decision.action) == (status, reason, problem, action)
    assert decision.missing == 2 - len(verdicts)
    assert decision.score == max((v.score for v in verdicts if not math.isnan(v.score)), default=None)


@pytest.mark.parametrize("action", ["pass", "reject", "stop"])
def test_the_user_chooses_what_happens_to_an_invalid_or_a_review_part(action: Any) -> None:
    rule = msgspec.structs.replace(RULE, on_invalid=action, on_review=action)

    assert (decide(OK, rule=rule).action, decide(OK, REVIEW, rule=rule).action) == (action, action)
    assert (decide(OK, OK, rule=rule).action, decide(OK, REJECT, rule=rule).action) == ("pass", "reject")


def test_a_complete_part_is_decided_at_once_and_an_incomplete_one_shortly_before_its_deadline() -> None:
    state, _ = trigger(PartsState(), "a", 10.0, RULE)
    state, early = frame(state, "a", OK, 10.1, RULE)
    state, decided = frame(state, "a", OK, 10.2, RULE)
    state, _ = trigger(state, "b", 11.0, RULE)
    state, before = tick(state, 11.74, RULE)
    state, at_deadline = tick(state, 11.75, RULE)

    assert (early, [one.at_s for one in decided]) == ((), [10.2])
    assert (before, [(one.part, one.at_s) for one in at_deadline]) == ((), [("b", 11.75)])


# Complaint 9: late results pile up. A late frame must not act on the next part.
def test_a_frame_after_the_decision_is_counted_and_never_acts() -> None:
    state, _ = trigger(PartsState(), "a", 0.0, RULE)
    state, _ = frame(state, "a", OK, 0.1, RULE)
    # at the time of the decision itself: the part is decided first
    state, decisions = frame(state, "a", REJECT, 0.75, RULE)
    state, later = frame(state, "a", REJECT, 0.8, RULE)

    assert [(one.part, one.status) for one in decisions] == [("a", Status.INVALID)]
    assert (later, state.late, state.surplus, state.untriggered) == ((), 1, 1, 0)


def test_a_surplus_frame_of_an_open_part_can_only_make_it_worse() -> None:
    state, _ = trigger(PartsState(), "a", 0.0, RULE)
    state, _ = trigger(state, "b", 0.1, RULE)
    for verdict in (OK, OK, REJECT):
        state, decisions = frame(state, "b", verdict, 0.2, RULE)
        assert decisions == ()  # it waits for the decision about a
    state, decisions = tick(state, 0.75, RULE)

    assert [(one.part, one.status) for one in decisions] == [("a", Status.INVALID), ("b", Status.REJECT)]
    assert state.surplus == 1


def test_a_trigger_while_too_many_parts_are_open_is_invalid_at_once_and_counted() -> None:
    state = PartsState()
    for part in "abc":
        state, _ = trigger(state, part, 0.0, RULE)
    state, (decision,) = trigger(state, "d", 0.1, RULE)
    state, nothing = frame(state, "d", OK, 0.2, RULE)

    assert (decision.part, decision.status, decision.problem) == ("d", Status.INVALID, "overrun")
    assert (nothing, state.late, [one.part for one in state.open]) == ((), 1, ["a", "b", "c"])


def test_a_frame_without_a_trigger_is_counted_and_gives_no_decision() -> None:
    state, decisions = frame(PartsState(), "a", REJECT, 0.0, RULE)

    assert (decisions, state.untriggered, state.decided) == ((), 1, 0)


# Complaint 8: frames are skipped without a count.
def test_a_skipped_number_of_a_trigger_is_counted_and_a_new_start_is_not() -> None:
    state = PartsState()
    for number in (5, 6, 9, 1, 2):
        state, _ = trigger(state, f"part {number}", float(number), RULE, number=number)

    assert state.skipped == 2


def test_a_trigger_that_comes_twice_for_a_part_is_ignored_and_counted() -> None:
    state, _ = trigger(PartsState(), "a", 0.0, RULE)
    state, _ = trigger(state, "a", 0.1, RULE)
    state, decisions = tick(state, 5.0, RULE)
    state, more = trigger(state, "a", 5.0, RULE)

    assert (len(decisions), more, state.repeated, state.open) == (1, (), 2, ())


def test_several_invalid_parts_in_a_row_make_the_line_unhealthy_and_one_good_part_ends_it() -> None:
    state, now_s, seen = PartsState(), 0.0, []
    for verdict in [BLACK] * 5 + [OK]:
        now_s += 1.0
        state, _ = trigger(state, str(now_s), now_s, RULE)
        for _ in range(2):
            state, _ = frame(state, str(now_s), verdict, now_s, RULE)
        seen.append(unhealthy(state, RULE))

    assert seen == [False] * 4 + [True, False]


VERDICTS = [OK, REVIEW, REJECT, BLACK]
# quarters of a second: sums and differences are exact
pauses = st.integers(0, 3).map(lambda quarters: quarters / 4)
actions = st.tuples(pauses, st.sampled_from(["trigger", "frame", "tick"]), st.integers(0, 4), st.sampled_from(VERDICTS))


@given(st.lists(actions, max_size=80), st.integers(1, 3))
def test_each_trigger_gets_one_decision_in_order_and_in_time_and_stored_states_go_on(
    given_actions: list[tuple[float, str, int, Verdict]], frames: int
) -> None:
    rule = msgspec.structs.replace(RULE, frames=frames)
    state, now_s, count = PartsState(), 0.0, 0
    triggered, verdicts, decided = dict[str, float](), dict[str, list[Status]](), list[Any]()
    total_frames = counted_frames = 0
    for pause_s, action, back, verdict in given_actions:
        # the caller's timer: no decision may wait for the next item
        while state.open and due_s(state.open[0], rule) <= now_s + pause_s:
            state, decisions = tick(state, due_s(state.open[0], rule), rule)
            decided += decisions
        now_s += pause_s
        if action == "trigger":
            count += 1
            triggered[str(count)], verdicts[str(count)] = now_s, []
            state, decisions = trigger(state, str(count), now_s, rule)
        elif action == "frame":
            part = str(max(0, count - back))
            total_frames += 1
            if any(one.part == part for one in state.open):
                verdicts[part].append(verdict.status)
                counted_frames += 1
            state, decisions = frame(state, part, verdict, now_s, rule)
        else:
            state, decisions = tick(state, now_s, rule)
        decided += decisions
        state = msgspec.json.decode(msgspec.json.encode(state), type=PartsState)
        assert len(state.open) <= rule.max_open
        assert len(state.past) <= REMEMBERED
    state, decisions = tick(state, now_s + 100.0, rule)
    decided += decisions

    assert sorted(one.part for one in decided) == sorted(triggered)
    in_order = [int(one.part) for one in decided if one.problem != "overrun"]
    assert in_order == sorted(in_order)
    last = {one.part for one in decisions}
    assert all(one.at_s <= triggered[one.part] + rule.deadline_s for one in decided if one.part not in last)
    for one in decided:
        missing = max(0, frames - len(verdicts[one.part]))
        assert one.missing == missing
        assert one.status == part_status([*verdicts[one.part], *[Status.INVALID] * missing])
    in_past_or_unknown = state.late + state.untriggered + state.surplus
    surplus_of_open = sum(max(0, len(seen) - frames) for seen in verdicts.values())
    assert total_frames == counted_frames + in_past_or_unknown - surplus_of_open


# Complaint 22: a step of the clock corrupts order and decisions.
def test_a_clock_that_goes_back_delays_no_decision() -> None:
    state, _ = trigger(PartsState(), "a", 10.0, RULE)
    state, _ = tick(state, 10.5, RULE)
    state, _ = trigger(state, "b", 3.0, RULE)
    state, decisions = tick(state, 11.25, RULE)

    assert [one.part for one in decisions] == ["a", "b"]


def test_a_time_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="expected finite monotonic seconds, got inf"):
        tick(PartsState(), math.inf, RULE)


def test_as_many_parts_may_be_open_as_come_within_a_deadline() -> None:
    state, decided = PartsState(), list[Decisions]()
    rule = PartRule(deadline_s=0.5, max_open=parts_in_flight(10.0, 0.5))
    for number in range(100):
        state, decisions = trigger(state, str(number), number / 10, rule)
        decided.append(decisions)

    assert {one.problem for decisions in decided for one in decisions} == {"no_frame"}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"frames": 0}, "frames of at least 1, got 0"),
        ({"max_open": 0}, "max_open of at least 1, got 0"),
        ({"max_invalid": 0}, "max_invalid of at least 1, got 0"),
        ({"deadline_s": 0.005}, "expected 0 <= guard_s < deadline_s, got guard_s = 0.005, deadline_s = 0.005"),
        ({"deadline_s": math.nan}, "deadline_s = nan"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        PartRule(**{"deadline_s": 1.0, **settings})


def test_a_frame_that_arrived_and_was_not_judged_makes_the_problem_the_deadline() -> None:
    state, _ = trigger(PartsState(), "a", 0.0, RULE)
    state, _ = trigger(state, "b", 0.0, RULE)
    state = arrival(state, "a")
    _, decisions = tick(state, 1.0, RULE)

    assert [(one.part, one.problem, one.triggered_s) for one in decisions] == [
        ("a", "deadline", 0.0),
        ("b", "no_frame", 0.0),
    ]


def test_at_the_end_all_open_parts_are_decided_in_order_and_none_is_passed() -> None:
    state, _ = trigger(PartsState(), "a", 0.0, RULE)
    state, _ = trigger(state, "b", 0.1, RULE)
    state, _ = frame(state, "b", OK, 0.1, RULE)
    state, _ = frame(state, "b", OK, 0.1, RULE)
    state, decisions = end(state, 0.2, RULE)

    assert [(one.part, one.status, one.at_s) for one in decisions] == [
        ("a", Status.INVALID, 0.2),
        ("b", Status.OK, 0.2),
    ]
    assert (state.open, state.decided) == ((), 2)
