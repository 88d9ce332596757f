"""The events of a line follow from its outcomes."""

from hypothesis import given
from hypothesis import strategies as st

from andon.monitor.event import InvalidBegan, InvalidEnded, Rejected, ToReview
from andon.monitor.judging import Outcome
from andon.monitor.line_events import Span, events_of
from andon.runtime.items import Ref
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict, invalid

KINDS = {
    "ok": Verdict(status=Status.OK, score=0.0, threshold=1.0),
    "review": Verdict(status=Status.REVIEW, score=0.9, threshold=1.0),
    "reject": Verdict(status=Status.REJECT, score=2.0, threshold=1.0),
    "black": invalid(Reason.BLACK),
    "stale": invalid(Reason.STALE),
}


def _outcome(kind: str, seq: int) -> Outcome:
    return Outcome(seq=seq, wall_s=0.0, ref=Ref(key=str(seq)), unit="frame", verdict=KINDS[kind])


def _events(kinds: list[str]) -> list[object]:
    span, events = Span(), list[object]()
    for number, kind in enumerate(kinds):
        span, new = events_of(span, _outcome(kind, number), float(number))
        events += new
    return events


@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=40))
def test_each_reject_and_review_is_an_event_and_each_ended_span_of_invalid_items_has_their_number(
    kinds: list[str],
) -> None:
    events = _events(kinds)

    assert sum(isinstance(event, Rejected) for event in events) == kinds.count("reject")
    assert sum(isinstance(event, ToReview) for event in events) == kinds.count("review")
    ended = [event for event in events if isinstance(event, InvalidEnded)]
    in_spans = sum(kind in ("black", "stale") for kind in kinds)
    open_span = next(
        (place for place, kind in enumerate(reversed(kinds)) if kind not in ("black", "stale")), len(kinds)
    )
    assert sum(event.items for event in ended) == in_spans - open_span


def test_an_invalid_span_is_an_event_when_it_begins_when_its_reason_changes_and_when_it_ends() -> None:
    events = _events(["ok", "black", "black", "stale", "black", "ok", "ok", "black"])

    assert [type(event) for event in events] == [InvalidBegan, InvalidBegan, InvalidBegan, InvalidEnded, InvalidBegan]
    assert [event.verdict.reason for event in events if isinstance(event, InvalidBegan)] == [
        "black",
        "stale",
        "black",
        "black",
    ]
    (end,) = [event for event in events if isinstance(event, InvalidEnded)]
    assert (end.items, end.seconds) == (4, 4.0)
