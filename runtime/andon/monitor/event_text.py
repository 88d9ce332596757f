"""An event as one readable line, for lists of events."""

from msgspec.structs import replace

from andon.foundation.printable import printable
from andon.monitor.event import (
    AlarmChanged,
    AlarmShelved,
    ClockStepped,
    Confirmed,
    Drifted,
    Event,
    EventsLost,
    InvalidBegan,
    InvalidEnded,
    LateScore,
    ModelChanged,
    Recalibration,
    Rejected,
    RejectSignal,
    Sampled,
    SourceChanged,
    Started,
    Stopped,
    ToReview,
)
from andon.monitor.records import Record, iso


def event_content(event: Event) -> str:
    """Return the content of an event in words, without its number, time, line, kind and pictures."""
    return printable(_content(replace(event, evidence=())), limit=1000)


def event_text(event: Event) -> str:
    """Return number, time, line, kind and content of an event, printable and on one line."""
    place = event.line or "(monitor)"
    return printable(
        f"{event.seq:>7}  {iso(event.wall_us / 1e6)}  {place}  {event.kind}: {_content(event)}", limit=1000
    )


def _content(event: Event) -> str:  # noqa: PLR0911, PLR0912 - one sentence for each kind
    match event.body:
        case Rejected(verdict=verdict) | ToReview(verdict=verdict):
            return f"{verdict.item}{_numbers(verdict)}{_pictures(event)}"
        case InvalidBegan(verdict=verdict):
            detail = verdict.detail if isinstance(verdict.detail, str) else ""
            if detail.startswith(f"{verdict.reason.replace('_', ' ')}:"):  # the detail begins with the reason in words
                return f"{verdict.item}: {detail}"
            return f"{verdict.item}: {verdict.reason}{f': {detail}' if detail else ''}"
        case InvalidEnded(items=items, seconds=seconds):
            return f"after {items} INVALID items in {seconds:.1f} s"
        case AlarmChanged() as alarm:
            by = f" by {alarm.by}" if alarm.by else ""
            return f"{alarm.alarm} {alarm.number} {alarm.change}{by}{f'. {alarm.text}' if alarm.text else ''}"
        case SourceChanged(state=state, detail=detail):
            return f"{event.source} is {state}{f': {detail}' if detail else ''}"
        case ModelChanged() as model:
            refused = f"refused, {model.before} stays: {model.refused}"
            return refused if model.refused else f"{model.before} -> {model.after}"
        case Drifted() as drift:
            change = "crossed its limit" if drift.crossed else "starts again"
            return f"{drift.chart} {change} ({drift.value:.4g}, limit {drift.limit:.4g})"
        case ClockStepped(delta_s=delta_s):
            return f"the wall clock stepped by {delta_s:+.1f} s"
        case RejectSignal() as signal:
            detail = f": {signal.detail}" if signal.detail else ""
            return f"{signal.part} {signal.result}, {signal.late_s * 1e3:+.1f} ms{detail}"
        case LateScore(verdict=verdict):
            return f"{verdict.item}{_numbers(verdict)}"
        case EventsLost() as lost:
            return f"{lost.number or 'an unknown number of'} events at {lost.where}{f': {lost.detail}' if lost.detail else ''}"
        case Started(version=version, lines=lines):
            return f"andon {version}, lines {', '.join(lines)}"
        case Stopped() as stopped:
            if not event.line:
                return "the monitor stopped"
            return f"grabbed {stopped.grabbed} = judged {stopped.judged} + invalid {stopped.invalid} + dropped {stopped.dropped}"
        case AlarmShelved() as shelf:
            duration = f" for {shelf.seconds / 60:.0f} min" if shelf.seconds else ""
            by = f" by {shelf.by}" if shelf.by else ""
            return f"{shelf.alarm} {shelf.change}{duration}{by}{f': {shelf.reason}' if shelf.reason else ''}"
        case Confirmed(item=item, truth=truth, by=by):
            return f"{item} is {truth}{f' (by {by})' if by else ''}"
        case Sampled(verdict=verdict):  # without its score: a person answers without knowing it
            return f"{verdict.item}: was this part good?"
        case Recalibration() as one:
            return _recalibration(one)


def _recalibration(one: Recalibration) -> str:
    if one.change == "refused":
        return f"refused (asked by {one.by}): {one.reason}"
    moved = (
        f"{one.before} -> {one.after}, threshold {one.threshold_before:.4g} -> {one.threshold:.4g}, {one.parts} parts"
    )
    kept = f". The old file is {one.kept}" if one.kept else ""
    return f"{one.change} by {one.by}: {moved}{kept}"


def _numbers(verdict: Record) -> str:
    if verdict.score is None:
        return ""
    level = f", level {verdict.level:.2f}" if verdict.level is not None else ""
    channel = f", channel {verdict.channel}" if isinstance(verdict.channel, str) else ""
    detail = f", {verdict.detail}" if verdict.reason and isinstance(verdict.detail, str) else ""
    return f": score {verdict.score:.4g}{level}{channel}{detail}"


def _pictures(event: Event) -> str:
    kept = [one.name for one in event.evidence if one.name]
    return f" [{len(kept)} files, first {kept[0]}]" if kept else ""
