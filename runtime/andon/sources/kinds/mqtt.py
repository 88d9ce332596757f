"""Sensor samples as JSON from an MQTT broker.

Each message has one or more lines, in the format of `sample_lines`. A message that the broker sends twice changes nothing: a
sample with the same time stamp replaces itself.

The client connects again for ever, and a silence is reported as for standard input. Messages that were kept by the broker
(retained) are ignored, because they may be old. A message is at most 1 MB. If the judge cannot keep up, waiting messages are
dropped, counted, and reported as INVALID (gap).
"""

import itertools
import logging
import threading
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import InputSpec, Reason, WindowSpec
from andon.sources.addresses import shown_address
from andon.sources.clock import Clock
from andon.sources.live.message_rate import MessageRate, advice
from andon.sources.live.mqtt_subscription import Broker, Login, MqttSubscription, Problem, parse_address
from andon.sources.live.sample_stream import Sender, receive
from andon.sources.series.line_reader import MOST_BYTES, Oddity, Read
from andon.sources.source import Source
from andon.sources.stream_settings import StaleAfter

logger = logging.getLogger(__name__)

MOST_WAITING = 10_000
MOST_WAITING_BYTES = 16_000_000
"""Limits of the messages that wait for the judge."""
_NAP_S = 0.1


class Settings(Login, frozen=True, kw_only=True):
    """Settings for receiving samples from a broker."""

    stale_after_s: StaleAfter = 2.0
    qos: Annotated[
        Literal[0, 1], Meta(description="quality of service of the subscription", extra={"unit": "level"})
    ] = 1


def stream(text: str, spec: InputSpec, settings: Settings, clock: Clock, stop: threading.Event) -> "MqttStream":
    """Return the windows of the samples from a topic. If the broker does not exist yet, the stream waits for it.

    Raises:
        ConfigError: the model file judges frames, the address is wrong, a secret or certificate cannot be read, or the
            connection would leave this machine without encryption.
        MissingExtra: paho-mqtt is not installed.
    """
    if not isinstance(spec, WindowSpec):
        raise ConfigError(
            f"{shown_address(text)}: this model file judges frames: expected pictures or a video, got sensor values of a broker."
        )
    return MqttStream(parse_address(text), spec, settings, clock=clock, stop=stop)


class MqttStream:
    """The windows of the samples from a topic.

    The client's thread starts with the first `next` and ends with `close` or the stop event.
    """

    def __init__(
        self,
        broker: Broker,
        spec: WindowSpec,
        settings: Settings,
        *,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._stop = stop
        self._inbox = _Inbox()
        self._connected = ""
        self._ended = False
        self._subscription = MqttSubscription(
            broker,
            settings,
            qos=settings.qos,
            purpose="receiving samples from an MQTT broker",
            on_message=self._on_message,
            on_state=self._on_state,
        )
        sender = Sender(broker.shown, broker.shown)
        self._items = self._follow(
            receive(self._reads(), spec, sender, clock, stop, stale_after_s=settings.stale_after_s)
        )

    def __iter__(self) -> "MqttStream":
        return self

    def __next__(self) -> Item | Lost:
        return next(self._items)

    def close(self) -> None:
        """End the connection and the client's thread."""
        self._ended = True
        self._subscription.close()

    def _follow(self, windows: Iterator[Item | Lost]) -> Iterator[Item | Lost]:
        self._subscription.start()
        numbers = itertools.count(1)
        try:
            for item in windows:
                if lost := self._inbox.take_lost():
                    ref = Ref(key=f"{self._broker.shown}:overrun{next(numbers)}", group=self._broker.shown)
                    yield Lost(ref, Reason.GAP, f"{lost} messages were dropped, because too many waited for the judge")
                yield item
        finally:
            self.close()

    def _reads(self) -> Iterator[Read]:
        while not self._stop.is_set() and not self._ended:
            lines: list[bytes | Oddity] = []
            payloads = self._inbox.take(_NAP_S)
            for payload in payloads:
                if len(payload) > MOST_BYTES:
                    lines.append(Oddity.TOO_LONG)
                else:
                    lines += [line for line in payload.split(b"\n") if line.strip()] or [payload]
            yield Read(tuple(lines), sum(map(len, payloads)))

    def _on_state(self, problem: Problem | None) -> None:
        if self._stop.is_set():
            return
        text = "connected"
        if problem is not None:
            text = f"{problem.text} ({printable(problem.detail)})" if problem.detail else problem.text
        if text != self._connected:  # once per change, not once per attempt: attempts go on for months
            logger.log(logging.INFO if problem is None else logging.WARNING, "%s: %s", self._broker.shown, text)
        self._connected = text

    def _on_message(self, payload: bytes) -> None:
        text = self._inbox.put(payload[: MOST_BYTES + 1], self._clock.mono_s())
        if text:
            logger.warning("%s: %s", self._broker.shown, text)


class _Inbox:
    """The messages that wait for the judge, bounded by number and bytes. The oldest are dropped."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._lost = 0
        self._rate = MessageRate()

    def put(self, payload: bytes, now_s: float) -> str:
        """Add a message. Return a warning about the rate, at most once."""
        with self._changed:
            self._waiting.append(payload)
            self._bytes += len(payload)
            while len(self._waiting) > MOST_WAITING or self._bytes > MOST_WAITING_BYTES:
                self._bytes -= len(self._waiting.popleft())
                self._lost += 1
            self._changed.notify()
            return self._rate.count(payload, now_s)

    def take(self, timeout_s: float) -> list[bytes]:
        """Return all waiting messages in order, or none if nothing arrives within the timeout."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            payloads = list(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            return payloads

    def take_lost(self) -> int:
        """Return the number of messages that were dropped since the last call."""
        with self._changed:
            lost, self._lost = self._lost, 0
            return lost


def _accepts(text: str) -> bool:
    return text.lower().startswith(("mqtt://", "mqtts://"))


SOURCE = Source(
    name="mqtt",
    summary="sensor samples as JSON from an MQTT broker (mqtt://host/topic)",
    accepts=_accepts,
    settings=Settings,
    stream=stream,
    endless=lambda _text, _settings: True,
    advice=advice,
)
