"""Derive the events of a line from its outcomes: rejects, reviews, and the begin and end of INVALID spans. No clock, no I/O."""

from msgspec import Struct

from andon.monitor.event import Body, InvalidBegan, InvalidEnded, Rejected, ToReview
from andon.monitor.judging import Outcome
from andon.monitor.records import record
from andon.runtime.schema import Reason, Status


class Span(Struct, frozen=True, kw_only=True):
    """The current span of INVALID items."""

    reason: Reason = Reason.NONE
    """Reason of the last INVALID item. `Reason.NONE` outside a span."""
    items: int = 0
    since_s: float = 0.0


def events_of(span: Span, outcome: Outcome, now_s: float) -> tuple[Span, tuple[Body, ...]]:
    """Return the span after one more outcome, and the events that the outcome causes.

    A reject or review is an event each time. INVALID is an event when it begins and when its reason changes. The end of the span
    comes before the event of the item that ends it.
    """
    verdict = outcome.verdict
    if verdict.status is Status.INVALID:
        if verdict.reason is span.reason:
            return Span(reason=span.reason, items=span.items + 1, since_s=span.since_s), ()
        since_s = span.since_s if span.items else now_s
        return (
            Span(reason=verdict.reason, items=span.items + 1, since_s=since_s),
            (InvalidBegan(verdict=record(outcome)),),
        )
    events: list[Body] = []
    if span.items:
        events.append(InvalidEnded(items=span.items, seconds=max(0.0, now_s - span.since_s)))
    if verdict.status is Status.REJECT:
        events.append(Rejected(verdict=record(outcome)))
    elif verdict.status is Status.REVIEW:
        events.append(ToReview(verdict=record(outcome)))
    return Span(), tuple(events)
