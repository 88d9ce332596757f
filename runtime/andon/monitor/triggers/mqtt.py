"""Begin a part with each message on a topic of an MQTT broker.

The payload is empty, or a JSON object with one or both of ``part`` and ``number``. ``part`` is the name of the part, as in its
frames. ``number`` is the number of the trigger.

* ``{"number": 7}``
* ``{"part": "A-0815", "number": 8}``

Other payloads are refused, counted and raise the alarm ``trigger_source``. Messages that the broker kept (retained) are ignored,
and so are messages from the time of an interruption, because their parts have passed. With numbers, a lost trigger is noticed.

A sender that connects again may send its last messages a second time (quality of service 1). A trigger with a number that was
given within the last 10 seconds does not begin a second part. The sender must not begin to count again within this time.

A hung broker is noticed after 5 to 10 seconds. After a shorter interruption the broker delivers late: set ``frame_within_s`` in
``[line.parts]``, so that a late trigger gets no frame of another part.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.loopback import is_loopback
from andon.foundation.printable import printable
from andon.monitor.network_errors import why
from andon.monitor.trigger_kind import Trigger, TriggerContext, TriggerKind
from andon.sources.live.mqtt_subscription import Login, MqttSubscription, Problem, parse_address

logger = logging.getLogger(__name__)

MOST_BYTES = 1000
"""Largest payload."""
REPEATED_S = 10.0
"""Time within which a sender that connects again repeats its last messages."""
_REMEMBERED = 100
"""Number of triggers whose numbers are remembered. Senders have at most 20 messages in flight by default, and some have more."""


class Settings(Login, frozen=True, kw_only=True):
    """Settings of the trigger."""

    address: Annotated[
        str, Meta(min_length=1, max_length=1000, description="broker and topic: mqtt://HOST[:PORT]/TOPIC, or mqtts://")
    ]
    qos: Annotated[
        Literal[0, 1], Meta(description="quality of service of the subscription", extra={"unit": "level"})
    ] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            topic = parse_address(self.address).topic
        except ConfigError as error:
            raise ValueError(f"address: {error}") from error
        if "+" in topic or "#" in topic:
            raise ValueError(
                f"address: expected one topic without + and #, because triggers of one sender have an order, got {topic!r}. Name "
                "the topic."
            )


class _Payload(Struct, frozen=True, forbid_unknown_fields=True):
    part: Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    number: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


_decoder = msgspec.json.Decoder(_Payload)


def trigger_of(payload: bytes) -> Trigger | str:
    """Return the trigger of a message, or the reason why it is none. The reason has no text of the payload.

    >>> trigger_of(b'{"part": "A-0815", "number": 8}')
    Trigger(part='A-0815', number=8)
    >>> trigger_of(b"")
    Trigger(part='', number=None)
    >>> trigger_of(b"seven")
    'expected an empty message or a JSON object with part or number, got other content'
    """
    if len(payload) > MOST_BYTES:
        return f"expected at most {MOST_BYTES} bytes, got {len(payload)}"
    if not payload:
        return Trigger()
    try:
        read = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "expected an empty message or a JSON object with part or number, got other content"
    if not read.part and read.number is None:
        return "expected an empty message or a JSON object with part or number, got an object without both"
    return Trigger(part=read.part, number=read.number)


class Repeats:
    """Finds triggers that a sender sends again after it has connected again. Time is an argument."""

    def __init__(self) -> None:
        self._given: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)

    def found(self, number: int, now_s: float) -> bool:
        """Return whether a number was given a short time ago, before the last one. Otherwise remember it.

        The number of the last trigger is not found here: `andon.monitor.part_decisions` counts it as repeated.
        """
        if self._given and self._given[-1][0] == number:
            return False
        if any(known == number and now_s - at_s <= REPEATED_S for known, at_s in self._given):
            return True
        self._given.append((number, now_s))
        return False


class MqttTriggers:
    """Triggers from one topic."""

    def __init__(self, settings: Settings, context: TriggerContext) -> None:
        self._settings = settings
        self._context = context
        self._broker = parse_address(settings.address)
        self._repeats = Repeats()
        # a missing secret, file or package is an error at the start
        self._subscription(lambda _trigger: None, lambda _reason: None)

    def follow(self, give: Callable[[Trigger], None], hear: Callable[[str], None]) -> None:
        """Give the triggers until the stop event is set. They are given in the thread of the client."""
        subscription = self._subscription(give, hear)
        subscription.start()
        try:
            self._context.stop.wait()
        finally:
            subscription.close()

    def _subscription(self, give: Callable[[Trigger], None], hear: Callable[[str], None]) -> MqttSubscription:
        def state(problem: Problem | None) -> None:
            hear("" if problem is None else f"the broker {self._broker.shown}: {_text(problem)}")

        def message(payload: bytes) -> None:
            trigger = trigger_of(payload)
            if isinstance(trigger, str):
                self._context.refuse(trigger)
            elif trigger.number is not None and self._repeats.found(trigger.number, self._context.clock.mono_s()):
                logger.info("%s: the trigger %d was sent a second time", self._context.line, trigger.number)
            else:
                give(trigger)

        return MqttSubscription(
            self._broker,
            self._settings,
            qos=self._settings.qos,
            purpose="receiving triggers from an MQTT broker",
            on_message=message,
            on_state=state,
        )


def _text(problem: Problem) -> str:
    detail = printable(problem.detail) or (why(problem.error) if problem.error is not None else "")
    return f"{problem.text} ({detail})" if detail else problem.text


def _open(settings: Settings, context: TriggerContext) -> MqttTriggers:
    broker = parse_address(settings.address)
    triggers = MqttTriggers(settings, context)
    if not broker.tls and not is_loopback(broker.host):
        logger.warning(
            "%s: triggers and the password leave this machine without encryption (insecure = true)", context.line
        )
    return triggers


TRIGGER = TriggerKind(
    name="mqtt",
    summary="a message on a topic of an MQTT broker",
    settings=Settings,
    open=_open,
)
