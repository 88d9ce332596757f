"""Sensor samples from the registers of a Modbus TCP device, such as a PLC or a drive.

The registers are polled at equal distances. Registers without a hole between them are read in one request. A poll that takes
longer than the period is not followed by two polls at once: the polls in between are left out, counted and logged.

The time of a sample is the moment at which its poll was due, if the poll was on time, and otherwise the middle of the poll. It is
the time of this machine. It does not follow later steps of the machine's clock.

The connection is opened again for ever. A silence is reported as for standard input, with its reason. A sample has all channels,
or there is none: a refused request and a lost connection lead to no sample.
"""

import logging
import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable
from andon.foundation.settings import nearest
from andon.runtime.items import Item, Lost
from andon.runtime.schema import InputSpec, Reason, WindowSpec
from andon.sources.addresses import shown_address
from andon.sources.clock import Clock
from andon.sources.live.sample_stream import Sender, receive
from andon.sources.modbus.connection import (
    ModbusConnection,
    ModbusFailed,
    Server,
    UnitId,
    parse_server,
    require_package,
)
from andon.sources.modbus.registers import Register, WordOrder, parse_registers, plan
from andon.sources.series.line_reader import Read
from andon.sources.source import Source
from andon.sources.stream_settings import StaleAfter

logger = logging.getLogger(__name__)

FASTEST_S = 0.005
"""Shortest period. A poll takes a fraction of a millisecond of CPU time, and several milliseconds on a busy network or device."""
SENSIBLE_S = 0.05
"""Shortest period without advice. On a busy machine, polls each 10 ms lost about a third of the windows."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.25, 2.0
REPORT_EVERY_S = 60.0
"""Shortest time between two log lines about polls that were left out."""
ON_TIME = 0.25
"""Delay of a poll, as a share of the period, up to which its samples have the time at which it was due."""
_NAP_S = 0.1


class Settings(Struct, frozen=True, kw_only=True):
    """Settings for polling registers."""

    registers: Annotated[
        dict[str, Register] | str | None,
        Meta(
            description="register of each channel of the model file: a table in TOML, or "
            "CHANNEL=KIND:ADDRESS[:TYPE[:SCALE[:OFFSET]]] separated by commas"
        ),
    ] = None
    period_s: Annotated[
        Annotated[float, Meta(ge=FASTEST_S, le=3600)] | None,
        Meta(description="time between two polls, none for the period of the model file", extra={"unit": "s"}),
    ] = None
    unit_id: UnitId = 1
    word_order: Annotated[
        WordOrder, Meta(description="order of the two registers of a 32-bit value; big: the high word first")
    ] = "big"
    timeout_s: Annotated[
        float, Meta(ge=0.01, le=2, description="longest time for connecting, and for one poll", extra={"unit": "s"})
    ] = 1.0
    stale_after_s: StaleAfter = 2.0

    def __post_init__(self) -> None:
        if isinstance(self.registers, str):
            try:
                parse_registers(self.registers)
            except ValueError as error:
                raise ValueError(f"registers: {error}") from None

    @property
    def by_channel(self) -> dict[str, Register]:
        """The register of each channel."""
        if isinstance(self.registers, str):
            return parse_registers(self.registers)
        return self.registers or {}


@dataclass
class PollCounters:
    """Counts of the polls since the start."""

    polls: int = 0
    """Polls that gave a sample."""
    failed: int = 0
    """Polls without a sample: a time-out, a lost connection or a refusal."""
    left_out: int = 0
    """Polls that did not take place, because an earlier one took too long."""
    connections: int = 0


class Schedule:
    """The moments of the polls, in source time: multiples of the period, so that samples lie on the points of the grid.

    Args:
        period_s: the period.
        now_s: the source time at the start.
    """

    def __init__(self, period_s: float, now_s: float) -> None:
        self._period_s = period_s
        self._number = math.ceil(now_s / period_s)

    @property
    def due_s(self) -> float:
        """The moment of the next poll."""
        return self._number * self._period_s

    def polled(self, now_s: float) -> int:
        """Choose the next moment after a poll. Return the number of moments that passed during the poll.

        >>> schedule = Schedule(1.0, now_s=9.5)
        >>> [(schedule.due_s, schedule.polled(now_s)) for now_s in (10.2, 13.3, 14.1)]
        [(10.0, 0), (11.0, 2), (14.0, 0)]
        """
        due = self._number + 1
        self._number = max(due, math.ceil(now_s / self._period_s))
        return self._number - due


def stream(text: str, spec: InputSpec, settings: Settings, clock: Clock, stop: threading.Event) -> "ModbusStream":
    """Return the windows of the polled samples. If the device cannot be reached yet, the stream waits for it.

    Raises:
        ConfigError: the model file judges frames, the address is wrong, the registers are not those of its channels, or the
            period does not fit.
        MissingExtra: pymodbus is not installed.
    """
    if not isinstance(spec, WindowSpec):
        raise ConfigError(
            f"{shown_address(text)}: this model file judges frames: expected pictures or a video, got registers of a device."
        )
    server = parse_server(text)
    _require_registers(settings.by_channel, [channel.name for channel in spec.channels])
    period_s = spec.period_s if settings.period_s is None else settings.period_s
    _require_period(period_s, spec, settings)
    require_package("polling a Modbus device")
    return ModbusStream(server, spec, settings, period_s, clock=clock, stop=stop)


def advice(spec: InputSpec) -> str:
    """Return advice for a model file that needs polls at a high rate. Empty for a low rate."""
    if not isinstance(spec, WindowSpec) or spec.period_s >= SENSIBLE_S:
        return ""
    return (
        f"the model file needs {1 / spec.period_s:.0f} polls per second. A poll that takes too long leaves out others, and these "
        "windows are INVALID (gap). Let the device send blocks of samples instead, for example by MQTT"
    )


class ModbusStream:
    """The windows of the samples from a device. Polls take place while the stream is read, in the thread of its reader."""

    def __init__(
        self,
        server: Server,
        spec: WindowSpec,
        settings: Settings,
        period_s: float,
        *,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self.counters = PollCounters()
        self._shown = f"modbus://{server.shown}"
        self._settings = settings
        self._period_s = period_s
        self._requests = plan(settings.by_channel)
        self._clock = clock
        self._stop = stop
        self._connection = ModbusConnection(server, unit_id=settings.unit_id, timeout_s=settings.timeout_s, clock=clock)
        self._failing: str | None = None
        self._reported_s = -math.inf
        self._reported_left_out = 0
        self._ended = False
        self._items = self._follow(
            receive(
                self._reads(),
                spec,
                Sender(self._shown, self._shown),
                clock,
                stop,
                stale_after_s=settings.stale_after_s,
            )
        )

    def __iter__(self) -> "ModbusStream":
        return self

    def __next__(self) -> Item | Lost:
        return next(self._items)

    def close(self) -> None:
        """End the stream and the connection."""
        self._ended = True
        self._connection.close()

    def _follow(self, windows: Iterator[Item | Lost]) -> Iterator[Item | Lost]:
        try:
            for item in windows:
                if isinstance(item, Lost) and item.reason is Reason.STALE and self._failing:
                    yield Lost(item.ref, item.reason, f"{item.detail}; {self._failing}")
                else:
                    yield item
        finally:
            self._connection.close()

    def _reads(self) -> Iterator[Read]:
        ahead_s = self._clock.wall_s() - self._clock.mono_s()
        attempts = 0
        while not self._over():
            if self._connected():
                schedule = Schedule(self._period_s, self._clock.mono_s() + ahead_s)
                while not self._over() and self._connection.is_open:
                    yield from self._wait(schedule.due_s - ahead_s)
                    if self._over():
                        return
                    line = self._poll(schedule.due_s, ahead_s)
                    self._count_left_out(schedule.polled(self._clock.mono_s() + ahead_s))
                    attempts = 0 if line else attempts
                    yield Read((line,) if line else (), len(line))
            # the exponent is bounded because attempts may go on for months
            retry_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(attempts, 32))
            attempts += 1
            yield from self._wait(self._clock.mono_s() + retry_s)

    def _over(self) -> bool:
        return self._stop.is_set() or self._ended

    def _wait(self, until_s: float) -> Iterator[Read]:
        """Wait until a monotonic time. Yield several times a second, so that a silence is reported meanwhile."""
        while not self._over() and (left_s := until_s - self._clock.mono_s()) > 0:
            self._clock.sleep(min(left_s, _NAP_S))
            yield Read((), 0)

    def _connected(self) -> bool:
        self._connection.begin()
        try:
            self._connection.connect()
        except ModbusFailed as error:
            self._hear(str(error))
            return False
        self.counters.connections += 1
        return True

    def _poll(self, due_s: float, ahead_s: float) -> bytes:
        """Read all channels. Return a line of a sample, or an empty one without a sample.

        Args:
            due_s: source time at which the poll was due.
            ahead_s: source time minus monotonic time.
        """
        begin_s = self._clock.mono_s() + ahead_s
        values: dict[str, float] = {}
        self._connection.begin()
        try:
            for request in self._requests:
                words = self._connection.read_registers(request.kind, request.address, request.count)
                values |= request.values(words, self._settings.word_order)
        except ModbusFailed as error:
            self.counters.failed += 1
            self._hear(str(error))
            return b""
        self.counters.polls += 1
        self._hear("")
        end_s = self._clock.mono_s() + ahead_s
        on_time = end_s - due_s <= ON_TIME * self._period_s
        # NaN and infinity become null, which is a missing sample
        return msgspec.json.encode({"t": due_s if on_time else (begin_s + end_s) / 2, "values": values})

    def _hear(self, failing: str) -> None:
        """Log a change of the connection. Attempts go on for months, so the same state is not logged again."""
        if failing == self._failing:
            return
        if failing:
            logger.warning("%s", failing)
        else:  # the end of a fault is as important as its begin
            level = logging.WARNING if self._failing else logging.INFO
            logger.log(level, "%s: the device answers", self._shown)
        self._failing = failing

    def _count_left_out(self, polls: int) -> None:
        self.counters.left_out += polls
        new, now_s = self.counters.left_out - self._reported_left_out, self._clock.mono_s()
        if new and now_s - self._reported_s >= REPORT_EVERY_S:
            self._reported_s, self._reported_left_out = now_s, self.counters.left_out
            logger.warning(
                "%s: %d polls were left out, because a poll or the judge took longer than the period of %g s",
                self._shown,
                new,
                self._period_s,
            )


def _require_registers(registers: Mapping[str, Register], channels: list[str]) -> None:
    """Refuse registers that are not those of the channels.

    Raises:
        ConfigError: see above.
    """
    if missing := [name for name in channels if name not in registers]:
        example = f'{missing[0]} = {{ address = 100, type = "float32" }}'
        raise ConfigError(
            f"registers: expected a register for each channel of the model file, got none for {printable(', '.join(missing))}. "
            f"Add for example {printable(example)}."
        )
    if unknown := [name for name in registers if name not in channels]:
        raise ConfigError(
            f"registers: expected channels of the model file, got {printable(unknown[0])}{nearest(unknown[0], channels)}. "
            "Correct the name or remove it."
        )


def _require_period(period_s: float, spec: WindowSpec, settings: Settings) -> None:
    """Refuse a period with which no window could be judged.

    Raises:
        ConfigError: see above.
    """
    if period_s < FASTEST_S:
        raise ConfigError(
            f"the model file: expected a period of at least {FASTEST_S:g} s for polling, got {period_s:g} s. Let the device "
            "send blocks of samples instead, for example over MQTT."
        )
    if period_s > spec.period_s * (1 + 1e-9):
        raise ConfigError(
            f"period_s: expected at most the period of the model file, {spec.period_s:g} s, got {period_s:g}. Lower it."
        )
    if period_s >= settings.stale_after_s:
        raise ConfigError(
            f"stale_after_s: expected more than the time between two polls, {period_s:g} s, got {settings.stale_after_s:g}. "
            "Raise it."
        )


def _accepts(text: str) -> bool:
    return text.lower().startswith("modbus://")


SOURCE = Source(
    name="modbus",
    summary="sensor samples from registers of a Modbus TCP device (modbus://host)",
    accepts=_accepts,
    settings=Settings,
    stream=stream,
    endless=lambda _text, _settings: True,
    advice=advice,
)
