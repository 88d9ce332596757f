"""Triggers from a Modbus TCP device: a register that counts parts, or a bit that goes on for each part.

A counter is better than a bit. If a counter has grown by more than one since the last poll, there is one trigger with the newest
number, and the monitor counts the skipped ones. A pulse of a bit between two polls is missed without notice, so the device must
hold each state of the bit for longer than the time between two polls.

The counter may begin again at 0 after its largest value. The numbers of the triggers then go on. A counter that goes back
otherwise was reset, which gives no trigger. The same holds after an interruption: its parts have passed.
"""

import logging
import math
from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.monitor.retry import Backoff
from andon.monitor.trigger_kind import Trigger, TriggerContext, TriggerKind
from andon.sources.clock import pause
from andon.sources.modbus.connection import (
    ModbusConnection,
    ModbusFailed,
    ServerAddress,
    UnitId,
    parse_server,
    require_package,
)
from andon.sources.modbus.registers import Address, WordOrder, decode, registers_of

logger = logging.getLogger(__name__)

RETRY = Backoff(first_s=0.25, cap_s=2.0)
MOST_ACROSS_0 = 1000
"""Largest number of parts between two polls with which a counter may begin again at 0. With a larger one it was reset, for
example from 40 000 to 0 at the end of a shift."""


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the triggers."""

    address: ServerAddress
    register: Annotated[Address, Meta(description="number of the register, coil or input, counted from 0")]
    signal: Annotated[
        Literal["holding", "input", "coil", "discrete"],
        Meta(description="table of the device: a counter in a holding or input register, or a coil or discrete input"),
    ] = "holding"
    type: Annotated[Literal["uint16", "uint32"], Meta(description="type of the counter")] = "uint16"
    word_order: Annotated[
        WordOrder, Meta(description="order of the two registers of a 32-bit counter; big: the high word first")
    ] = "big"
    edge: Annotated[Literal["rising", "falling"], Meta(description="change of the bit that is a trigger")] = "rising"
    poll_s: Annotated[float, Meta(ge=0.002, le=10, description="time between two polls", extra={"unit": "s"})] = 0.01
    unit_id: UnitId = 1
    timeout_s: Annotated[
        float, Meta(ge=0.01, le=1.5, description="longest time for connecting, and for one poll", extra={"unit": "s"})
    ] = 0.5

    def __post_init__(self) -> None:
        try:
            parse_server(self.address)
        except ConfigError as error:
            raise ValueError(f"address: {error}") from None

    @property
    def modulus(self) -> int:
        """Number of values of the counter."""
        return int(2 ** (16 * registers_of(self.type)))


class Count(Struct, frozen=True):
    """The state of a counter."""

    value: int
    """Content of the register."""
    number: int
    """Number of the last part. It goes on where the register begins again at 0."""


def counted(before: Count | None, value: int, modulus: int) -> Count:
    """Return the state of a counter after a poll. There is a new part if its number is higher than before.

    A step of half the range or more is a reset of the counter, and so is a lower value that is more than `MOST_ACROSS_0` parts
    away. Such numbers of parts cannot pass between two polls.

    >>> counted(Count(65_535, 65_535), 1, 65_536)
    Count(value=1, number=65537)
    >>> counted(Count(500, 500), 1, 65_536)
    Count(value=1, number=1)
    >>> counted(Count(40_000, 40_000), 0, 65_536)
    Count(value=0, number=0)
    """
    if before is None:
        return Count(value, value)
    step = (value - before.value) % modulus
    if step >= modulus // 2 or (value < before.value and step > MOST_ACROSS_0):
        return Count(value, value)
    return Count(value, before.number + step)


class ModbusTriggers:
    """Opened triggers."""

    def __init__(self, settings: Settings, context: TriggerContext) -> None:
        require_package("the trigger modbus")
        self._settings = settings
        self._context = context
        self._connection = ModbusConnection(
            parse_server(settings.address), unit_id=settings.unit_id, timeout_s=settings.timeout_s, clock=context.clock
        )

    def follow(self, give: Callable[[Trigger], None], hear: Callable[[str], None]) -> None:
        """Give each trigger until the stop. See `andon.monitor.trigger_kind.Triggers`."""
        clock, stop = self._context.clock, self._context.stop
        signals = _Counter(self._settings) if self._settings.signal in ("holding", "input") else _Bit(self._settings)
        heard: str | None = None
        tries, due_s = 0, -math.inf
        try:
            while not stop.is_set():
                try:
                    self._connection.begin()
                    if not self._connection.is_open:
                        self._connection.connect()
                    trigger = signals.look(self._connection)
                    failing, tries = "", 0
                except ModbusFailed as error:
                    trigger, failing = None, str(error)
                    signals.interrupted()
                if failing != heard:
                    hear(failing)
                    heard = failing
                if trigger is not None:
                    give(trigger)
                if failing:
                    pause(clock, RETRY.limit_s(tries), stop.is_set)
                    tries += 1
                    continue
                # a poll that takes too long is followed by the next one at once, and not by several
                due_s = max(due_s + self._settings.poll_s, clock.mono_s())
                pause(clock, due_s - clock.mono_s(), stop.is_set)
        finally:
            self._connection.close()


class _Counter:
    """Follows a register. The first look after the start or an interruption gives no trigger."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._count: Count | None = None
        self._fresh = False

    def look(self, connection: ModbusConnection) -> Trigger | None:
        settings = self._settings
        assert settings.signal in ("holding", "input")
        words = connection.read_registers(settings.signal, settings.register, registers_of(settings.type))
        value = int(decode(words, settings.type, settings.word_order))
        before, self._count = self._count, counted(self._count, value, settings.modulus)
        fresh, self._fresh = self._fresh, True
        if before is not None and self._count.number < before.number:
            logger.warning(
                "%s, register %d: the counter went back from %d to %d. It was reset, and this is not a trigger",
                settings.address,
                settings.register,
                before.value,
                value,
            )
        new = before is not None and self._count.number > before.number
        return Trigger(number=self._count.number) if new and fresh else None

    def interrupted(self) -> None:
        self._fresh = False


class _Bit:
    """Follows a bit. A bit that is on at the first look after the start or an interruption gives no trigger."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._before: bool | None = None

    def look(self, connection: ModbusConnection) -> Trigger | None:
        settings = self._settings
        assert settings.signal in ("coil", "discrete")
        active = connection.read_bit(settings.signal, settings.register) == (settings.edge == "rising")
        before, self._before = self._before, active
        return Trigger() if active and before is False else None

    def interrupted(self) -> None:
        self._before = None


TRIGGER = TriggerKind(
    name="modbus",
    summary="follow a counter or a bit of a Modbus TCP device",
    settings=Settings,
    open=ModbusTriggers,
)
