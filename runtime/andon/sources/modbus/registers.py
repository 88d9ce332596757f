"""Registers of a Modbus device: their types, and the requests that read them.

A register has 16 bits. A value of 32 bits takes two registers. Most devices send the high word first (``big``), some the low word
(``little``). Within a word, the high byte is always first.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from andon.foundation.printable import printable
from andon.foundation.settings import nearest

MOST_REGISTERS = 125
"""Largest number of registers that one request can read, by the Modbus specification."""
LAST_ADDRESS = 65_535

RegisterKind = Literal["holding", "input"]
RegisterType = Literal["int16", "uint16", "int32", "uint32", "float32"]
WordOrder = Literal["big", "little"]

_FORMATS: dict[RegisterType, str] = {"int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "float32": "f"}
_KINDS: tuple[RegisterKind, ...] = ("holding", "input")

Address = Annotated[int, Meta(ge=0, le=LAST_ADDRESS)]


class Register(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value in one or two registers.

    Raises:
        ValueError: the value has registers behind the last address, or a factor that is not finite.
    """

    address: Annotated[Address, Meta(description="address of the first register, counted from 0")]
    kind: Annotated[RegisterKind, Meta(description="table of the device")] = "holding"
    type: Annotated[RegisterType, Meta(description="type of the value")] = "uint16"
    scale: Annotated[float, Meta(description="factor of the value")] = 1.0
    offset: Annotated[float, Meta(description="number added after the factor")] = 0.0

    def __post_init__(self) -> None:
        if self.address + self.count > LAST_ADDRESS + 1:
            raise ValueError(
                f"address: expected two registers up to {LAST_ADDRESS} for {self.type}, got {self.address}. Correct it."
            )
        if not math.isfinite(self.scale) or not math.isfinite(self.offset) or self.scale == 0:
            raise ValueError(
                f"scale and offset: expected finite numbers and a scale other than 0, got {self.scale:g} and {self.offset:g}. "
                "Correct them."
            )

    @property
    def count(self) -> int:
        """Number of registers of the value."""
        return registers_of(self.type)

    def value(self, words: Sequence[int], order: WordOrder) -> float:
        """Return the value in the unit of the channel.

        >>> Register(address=7, type="int16", scale=0.1, offset=-40.0).value([250], "big")
        -15.0
        """
        return decode(words, self.type, order) * self.scale + self.offset


class ReadRequest(Struct, frozen=True, kw_only=True):
    """One request, and the channels that it reads."""

    kind: RegisterKind
    address: int
    count: int
    channels: tuple[tuple[str, Register], ...]

    def values(self, words: Sequence[int], order: WordOrder) -> dict[str, float]:
        """Return the value of each channel from the answer to the request."""
        return {
            name: register.value(words[register.address - self.address :][: register.count], order)
            for name, register in self.channels
        }


def registers_of(kind: RegisterType) -> int:
    """Return the number of registers of a type.

    >>> registers_of("int16"), registers_of("float32")
    (1, 2)
    """
    return struct.calcsize(f">{_FORMATS[kind]}") // 2


def decode(words: Sequence[int], kind: RegisterType, order: WordOrder) -> float:
    """Return the value in the registers.

    >>> decode([0x4048, 0xF5C3], "float32", "big") == decode([0xF5C3, 0x4048], "float32", "little")
    True
    >>> decode([0xFFFF], "int16", "big"), decode([1, 0], "uint32", "big")
    (-1.0, 65536.0)
    """
    packed = struct.pack(f">{len(words)}H", *(words if order == "big" else reversed(words)))
    (value,) = struct.unpack(f">{_FORMATS[kind]}", packed)
    return float(value)


def encode(value: float, kind: RegisterType, order: WordOrder) -> list[int]:
    """Return the registers of a value. An integer outside its type is reduced to the low bits, as a counter that wraps.

    >>> encode(65_537, "uint32", "big"), encode(65_537, "uint16", "big")
    ([1, 1], [1])
    """
    count = registers_of(kind)
    if kind == "float32":
        words = list(struct.unpack(">2H", struct.pack(">f", value)))
    else:
        bits = int(value) % (1 << 16 * count)
        words = [bits >> 16 * place & 0xFFFF for place in reversed(range(count))]
    return words if order == "big" else words[::-1]


def plan(registers: Mapping[str, Register]) -> tuple[ReadRequest, ...]:
    """Return the requests that read all channels: one for each run of registers without a hole, up to the largest request.

    Registers between two channels are not read, because a device may refuse them.
    """
    requests: list[ReadRequest] = []
    order = sorted(registers.items(), key=lambda item: (item[1].kind, item[1].address, item[1].count))
    for name, register in order:
        last = requests[-1] if requests else None
        end = register.address + register.count
        if (
            last is not None
            and last.kind == register.kind
            and register.address <= last.address + last.count
            and end - last.address <= MOST_REGISTERS
        ):
            requests[-1] = ReadRequest(
                kind=last.kind,
                address=last.address,
                count=max(last.count, end - last.address),
                channels=(*last.channels, (name, register)),
            )
        else:
            requests.append(
                ReadRequest(
                    kind=register.kind, address=register.address, count=register.count, channels=((name, register),)
                )
            )
    return tuple(requests)


def parse_registers(text: str) -> dict[str, Register]:
    """Return the registers in a text such as ``pressure=holding:100:float32,level=input:7:int16:0.1:-40``.

    Each channel has a kind and an address, and then optionally a type, a factor and a number to add.

    Raises:
        ValueError: the text is not of this form, or a channel appears twice.

    >>> parse_registers("pressure=holding:100:float32")["pressure"].type
    'float32'
    """
    registers: dict[str, Register] = {}
    for piece in text.split(","):
        name, equals, place = piece.strip().rpartition("=")
        fields = place.split(":")
        if not equals or not name or not 2 <= len(fields) <= 5:
            raise ValueError(
                f"expected CHANNEL=KIND:ADDRESS[:TYPE[:SCALE[:OFFSET]]], got {printable(repr(piece.strip()))}. Write for example "
                "pressure=holding:100:float32."
            )
        if name in registers:
            raise ValueError(f"expected each channel once, got {printable(name)} twice. Remove one of them.")
        registers[name] = _register(printable(name), fields)
    return registers


def _register(name: str, fields: Sequence[str]) -> Register:
    kind, address, type_, scale, offset = (*fields, *("", "", "uint16", "1", "0")[len(fields) :])
    if kind not in _KINDS:
        raise ValueError(
            f"{name}: expected the kind {' or '.join(_KINDS)}, got {printable(repr(kind))}{nearest(kind, _KINDS)}."
        )
    if type_ not in _FORMATS:
        raise ValueError(
            f"{name}: expected one of the types {', '.join(_FORMATS)}, got {printable(repr(type_))}{nearest(type_, _FORMATS)}."
        )
    if not address.isascii() or not address.isdigit() or int(address) > LAST_ADDRESS:
        raise ValueError(f"{name}: expected an address from 0 to {LAST_ADDRESS}, got {printable(repr(address))}.")
    try:
        numbers = float(scale), float(offset)
    except ValueError:
        raise ValueError(
            f"{name}: expected numbers as scale and offset, got {printable(repr(f'{scale}:{offset}'))}."
        ) from None
    try:
        return Register(address=int(address), kind=kind, type=type_, scale=numbers[0], offset=numbers[1])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
