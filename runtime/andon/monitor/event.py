"""The events of a monitor: one envelope with origin and time, and one body for each kind of event.

A verdict is not an event. Events are rejects, the begin and end of INVALID spans, changes of alarms, sources and models, and what
people did. The event store keeps them, and outputs deliver them at least once.
"""

import secrets
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from andon.foundation.printable import printable
from andon.monitor.records import Record

SCHEMA = 1
"""Version of the JSON form. It grows when a key changes its meaning or disappears; new keys do not change it."""

AlarmChangeKind = Literal["raised", "repeated", "cleared", "acked", "ack_refused"]
SourceState = Literal["open", "retrying", "ended", "failed"]
Fired = Literal["fired", "missed", "failed", "unknown"]
Answer = Literal["good", "defective", "unclear"]
"""The statement of a person about a part. ``unclear`` is an answer only to a question about a part that was chosen at random."""


class Rejected(Struct, frozen=True, kw_only=True, tag_field="kind", tag="reject"):
    """An item or part was rejected."""

    verdict: Record


class ToReview(Struct, frozen=True, kw_only=True, tag_field="kind", tag="review"):
    """An item or part needs a person."""

    verdict: Record


class InvalidBegan(Struct, frozen=True, kw_only=True, tag_field="kind", tag="invalid"):
    """The first INVALID item after a valid one, or with another reason than the one before."""

    verdict: Record


class InvalidEnded(Struct, frozen=True, kw_only=True, tag_field="kind", tag="valid"):
    """The first valid item after INVALID ones."""

    items: int
    """Number of INVALID items in the span."""
    seconds: float
    """Duration of the span, on the monotonic clock."""


class AlarmChanged(Struct, frozen=True, kw_only=True, tag_field="kind", tag="alarm"):
    """An alarm was raised, repeated, cleared or acknowledged."""

    alarm: str
    """Name of the alarm, for example ``rejects``, ``health`` or ``drift``."""
    change: AlarmChangeKind
    number: int
    """Number of the alarm of this name, from 1."""
    occurrence: int = 1
    """Number of raises before the alarm was acknowledged."""
    text: str = ""
    """Text for a person: the fact, the place, and what to do."""
    by: str = ""
    """Person or program that acknowledged."""


class SourceChanged(Struct, frozen=True, kw_only=True, tag_field="kind", tag="source"):
    """A source was opened, failed, or ended."""

    state: SourceState
    detail: str = ""


class ModelChanged(Struct, frozen=True, kw_only=True, tag_field="kind", tag="model"):
    """A model file was loaded in place of the running one, or was refused and the running one stays."""

    before: str
    """Short digest of the model file that ran before."""
    after: str
    """Short digest of the model file that runs now."""
    refused: str = ""
    """Reason why a new file was refused. Empty if it was loaded."""


class Drifted(Struct, frozen=True, kw_only=True, tag_field="kind", tag="drift"):
    """A drift chart crossed its limit, or is below it again."""

    chart: str
    value: float
    limit: float
    crossed: bool


class ClockStepped(Struct, frozen=True, kw_only=True, tag_field="kind", tag="clock_step"):
    """The wall clock of the machine jumped."""

    delta_s: float
    """Positive if the wall clock went forward."""


class RejectSignal(Struct, frozen=True, kw_only=True, tag_field="kind", tag="reject_signal"):
    """The result of one reject signal."""

    part: str
    result: Fired
    """``unknown``: the process ended between the intent and the result. The signal is not repeated."""
    late_s: float = 0.0
    """Time after the moment at which the signal was due. Negative: early."""
    detail: str = ""


class LateScore(Struct, frozen=True, kw_only=True, tag_field="kind", tag="late_score"):
    """A score that arrived after the decision about its part. It changes nothing."""

    verdict: Record


class EventsLost(Struct, frozen=True, kw_only=True, tag_field="kind", tag="lost"):
    """Events that could not be stored or delivered."""

    where: str
    """``store``, or the name of an output."""
    number: int
    """Number of lost events. 0 if it is unknown, because the store itself was damaged."""
    detail: str = ""


class Started(Struct, frozen=True, kw_only=True, tag_field="kind", tag="start"):
    """The monitor started."""

    version: str
    lines: tuple[str, ...]


class Stopped(Struct, frozen=True, kw_only=True, tag_field="kind", tag="stop"):
    """The monitor, or a line of it, stopped in order."""

    grabbed: int = 0
    judged: int = 0
    invalid: int = 0
    dropped: int = 0


class Confirmed(Struct, frozen=True, kw_only=True, tag_field="kind", tag="confirmation"):
    """A person stated the truth about an item."""

    item: str
    truth: Answer
    by: str = ""
    verdict: Record | UnsetType = UNSET
    """The verdict about the item, so that an audit can compare both. Absent if it is not known."""
    event: int | UnsetType = UNSET
    """Number of the event that showed the item to the person. Absent if the person chose the item on the line."""


class AlarmShelved(Struct, frozen=True, kw_only=True, tag_field="kind", tag="shelve"):
    """A person shelved an alarm for a limited time, or the shelf ended. The alarm itself goes on."""

    alarm: str
    change: Literal["shelved", "unshelved", "expired"]
    seconds: float = 0.0
    """Time until the shelf ends. 0 for an end."""
    reason: str = ""
    by: str = ""


class Sampled(Struct, frozen=True, kw_only=True, tag_field="kind", tag="sample"):
    """A part was chosen at random, and people are asked whether it was good. The choice does not depend on the verdict."""

    verdict: Record
    one_in: int
    """On average, one in this many judged parts is chosen."""


class Recalibration(Struct, frozen=True, kw_only=True, tag_field="kind", tag="recalibration"):
    """A new model file with another threshold was proposed, refused, or put in place by a person."""

    change: Literal["proposed", "refused", "swapped"]
    by: str
    before: str = ""
    """Short digest of the model file that ran before."""
    after: str = ""
    """Short digest of the proposed model file."""
    promise_before: str = ""
    promise: str = ""
    threshold_before: float | None = None
    threshold: float | None = None
    parts: int = 0
    """Number of confirmed good parts from which the proposal was made."""
    reason: str = ""
    """Reason of a refusal."""
    kept: str = ""
    """Name of the file that keeps the old model file after a swap."""


Body = (
    Rejected
    | ToReview
    | InvalidBegan
    | InvalidEnded
    | AlarmChanged
    | SourceChanged
    | ModelChanged
    | Drifted
    | ClockStepped
    | RejectSignal
    | LateScore
    | EventsLost
    | Started
    | Stopped
    | Confirmed
    | AlarmShelved
    | Sampled
    | Recalibration
)


class Evidence(Struct, frozen=True, kw_only=True):
    """A picture that belongs to an event."""

    name: str
    """Path below the evidence folder, with ``/``. Empty if the picture was dropped."""
    moment: Literal["before", "at", "after"]
    offset_s: float = 0.0
    """Time between the picture and the event. Negative: before."""
    dropped: str = ""
    """Reason why there is no picture."""


class Event(Struct, frozen=True, kw_only=True):
    """One event with its origin and time. `seq` alone defines the order."""

    schema: int = SCHEMA
    key: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    """Random name, made once. A receiver that has seen the key drops the event: outputs deliver at least once."""
    seq: int = 0
    """Number of the event in its store, from 1, without reuse. 0 before it is stored."""
    run: str
    """Random name of the start of the process. `Record.seq` counts within a run."""
    boot: str
    """Name of the start of the machine, in which `mono_ns` counts. Empty if the system does not provide one."""
    line: str
    """Name of the line. Empty if the event is about the process."""
    source: str = ""
    """Address of the source, without secrets."""
    model: str = ""
    """Short digest of the model file."""
    mono_ns: int
    """Monotonic time, for durations between events of one boot."""
    wall_us: int
    """Wall time in microseconds since 1970, UTC. For display only."""
    clock_epoch: int = 0
    """Number of clock steps since the process started."""
    body: Body
    evidence: tuple[Evidence, ...] = ()

    @property
    def kind(self) -> str:
        """The tag of the body, for example ``reject``."""
        return str(type(self.body).__struct_config__.tag)

    @property
    def is_alarm(self) -> bool:
        """True if the event must outlive others when space is short."""
        return isinstance(self.body, AlarmChanged | AlarmShelved | EventsLost | RejectSignal)


def new_key() -> str:
    """Return a random name of 128 bits."""
    return secrets.token_hex(16)


def encode(event: Event) -> bytes:
    """Return the event as one JSON object in UTF-8, without a line break."""
    return _encoder.encode(event)


def decode(data: bytes) -> Event:
    """Return the event of a JSON object.

    Raises:
        ValueError: the text is not an event of this schema.
    """
    try:
        event = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"expected an event as JSON, got other content: {printable(str(error))}") from error
    if event.schema != SCHEMA:
        raise ValueError(f"schema: expected {SCHEMA}, got {event.schema}. A newer version of andon wrote the event.")
    return event


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)
