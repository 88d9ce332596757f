"""Sensor samples from variables of an OPC UA server, by subscription.

Give one node for each channel of the model file, with the URI of its namespace: ``nsu=http://plant/line;s=Line.Voltage``. The
times of the samples are those of the source. A value with bad or uncertain quality is a missing sample.

A server reports a value only when it changes. Each second, or more often for a short period, all channels are therefore read at
once. A channel that is still the same gets a sample with the time of the server, unless ``hold`` is off. The read also notices a
server that hangs, and a subscription that the server has forgotten.

A lost server is connected again for ever, with a new client and the namespaces of that moment. While nothing arrives, the result
is INVALID (stale).
"""

import asyncio
import itertools
import logging
import math
import random
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from andon.foundation.errors import ConfigError, MissingExtra
from andon.foundation.event_loop import EventLoop
from andon.foundation.printable import printable
from andon.foundation.settings import nearest
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import InputSpec, Reason, WindowSpec
from andon.sources.addresses import shown_address
from andon.sources.clock import Clock
from andon.sources.live.reconnect import jitter
from andon.sources.live.sample_stream import Sender, receive
from andon.sources.opcua import (
    Access,
    NodeName,
    Server,
    Trouble,
    check_access,
    disconnect,
    new_client,
    parse_address,
    parse_node,
    require_security,
    resolve,
    status_name,
    why,
)
from andon.sources.series.held_values import HeldValues, Reading, Sample
from andon.sources.series.line_reader import Read
from andon.sources.source import Source
from andon.sources.stream_settings import StaleAfter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncua import Client, ua

logger = logging.getLogger(__name__)

FIRST_RETRY_S = 0.25
LONGEST_RETRY_S = 2.0
MOST_WAITING = 100_000
"""Limit of the samples that wait for the judge."""
QUEUE_SIZE = 1_000
"""Number of changes of one node that the server keeps until it sends them. A server may have a lower limit."""
_NAP_S = 0.1
_SHARE = 0.45
"""Interval of the reads of all channels, in periods."""
_FASTEST_S = 0.05
"""Shortest interval of the reads."""
CONSTANT_PERIOD_S = 0.1
"""Shortest period of a model file whose channels may be constant. The reads are not frequent enough for a shorter one."""
_CLOSE_S = 1.0
_SENSIBLE_S = 946_684_800.0
"""The year 2000. A server without a clock sends an earlier time."""
_OVERFLOW = 0x0480
"""Flags in the status of a value: the server had to drop older values of this node."""


class Settings(Access, frozen=True, kw_only=True):
    """Settings for receiving samples from an OPC UA server."""

    nodes: Annotated[
        str | dict[str, str] | None,
        Meta(
            description="nodes of the channels: a name with {channel} in it, such as nsu=http://plant/line;s=Line.{channel}, or "
            "a table with a name for each channel (on the command line as JSON)"
        ),
    ] = None
    stale_after_s: StaleAfter = 2.0
    sampling_s: Annotated[
        Annotated[float, Meta(ge=0.0)] | None,
        Meta(
            description="interval at which the server looks for changes, none for half the period of the model file",
            extra={"unit": "s"},
        ),
    ] = None
    hold: Annotated[
        bool,
        Meta(
            description="a channel that does not change has its last value. Needs equal clocks of the server and its sources"
        ),
    ] = True


def stream(text: str, spec: InputSpec, settings: Settings, clock: Clock, stop: threading.Event) -> "OpcUaStream":
    """Return the windows of the samples from a server. If the server does not exist yet, the stream waits for it.

    Raises:
        ConfigError: the model file judges frames, the address or a node is wrong, a secret or certificate cannot be read, or the
            connection would leave this machine without encryption.
        MissingExtra: asyncua is not installed.
    """
    if not isinstance(spec, WindowSpec):
        raise ConfigError(
            f"{shown_address(text)}: this model file judges frames: expected pictures or a video, got sensor values of an OPC UA "
            "server."
        )
    server = parse_address(text)
    require_security(server, settings)
    nodes = node_names(settings.nodes, [channel.name for channel in spec.channels])
    check_access(settings)
    return OpcUaStream(server, nodes, spec, settings, clock=clock, stop=stop)


def node_names(nodes: str | dict[str, str] | None, channels: Sequence[str]) -> tuple[NodeName, ...]:
    """Return the node of each channel.

    Raises:
        ConfigError: a channel has no node, a node belongs to no channel, or a name of a node is wrong.

    >>> node_names("nsu=http://plant;s=Line.{channel}", ["voltage"])[0].identifier
    'Line.voltage'
    """
    table: dict[str, str]
    if nodes is None:
        raise ConfigError(
            "nodes: expected the nodes of the channels, got none. Give for example nodes = "
            '"nsu=http://plant/line;s=Line.{channel}".'
        )
    if isinstance(nodes, dict):
        table = nodes
    elif nodes.lstrip().startswith("{") and not nodes.startswith("{channel}"):
        try:
            table = msgspec.json.decode(nodes, type=dict[str, str])
        except msgspec.MsgspecError as error:
            raise ConfigError(
                'nodes: expected a JSON object of texts, for example {"voltage": "nsu=http://plant/line;s=Voltage"}, got other '
                "content."
            ) from error
    elif "{channel}" not in nodes and len(channels) > 1:
        raise ConfigError(
            f"nodes: expected {{channel}} in the name, because the model file has {len(channels)} channels, got "
            f"{printable(nodes)!r}. Or give a table with a name for each channel."
        )
    else:
        table = {channel: nodes.replace("{channel}", channel) for channel in channels}
    absent = [channel for channel in channels if channel not in table]
    if absent:
        raise ConfigError(
            f"nodes: expected a node for each channel of the model file, got none for {_listed(absent)}. Add it to the table."
        )
    for name in table:
        if name not in channels:
            raise ConfigError(
                f"nodes: the model file has no channel {printable(name)!r}{nearest(name, channels)}. It has {_listed(channels)}."
            )
    found = []
    for channel in channels:
        try:
            found.append(parse_node(table[channel]))
        except ValueError as error:
            raise ConfigError(f"nodes.{printable(channel)}: {printable(str(error), limit=300)}") from error
    return tuple(found)


def advice(spec: InputSpec) -> str:
    """Return advice for a model file that needs samples at a high rate. Empty for a low rate."""
    if not isinstance(spec, WindowSpec) or spec.period_s >= CONSTANT_PERIOD_S:
        return ""
    return (
        f"the model file needs {1 / spec.period_s:.0f} samples of each channel per second. A channel that does not change for "
        "some periods is INVALID (gap). At high rates, blocks of samples by MQTT cost far less CPU time"
    )


class OpcUaStream:
    """The windows of the samples from a server.

    The thread of the client starts with the first `next` and ends with `close` or the stop event.
    """

    def __init__(
        self,
        server: Server,
        nodes: tuple[NodeName, ...],
        spec: WindowSpec,
        settings: Settings,
        *,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self._server = server
        self._nodes = nodes
        self._names = tuple(channel.name for channel in spec.channels)
        self._period_s = spec.period_s
        # with `_SHARE`, a constant channel has a sample in each cell of the mean, and no hole that the grid would mark
        self._after_s = [spec.period_s * (0.5 if channel.resample == "mean" else 1.0) for channel in spec.channels]
        self._settings = settings
        self._clock = clock
        self._stop = stop
        self._inbox = _Inbox()
        self._loop: EventLoop | None = None
        self._state = ""
        self._poor: dict[int, str] = {}
        self._ended = False
        sender = Sender(server.shown, server.shown)
        self._items = self._follow(
            receive(self._reads(), spec, sender, clock, stop, stale_after_s=settings.stale_after_s)
        )

    def __iter__(self) -> "OpcUaStream":
        return self

    def __next__(self) -> Item | Lost:
        return next(self._items)

    def close(self) -> None:
        """End the connection and the thread of the client."""
        self._ended = True
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close(_CLOSE_S)

    def _follow(self, windows: Iterator[Item | Lost]) -> Iterator[Item | Lost]:
        if not self._ended:
            self._loop = EventLoop(f"andon {self._server.shown}")
            self._loop.submit(self._connect_for_ever())
        numbers = itertools.count(1)
        try:
            for item in windows:
                if lost := self._inbox.take_lost():
                    ref = Ref(key=f"{self._server.shown}:overrun{next(numbers)}", group=self._server.shown)
                    yield Lost(ref, Reason.GAP, lost)
                yield item
        finally:
            self.close()

    def _reads(self) -> Iterator[Read]:
        while not self._stop.is_set() and not self._ended:
            samples, alive = self._inbox.take(_NAP_S)
            lines = tuple(_lines(samples, self._names, self._period_s))
            yield Read(lines, sum(map(len, lines)) + alive)

    async def _connect_for_ever(self) -> None:
        attempts = 0
        while not self._ended:
            try:
                client = await new_client(self._server, self._settings, "andon")
                try:
                    async for _ in self._session(client):
                        attempts = 0
                finally:
                    await disconnect(client)
            except (ConfigError, MissingExtra) as error:  # a secret or file has gone since the start
                self._log(printable(str(error)))
            except Exception as error:  # noqa: BLE001 - no error of a server or of the library ends the attempts
                self._log(why(error, self._settings.timeout_s))
            wait_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(attempts, 8))
            attempts += 1
            await asyncio.sleep(jitter(wait_s, random.random()))  # noqa: S311 - no secret

    async def _session(self, client: "Client") -> "AsyncIterator[None]":
        """Use one connection until it fails. Yield after each successful read of all channels.

        Raises:
            Exception: the connection is lost or cannot be used, see `why`.
        """
        # the client has a time-out for each answer, but a server can answer one request and hang in the next
        await asyncio.wait_for(client.connect(), 4 * self._settings.timeout_s)
        namespaces = await client.get_namespace_array()
        ids = [resolve(name, namespaces) for name in self._nodes]
        first, now_s = await self._read(client, ids)
        held, failed = await self._subscribe(client, ids, first, now_s)
        # the end of a fault is as important as its begin
        self._log("connected", level=logging.WARNING if self._state not in ("", "connected") else logging.INFO)
        self._inbox.put(held.begin())
        every_s = min(1.0, max(_FASTEST_S, _SHARE * self._period_s))
        while True:
            yield
            done, _ = await asyncio.wait({failed}, timeout=every_s)
            if done:
                raise failed.result()
            readings, now_s = await self._read(client, ids)
            self._inbox.put(held.read(readings, now_s), alive=True)
            if (place := held.silent(now_s)) is not None:
                raise Trouble(
                    f"does not report changes of {printable(self._names[place])}. The subscription is made again"
                )

    async def _read(self, client: "Client", ids: "list[ua.NodeId]") -> tuple[list[Reading], float]:
        """Return the values of all channels, and the time of the server at its answer.

        The time is that of the response. The node CurrentTime can be a second old: asyncua's own server writes it once a second.
        """
        from asyncua import ua
        from asyncua.ua.ua_binary import struct_from_binary

        protocol = client.uaclient.protocol
        if protocol is None:
            raise ConnectionError
        request = ua.ReadRequest()
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.Parameters.NodesToRead = [
            ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value) for node in ids
        ]
        response = struct_from_binary(ua.ReadResponse, await protocol.send_request(request))
        response.ResponseHeader.ServiceResult.check()
        if len(response.Results) != len(ids):
            raise Trouble(f"answers with {len(response.Results)} values instead of {len(ids)}")
        now_s = _seconds(response.ResponseHeader.Timestamp)
        if now_s < _SENSIBLE_S:
            raise Trouble("does not give its time. Set its clock")
        return [self._reading(place, value) for place, value in enumerate(response.Results)], now_s

    async def _subscribe(
        self, client: "Client", ids: "list[ua.NodeId]", first: list[Reading], now_s: float
    ) -> "tuple[HeldValues, asyncio.Future[Exception]]":
        from asyncua import ua

        sampling_s = self._period_s / 2 if self._settings.sampling_s is None else self._settings.sampling_s
        publishing_s = min(1.0, max(0.05, sampling_s))
        failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        early: list[ua.PublishResult] = []
        held: HeldValues | None = None

        def take(result: "ua.PublishResult") -> None:
            if held is None:
                early.append(result)
                return
            try:
                self._take(result, held)
            except Exception as error:  # noqa: BLE001 - raised in `_session`; asyncua would only log it
                if not failed.done():
                    failed.set_result(error)

        # asyncua's own Subscription makes a task for each change. This is the same request, with one call for each message
        result = await client.uaclient.create_subscription(
            ua.CreateSubscriptionParameters(
                RequestedPublishingInterval=1000 * publishing_s,
                RequestedLifetimeCount=int(60 / publishing_s),
                RequestedMaxKeepAliveCount=max(1, int(5 / publishing_s)),
                MaxNotificationsPerPublish=10_000,
                PublishingEnabled=True,
            ),
            take,
        )
        made = await client.uaclient.create_monitored_items(
            ua.CreateMonitoredItemsParameters(
                SubscriptionId=result.SubscriptionId,
                TimestampsToReturn=ua.TimestampsToReturn.Both,
                ItemsToCreate=[
                    ua.MonitoredItemCreateRequest(
                        ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value),
                        MonitoringMode=ua.MonitoringMode.Reporting,
                        RequestedParameters=ua.MonitoringParameters(
                            ClientHandle=place,
                            SamplingInterval=1000 * sampling_s,
                            QueueSize=QUEUE_SIZE,
                            DiscardOldest=True,
                        ),
                    )
                    for place, node in enumerate(ids)
                ],
            )
        )
        for place, item in enumerate(made):
            if not item.StatusCode.is_good():
                raise Trouble(f"refuses to watch {self._channel(place)} ({status_name(item.StatusCode.value)})")
        slowest_s = max(result.RevisedPublishingInterval, *(item.RevisedSamplingInterval for item in made)) / 1000
        held = HeldValues(
            first,
            now_s,
            after_s=self._after_s,
            patience_s=max(self._settings.stale_after_s, 4 * slowest_s),
            hold=self._settings.hold,
        )
        for message in early:
            take(message)
        return held, failed

    def _take(self, result: "ua.PublishResult", held: HeldValues) -> None:
        from asyncua import ua

        samples: list[Sample] = []
        dropped = set()
        for part in result.NotificationMessage.NotificationData or []:
            if isinstance(part, ua.StatusChangeNotification):
                name = status_name(part.Status.value)
                if name == "BadShutdown":  # asyncua's own message: the connection is lost
                    raise ConnectionError
                raise Trouble(f"ends the subscription ({name})")
            if not isinstance(part, ua.DataChangeNotification):
                continue
            for item in part.MonitoredItems:
                if item.Value.StatusCode is not None and item.Value.StatusCode.value & _OVERFLOW == _OVERFLOW:
                    dropped.add(self._names[item.ClientHandle])
                reading = self._reading(item.ClientHandle, item.Value)
                sample = held.report(item.ClientHandle, reading, self._clock.wall_s())
                if sample is not None:
                    samples.append(sample)
        self._inbox.put(samples)
        if dropped:
            self._inbox.lose(f"the server dropped changes of {_listed(sorted(dropped))}, because its queue was full")

    def _reading(self, place: int, value: "ua.DataValue") -> Reading:
        """Return the value of a channel. A value whose quality is not good is missing.

        Raises:
            Trouble: the node does not exist, or is not a number.
        """
        status = value.StatusCode
        quality = "" if status is None or status.is_good() else status_name(status.value)
        if quality in _GONE:
            raise Trouble(f"{_GONE[quality]} {self._channel(place)} ({quality})")
        if self._poor.get(place, "") != quality:
            self._poor[place] = quality
            text = f"is missing, its quality is {quality}" if quality else "has good quality again"
            logger.log(
                logging.WARNING if quality else logging.INFO,
                "%s: %s %s", self._server.shown, printable(self._names[place]), text,
            )  # fmt: skip
        source_s = None if value.SourceTimestamp is None else _seconds(value.SourceTimestamp)
        variant = value.Value
        if quality or variant is None or variant.Value is None:
            return Reading(None, source_s)
        if not isinstance(variant.Value, bool | int | float):
            kind = "a list" if isinstance(variant.Value, list) else variant.VariantType.name
            raise Trouble(f"has another type than a number for {self._channel(place)}: {kind}")
        number = float(variant.Value)
        return Reading(number if math.isfinite(number) else None, source_s)

    def _channel(self, place: int) -> str:
        return f"{printable(self._names[place])}, {self._nodes[place].shown}"

    def _log(self, state: str, *, level: int = logging.WARNING) -> None:
        if state != self._state and not self._ended:  # once per change, not once per attempt: attempts go on for months
            logger.log(level, "%s: %s", self._server.shown, state)
        self._state = state


_GONE = {
    "BadNodeIdUnknown": "has no node for",
    "BadNodeIdInvalid": "has no node for",
    "BadAttributeIdInvalid": "has no value at the node for",
    "BadUserAccessDenied": "does not allow this user to read",
    "BadNotReadable": "does not allow to read",
}


class _Inbox:
    """The samples that wait for the judge, bounded by their number. The oldest are dropped."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Sample] = deque()
        self._alive = False
        self._dropped = 0
        self._lost: list[str] = []

    def put(self, samples: Sequence[Sample], *, alive: bool = False) -> None:
        """Add samples. `alive`: the server has answered, even if there is no new sample."""
        if not samples and not alive:
            return
        with self._changed:
            self._waiting.extend(samples)
            while len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._alive |= alive
            self._changed.notify()

    def lose(self, text: str) -> None:
        """Record a loss that the sender reports."""
        with self._changed:
            self._lost.append(text)

    def take(self, timeout_s: float) -> tuple[list[Sample], bool]:
        """Return all waiting samples in order, and whether the server has answered. Wait for at most the timeout."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            samples = list(self._waiting)
            self._waiting.clear()
            alive, self._alive = self._alive, False
            return samples, alive

    def take_lost(self) -> str:
        """Return a text about the losses since the last call. Empty: nothing was lost."""
        with self._changed:
            texts, self._lost = self._lost[:3], []
            if self._dropped:
                texts.append(f"{self._dropped} samples were dropped, because too many waited for the judge")
                self._dropped = 0
            return "; ".join(texts)


def _lines(samples: Sequence[Sample], names: Sequence[str], period_s: float) -> Iterator[bytes]:
    """Yield the samples as lines, one for each channel and period, in the order of time.

    The grid gives up a channel that is several periods behind the others. A line must therefore not hold a long time of one
    channel.
    """
    cells: dict[tuple[int, int], tuple[list[float], list[float | None]]] = {}
    for sample in sorted(samples, key=lambda one: one.time_s):
        cell = math.floor(sample.time_s / period_s)
        times_s, values = cells.setdefault((cell, sample.place), ([], []))
        times_s.append(sample.time_s)
        values.append(sample.value)
    for (_, place), (times_s, values) in cells.items():
        yield msgspec.json.encode({"t": times_s, "values": {names[place]: values}})


def _seconds(time: datetime) -> float:
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(printable(name)) for name in names[:8])


def _accepts(text: str) -> bool:
    return text.lower().startswith("opc.tcp://")


SOURCE = Source(
    name="opcua",
    summary="sensor samples from an OPC UA server (opc.tcp://host:4840/path)",
    accepts=_accepts,
    settings=Settings,
    stream=stream,
    endless=lambda _text, _settings: True,
    advice=advice,
)
