"""The alarm: it does not flap, it survives a restart, and it does what a slow reference model does."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from andon.foundation.errors import ConfigError
from andon.monitor.alarms import (
    AlarmEvent,
    AlarmRule,
    AlarmState,
    acknowledge,
    output_on,
    reloaded,
    resumed,
    step,
)
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict, invalid

TABLE_RULE = AlarmRule(
    signal="score", on=1.0, off=0.8, k=2, n=3, clear_n=2, min_on_s=4.0, refractory_s=5.0, latch=True, max_gap_s=3.0
)
# time, score (None: INVALID) or "ack"; window after, cold, active, condition, event, suppressed
TABLE: list[tuple[float, float | str | None, str, int, bool, str, str, int]] = [
    (0, 0.5, "0", 1, False, "normal", "", 0),
    (1, 1.2, "01", 0, False, "normal", "", 0),
    (2, 0.9, "010", 0, False, "normal", "", 0),
    (3, 1.1, "101", 0, True, "unack", "raised", 0),
    (4, 0.7, "010", 1, True, "unack", "", 0),
    (5, 0.7, "100", 2, True, "unack", "", 0),
    (6, None, "100", 2, True, "unack", "", 0),
    (7, 0.7, "", 0, False, "rtn_unack", "cleared", 0),
    (8, 1.3, "1", 0, False, "rtn_unack", "", 0),
    (9, 1.3, "11", 0, False, "rtn_unack", "", 1),
    (10, 0.85, "110", 0, False, "rtn_unack", "", 1),
    (10, "ack", "110", 0, False, "normal", "acked", 1),
    (11, 1.2, "101", 0, False, "normal", "", 2),
    (12, 1.0, "010", 0, False, "normal", "", 2),
    (13, 1.4, "101", 0, True, "unack", "raised", 2),
    (16.5, 1.2, "1", 0, True, "unack", "", 2),
    (17, 1.2, "11", 0, True, "unack", "", 2),
    (17, "ack", "11", 0, True, "acked", "acked", 2),
    (18, 0.6, "110", 1, True, "acked", "", 2),
    (19, 0.6, "", 0, False, "normal", "cleared", 2),
]


def scored(score: float | None) -> Verdict:
    """Return a verdict of that score by a threshold of 1. None is INVALID."""
    if score is None:
        return invalid(Reason.STALE, threshold=1.0)
    return Verdict(status=Status.REJECT if score > 1.0 else Status.OK, score=score, threshold=1.0)


# Complaint 21: alarms flap, with one threshold or with a recovery threshold that does not work.
def test_the_alarm_follows_the_agreed_table() -> None:
    state = AlarmState()
    seen = []
    for at_s, what, *_ in TABLE:
        state, events = (
            acknowledge(state, state.alarm, at_s)
            if isinstance(what, str)
            else step(state, scored(what), at_s, TABLE_RULE)
        )
        window = "".join("01"[hot] for hot in state.window)
        kinds = ",".join(event.kind for event in events)
        seen.append((at_s, what, window, state.cold, state.active, state.condition, kinds, state.suppressed))

    assert seen == TABLE
    assert state.alarm == 2


# Quarters of a second and levels of a tenth: sums and differences are exact, so that properties hold exactly, too.
pauses = st.integers(0, 20).map(lambda quarters: quarters / 4)
levels = st.integers(-2, 20).map(lambda tenths: tenths / 10)
items = st.lists(st.tuples(pauses, st.none() | levels | st.sampled_from(["ack", "old ack"])), max_size=60)
Items = list[tuple[float, Any]]


@st.composite
def rules(draw: st.DrawFn) -> AlarmRule:
    n = draw(st.integers(1, 5))
    on = draw(levels)
    return AlarmRule(
        signal="score",
        on=on,
        off=draw(st.none() | levels.filter(lambda off: off <= on)),
        k=draw(st.integers(1, n)),
        n=n,
        clear_n=draw(st.integers(1, 3)),
        min_on_s=draw(pauses),
        refractory_s=draw(pauses),
        latch=draw(st.booleans()),
        max_gap_s=draw(st.none() | pauses),
    )


def run(
    given_items: Items,
    rule: AlarmRule,
    *,
    start_s: float = 0.0,
    between: Callable[[AlarmState], AlarmState] | None = None,
) -> list[tuple[float, AlarmState, tuple[AlarmEvent, ...]]]:
    """Return time, state and events after each item."""
    state, now_s, seen = AlarmState(), start_s, []
    for pause_s, what in given_items:
        now_s += pause_s
        if isinstance(what, str):
            state, events = acknowledge(state, state.alarm - (what == "old ack"), now_s)
        else:
            state, events = step(state, scored(what), now_s, rule)
        state = between(state) if between else state
        seen.append((now_s, state, events))
    return seen


def reference(given_items: Items, rule: AlarmRule) -> list[bool]:
    """Return whether the alarm is active after each item. Slow: it looks back over the history each time."""
    on, off = rule.on or 0.0, rule.on or 0.0 if rule.off is None else rule.off
    active, changed_s, now_s, history, answers = False, -math.inf, 0.0, list[tuple[float, float]](), []
    for pause_s, what in given_items:
        now_s += pause_s
        if isinstance(what, float):
            if rule.max_gap_s is not None and history and now_s - history[-1][0] > rule.max_gap_s:
                history = []
            history.append((now_s, what))
            alarming = what > on and sum(score > on for _, score in history[-rule.n :]) >= rule.k
            calm = len(history) >= rule.clear_n and all(score <= off for _, score in history[-rule.clear_n :])
            least_s = rule.min_on_s if active else rule.refractory_s
            if (calm if active else alarming) and now_s - changed_s >= least_s:
                active, changed_s, history = not active, now_s, [] if active else history
        answers.append(active)
    return answers


@given(items, rules())
def test_the_alarm_is_active_when_a_slow_reference_model_says_so(given_items: Items, rule: AlarmRule) -> None:
    assert [state.active for _, state, _ in run(given_items, rule)] == reference(given_items, rule)


@given(items, rules())
def test_raises_and_clears_alternate_and_two_raises_keep_their_distance(given_items: Items, rule: AlarmRule) -> None:
    events = [event for _, _, all_events in run(given_items, rule) for event in all_events]
    changes = [event for event in events if event.kind in ("raised", "repeated", "cleared")]
    raised_s = [event.at_s for event in changes if event.kind != "cleared"]

    assert all((event.kind == "cleared") == bool(number % 2) for number, event in enumerate(changes))
    assert all(b - a >= rule.min_on_s + rule.refractory_s for a, b in itertools.pairwise(raised_s))


@given(items, rules())
def test_a_raise_comes_only_with_a_hot_item_and_k_hot_ones_in_the_window(given_items: Items, rule: AlarmRule) -> None:
    for (_, what), (_, state, events) in zip(given_items, run(given_items, rule), strict=True):
        if events and events[0].kind in ("raised", "repeated"):
            assert what > rule.on
            assert state.window[-1]
            assert len(state.window) <= rule.n
            assert sum(state.window) >= rule.k


# Complaint 22: a step of the clock corrupts order and decisions.
@given(items, rules(), st.integers(0, 1000).map(float))
def test_only_differences_of_times_count(given_items: Items, rule: AlarmRule, start_s: float) -> None:
    early, late = run(given_items, rule), run(given_items, rule, start_s=start_s)

    assert [(s.active, s.window, s.condition, s.suppressed) for _, s, _ in early] == [
        (s.active, s.window, s.condition, s.suppressed) for _, s, _ in late
    ]


@given(items, rules())
def test_a_state_that_was_stored_as_json_between_any_two_items_goes_on_the_same(
    given_items: Items, rule: AlarmRule
) -> None:
    def stored(state: AlarmState) -> AlarmState:
        return msgspec.json.decode(msgspec.json.encode(state), type=AlarmState)

    assert run(given_items, rule, between=stored) == run(given_items, rule)


@given(items, rules(), st.lists(pauses, min_size=1, max_size=20))
def test_a_run_of_invalid_items_changes_nothing_except_the_window_after_a_gap(
    given_items: Items, rule: AlarmRule, silence: list[float]
) -> None:
    seen = run([*given_items, *((pause_s, None) for pause_s in silence)], rule)
    before = seen[len(given_items) - 1][1] if given_items else AlarmState()
    now_s, after, _ = seen[-1]

    gap = before.counted_s is not None and rule.max_gap_s is not None and now_s - before.counted_s > rule.max_gap_s
    window, cold = ((), 0) if gap else (before.window, before.cold)
    assert after == structs.replace(before, window=window, cold=cold, now_s=now_s)
    assert not any(events for _, _, events in seen[len(given_items) :])


@given(items)
def test_without_numbers_and_times_the_alarm_is_on_exactly_while_scores_are_above_the_level(given_items: Items) -> None:
    active = False
    for (_, what), (_, state, _) in zip(given_items, run(given_items, AlarmRule(signal="score", on=1.0)), strict=True):
        active = what > 1.0 if isinstance(what, float) else active
        assert state.active == active


@given(items, rules(), st.randoms(use_true_random=False))
def test_a_time_before_the_latest_one_is_treated_as_the_latest_one(
    given_items: Items, rule: AlarmRule, random: Any
) -> None:
    exact, jumping = AlarmState(), AlarmState()
    now_s = 100.0
    for pause_s, what in given_items:
        if isinstance(what, str):
            continue
        now_s += pause_s
        exact, expected = step(exact, scored(what), now_s, rule)
        # an equal time after a later one: the clock of another thread was read a little earlier
        jumping, got = step(jumping, scored(what), now_s, rule)
        jumping, more = step(jumping, scored(None), now_s - random.randint(0, 50), rule)
        assert (got, more) == (expected, ())
        assert jumping == step(exact, scored(None), now_s, rule)[0]


def test_equal_times_are_normal_and_items_count_in_their_order() -> None:
    rule = AlarmRule(signal="score", on=1.0, k=2, n=2)
    state, first = step(AlarmState(), scored(2.0), 5.0, rule)
    state, second = step(state, scored(2.0), 5.0, rule)
    state, third = step(state, scored(0.0), 5.0, rule)

    assert (first, [event.kind for event in second], [event.kind for event in third]) == ((), ["raised"], ["cleared"])


def test_a_time_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="expected finite monotonic seconds, got nan"):
        step(AlarmState(), scored(2.0), math.nan, AlarmRule())


def verdict(status: Status) -> Verdict:
    return invalid(Reason.BLACK) if status is Status.INVALID else Verdict(status=status, score=1.0, threshold=1.0)


@pytest.mark.parametrize(
    ("status", "active_before", "active_after"),
    [
        (Status.OK, True, False),
        (Status.REVIEW, True, False),
        (Status.INVALID, True, True),
        (Status.INVALID, False, False),
        (Status.REVIEW, False, False),
        (Status.REJECT, False, True),
    ],
)
def test_review_counts_as_not_rejected_and_invalid_neither_raises_nor_clears(
    status: Status, active_before: bool, active_after: bool
) -> None:
    state = AlarmState()
    if active_before:
        state, _ = step(state, verdict(Status.REJECT), 0.0, AlarmRule())

    assert step(state, verdict(status), 1.0, AlarmRule())[0].active == active_after


def test_a_health_alarm_counts_invalid_items_and_one_bad_frame_does_not_raise_it() -> None:
    rule = AlarmRule(signal="invalid", k=3, n=5)
    state, raised_at = AlarmState(), []
    for number, status in enumerate("I..I..RIII"):
        one = {"I": Status.INVALID, ".": Status.OK, "R": Status.REJECT}[status]
        state, events = step(state, verdict(one), float(number), rule)
        raised_at += [(number, event.kind) for event in events]

    assert raised_at == [(9, "raised")]


def test_a_score_that_is_not_a_number_does_not_count() -> None:
    rule = AlarmRule(signal="score", on=1.0)

    assert step(AlarmState(), Verdict(status=Status.OK), 0.0, rule)[0].window == ()


def test_a_latched_alarm_keeps_its_output_until_it_is_acknowledged_and_another_alarm_cannot_be() -> None:
    rule = AlarmRule(latch=True)
    state, _ = step(AlarmState(), verdict(Status.REJECT), 0.0, rule)
    state, _ = step(state, verdict(Status.OK), 1.0, rule)
    assert output_on(state, rule)

    refused_state, (refused,) = acknowledge(state, 7, 2.0)
    assert (refused.kind, refused.alarm, refused_state.condition) == ("ack_refused", 7, "rtn_unack")
    state, (acked,) = acknowledge(state, 1, 3.0)
    assert (acked.kind, acked.alarm, output_on(state, rule)) == ("acked", 1, False)
    assert acknowledge(state, 1, 4.0)[1] == ()


def test_an_alarm_that_returns_before_it_is_acknowledged_keeps_its_number() -> None:
    rule = AlarmRule(latch=True)
    state, seen = AlarmState(), []
    for now_s, status in enumerate([Status.REJECT, Status.OK, Status.REJECT]):
        state, events = step(state, verdict(status), float(now_s), rule)
        seen += [(event.kind, event.alarm, event.occurrence) for event in events]

    assert seen == [("raised", 1, 1), ("cleared", 1, 1), ("repeated", 1, 2)]


def test_another_model_file_keeps_the_alarm_and_empties_the_window() -> None:
    state, _ = step(AlarmState(), verdict(Status.REJECT), 0.0, AlarmRule(n=3))

    again = reloaded(state)

    assert (again.active, again.condition, again.alarm, again.window) == (True, "unack", 1, ())


@given(items, rules(), st.integers(0, 1000).map(float))
def test_a_restart_keeps_the_alarm_and_waits_on_the_new_clock_as_long_as_on_the_old_one(
    given_items: Items, rule: AlarmRule, boot_s: float
) -> None:
    seen = run(given_items, rule)
    state = reloaded(seen[-1][1]) if seen else AlarmState()
    now_s = state.now_s or 0.0
    old, new = structs.replace(state, counted_s=None), resumed(state, boot_s)
    for number in range(1, 40):
        old, old_events = step(old, scored(2.5), now_s + number / 2, rule)
        new, new_events = step(new, scored(2.5), boot_s + number / 2, rule)
        assert [event.kind for event in new_events] == [event.kind for event in old_events]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"k": 3, "n": 2}, "expected 1 <= k <= n <= 10000, got k = 3, n = 2"),
        ({"k": 0}, "got k = 0"),
        ({"clear_n": 0}, "clear_n of at least 1, got 0"),
        ({"min_on_s": -1.0}, "min_on_s of at least 0 seconds, got -1"),
        ({"refractory_s": math.inf}, "refractory_s of at least 0 seconds, got inf"),
        ({"max_gap_s": math.nan}, "max_gap_s of at least 0 seconds, got nan"),
        ({"on": 1.0}, 'belong to signal = "score"'),
        ({"signal": "score"}, 'belong to signal = "score"'),
        ({"signal": "score", "on": 1.0, "off": 2.0}, "expected off <= on, got off = 2.0, on = 1.0"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        AlarmRule(**settings)


def test_windows_that_warm_up_do_not_count_for_a_health_alarm() -> None:
    rule, state = AlarmRule(signal="invalid", k=2, n=3, clear_n=3), AlarmState()
    raised = []
    for number, reason in enumerate([Reason.WARMING] * 5 + [Reason.GAP, Reason.WARMING, Reason.GAP]):
        state, events = step(state, invalid(reason), float(number), rule)
        raised += [number for event in events if event.kind == "raised"]

    assert raised == [7]
