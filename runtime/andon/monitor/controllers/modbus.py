"""Show the state and the results of lines to a PLC in holding registers (Modbus TCP).

Each line has a block of `BLOCK` holding registers. The block is written in one request, so that a result and its number arrive
together. It is read back and compared. The registers of a block are:

* 0, uint16: bit 0 is ready: the line would judge a part that arrived now. Bit 1: an alarm of the line is active. The high byte is
  the state: 0 starting, 1 running, 2 retrying, 3 ended, 4 failed.
* 1, uint16: heartbeat. It grows with each write. A PLC that sees the same value for 3 s must treat the line as not ready.
* 2, uint16: number of active alarms of the line.
* 3, uint16: result. 0 none, 1 OK, 2 NOK (REJECT), 3 INVALID, 4 REVIEW.
* 4 and 5, float32: score of the result, if `score` is on, and NaN without a score. 0 if `score` is off.
* 6 and 7, uint32: number of the result. A PLC that sees a number skipped has missed a result.

The number is at the end, for a PLC that takes over one register after the other. REVIEW is the last code, so that codes 0 to 3
are those that PLC programs often use. A PLC that accepts only 1 as good is safe with all codes.

The block of the first line begins at `register`, and each further line has the next `BLOCK` registers. If `acknowledge` is set,
the PLC writes the number of the last result that it has taken to two other holding registers (uint32) for each line.
"""

import math
from collections.abc import Collection
from typing import Annotated

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.monitor.controller_kind import ControllerContext, ControllerFailed, ControllerKind
from andon.monitor.process_image import ProcessImage
from andon.monitor.status import LineState
from andon.sources.modbus.connection import (
    ModbusConnection,
    ModbusFailed,
    ServerAddress,
    UnitId,
    parse_server,
    require_package,
)
from andon.sources.modbus.registers import LAST_ADDRESS, Address, WordOrder, decode, encode

BLOCK = 8
"""Registers of a line."""
ACKNOWLEDGED = 2
"""Registers of the acknowledged number of a line."""
READY_BIT, ALARM_BIT = 1, 2
STATES: dict[LineState, int] = {"starting": 0, "running": 1, "retrying": 2, "ended": 3, "failed": 4}


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the registers."""

    address: ServerAddress
    register: Annotated[
        Address, Meta(description="number of the first holding register of the first line, counted from 0")
    ]
    acknowledge: Annotated[
        Address | None,
        Meta(
            description="number of the first holding register for acknowledgements, none for no handshake. The PLC writes the "
            "number of the last result that it has taken to two registers of each line"
        ),
    ] = None
    score: Annotated[bool, Meta(description="write the score as float32, with NaN if there is none")] = False
    word_order: Annotated[
        WordOrder, Meta(description="order of the two registers of a 32-bit value; big: the high word first")
    ] = "big"
    read_back: Annotated[bool, Meta(description="read the registers after each write and compare them")] = True
    unit_id: UnitId = 1
    timeout_s: Annotated[
        float,
        Meta(
            ge=0.01,
            le=5,
            description="longest time for connecting, and for writing a line and reading it back",
            extra={"unit": "s"},
        ),
    ] = 1.0

    def __post_init__(self) -> None:
        try:
            parse_server(self.address)
        except ConfigError as error:
            raise ValueError(f"address: {error}") from None


def block(image: ProcessImage, settings: Settings) -> list[int]:
    """Return the registers of a line."""
    order = settings.word_order
    score = (image.score if image.score is not None else math.nan) if settings.score else 0.0
    return [
        STATES[image.state] << 8 | (READY_BIT if image.ready else 0) | (ALARM_BIT if image.alarms else 0),
        image.heartbeat & 0xFFFF,
        min(image.alarms, 0xFFFF),
        int(image.result),
        *encode(_float32(score), "float32", order),
        *encode(image.number, "uint32", order),
    ]


class ModbusController:
    """An opened controller. See `andon.monitor.controller_kind.Controller`."""

    def __init__(self, settings: Settings, context: ControllerContext) -> None:
        _require_space(settings, len(context.lines))
        require_package("the controller modbus")
        self._settings = settings
        self._places = {line: place for place, line in enumerate(context.lines)}
        self._connection = ModbusConnection(
            parse_server(settings.address), unit_id=settings.unit_id, timeout_s=settings.timeout_s, clock=context.clock
        )

    def connect(self) -> None:
        """Open a new connection."""
        self._connection.begin()
        try:
            self._connection.connect()
        except ModbusFailed as error:
            raise ControllerFailed(str(error)) from None

    def write(self, image: ProcessImage) -> None:
        """Write the block of a line, and read it back."""
        address = self._settings.register + BLOCK * self._places[image.line]
        words = block(image, self._settings)
        self._connection.begin()
        try:
            self._connection.write_registers(address, words)
            shows = self._connection.read_registers("holding", address, BLOCK) if self._settings.read_back else words
        except ModbusFailed as error:
            raise ControllerFailed(str(error)) from None
        for place, (word, shown) in enumerate(zip(words, shows, strict=True)):
            if word != shown:
                raise ControllerFailed(
                    f"holding register {address + place}: expected {word} after it was written, but it reads {shown}. Another "
                    "device writes it, or the address is wrong"
                )

    def acknowledged(self, line: str) -> int | None:
        """Return the number that the PLC has written for a line."""
        if self._settings.acknowledge is None:
            return None
        self._connection.begin()
        try:
            address = self._settings.acknowledge + ACKNOWLEDGED * self._places[line]
            words = self._connection.read_registers("holding", address, ACKNOWLEDGED)
        except ModbusFailed as error:
            raise ControllerFailed(str(error)) from None
        return int(decode(words, "uint32", self._settings.word_order))

    def close(self) -> None:
        """Close the connection. The registers stay as they are: the PLC sees that the heartbeat stands still."""
        self._connection.close()


def places(settings: Settings, lines: Collection[str]) -> Collection[str]:
    """Return the registers that the monitor writes."""
    device = f"modbus://{parse_server(settings.address).shown}, unit {settings.unit_id}"
    begin = settings.register
    return [f"holding register {at} of {device}" for at in range(begin, begin + BLOCK * len(lines))]


def _float32(score: float) -> float:
    """Return a score that float32 can hold. A larger one becomes infinite instead of raising an error."""
    return score if math.isnan(score) or abs(score) < 3.4e38 else math.copysign(math.inf, score)


def _require_space(settings: Settings, lines: int) -> None:
    """Refuse blocks that do not fit, or that overlap the acknowledged numbers.

    Raises:
        ConfigError: see above.
    """
    blocks = range(settings.register, settings.register + BLOCK * lines)
    numbers = range(0)
    if settings.acknowledge is not None:
        numbers = range(settings.acknowledge, settings.acknowledge + ACKNOWLEDGED * lines)
    for name, registers in (("register", blocks), ("acknowledge", numbers)):
        if registers and registers[-1] > LAST_ADDRESS:
            raise ConfigError(
                f"{name}: expected {len(registers)} registers up to {LAST_ADDRESS} for {lines} lines, got {registers[0]}. "
                "Lower it."
            )
    if numbers and blocks and numbers[0] <= blocks[-1] and blocks[0] <= numbers[-1]:
        raise ConfigError(
            f"acknowledge: expected registers outside of {blocks[0]} to {blocks[-1]}, which the monitor writes, got "
            f"{numbers[0]} to {numbers[-1]}. Choose another address."
        )


CONTROLLER = ControllerKind(
    name="modbus",
    summary="write state and results to holding registers of a PLC (Modbus TCP)",
    settings=Settings,
    open=ModbusController,
    places=places,
)
