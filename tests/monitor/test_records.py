"""The JSON line of a verdict: others parse it, so that every change of these bytes is a change of the schema."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from andon.monitor.judging import LineAlarm, Outcome
from andon.monitor.records import Record, line, record
from andon.runtime.items import Ref
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict, invalid

JUDGED = Outcome(
    seq=12,
    wall_s=1_795_305_600.25,
    ref=Ref(key="good/012.png", time_s=1_795_305_599.5),
    unit="frame",
    verdict=Verdict(status=Status.REJECT, score=2.5, level=1.25, p_value=0.015625, threshold=2.0, model="2602bc33dabc"),
)
UNJUDGED = Outcome(
    seq=13,
    wall_s=1_795_305_601.0,
    ref=Ref(key="line.mp4#120", part="P-7"),
    unit="window",
    verdict=invalid(Reason.UNREADABLE, threshold=2.0, model="2602bc33dabc"),
    detail="ends\nearly",
)

GOLDEN_JUDGED = (
    b'{"seq":12,"at":"2026-11-22T00:00:00.250Z","item":"good/012.png","unit":"frame","time_s":1795305599.5,"status":"REJECT","reason":"",'
    b'"score":2.5,"level":1.25,"p_value":0.015625,"threshold":2.0,"model":"2602bc33dabc"}\n'
)
GOLDEN_UNJUDGED = (
    b'{"seq":13,"at":"2026-11-22T00:00:01.000Z","item":"line.mp4#120","unit":"window","part":"P-7","time_s":null,"status":"INVALID",'
    b'"reason":"unreadable","score":null,"level":null,"p_value":null,"threshold":2.0,'
    b'"model":"2602bc33dabc","detail":"ends\\nearly"}\n'
)


def test_a_judged_item_is_written_as_it_was_agreed() -> None:
    assert line(record(JUDGED)) == GOLDEN_JUDGED


def test_an_invalid_item_is_written_as_it_was_agreed() -> None:
    assert line(record(UNJUDGED)) == GOLDEN_UNJUDGED


def test_an_item_that_changes_the_alarm_has_one_more_key() -> None:
    raised = LineAlarm(name="rejects", kind="raised", number=2)

    written = line(record(msgspec.structs.replace(JUDGED, alarms=(raised,))))

    assert written == GOLDEN_JUDGED[:-2] + b',"alarms":[{"name":"rejects","event":"raised","number":2}]}\n'


def test_an_item_of_a_line_with_a_name_has_the_name() -> None:
    written = line(record(msgspec.structs.replace(JUDGED, line="press-3")))

    assert written == GOLDEN_JUDGED[:-2] + b',"line":"press-3"}\n'


def test_the_keys_hold_those_of_a_verdict_under_the_same_names_and_values() -> None:
    plain = JUDGED.verdict.to_dict()

    written = msgspec.json.decode(line(record(JUDGED)))

    assert {key: written[key] for key in plain} == plain


numbers = st.floats(allow_nan=True, allow_infinity=True)
outcomes = st.builds(
    Outcome,
    seq=st.integers(1, 2**53),
    wall_s=st.floats(0, 4e9),
    ref=st.builds(
        Ref,
        key=st.text(st.characters(exclude_categories=()), min_size=1),
        part=st.text(st.characters(exclude_categories=())),
        time_s=st.none() | numbers,
    ),
    unit=st.sampled_from(["frame", "window"]),
    verdict=st.builds(
        Verdict,
        status=st.sampled_from(Status),
        reason=st.sampled_from(Reason),
        score=numbers,
        threshold=numbers,
        p_value=numbers,
        level=numbers,
        model=st.just("abc"),
    ),
    detail=st.text(st.characters(exclude_categories=())),
    alarms=st.lists(
        st.builds(
            LineAlarm,
            name=st.sampled_from(["rejects", "health"]),
            kind=st.sampled_from(["raised", "cleared"]),
            number=st.integers(1, 9),
        ),
        max_size=2,
    ).map(tuple),
    line=st.sampled_from(["", "press-3"]),
)


@given(outcomes)
def test_any_outcome_is_one_line_of_utf_8_that_reads_back_as_the_same_record(outcome: Outcome) -> None:
    written = line(record(outcome))

    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    assert msgspec.json.decode(written, type=Record) == record(outcome)


@given(outcomes)
def test_a_detail_is_told_only_of_what_is_invalid_or_outside_training(outcome: Outcome) -> None:
    told = b'"detail":' in line(msgspec.structs.replace(record(outcome), item="", part=msgspec.UNSET))

    something_to_tell = outcome.detail != "" or outcome.verdict.reason != Reason.NONE
    explained = outcome.verdict.status is Status.INVALID or outcome.verdict.reason is Reason.OUTSIDE_TRAINING
    assert told == (explained and something_to_tell)


def test_a_file_name_that_is_not_utf_8_stays_recognisable() -> None:
    odd = b"teil_\xe4.png".decode("utf-8", "surrogateescape")

    assert record(msgspec.structs.replace(JUDGED, ref=Ref(key=odd))).item == "teil_\\udce4.png"


def test_a_window_that_is_not_ok_names_the_channel_to_look_at() -> None:
    written = line(record(msgspec.structs.replace(JUDGED, channel="current_a")))

    assert written == GOLDEN_JUDGED[:-2] + b',"channel":"current_a"}\n'
