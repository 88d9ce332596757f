"""The wire format of protocol buffers, as far as a model file needs it: walk fields with bounds, write fields.

Source: protobuf.dev, "Encoding". No schema, no objects: a field is a number, a wire type and a place in the bytes.
"""

from collections.abc import Iterator
from typing import NamedTuple

from andon.runtime.errors import ModelFileError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field: bytes ``data[start:end]`` are all of it, ``data[value:end]`` its payload."""

    number: int
    wire: int
    start: int
    value: int
    end: int
    varint: int
    """The value where `wire` is VARINT, else 0."""


def walk(data: bytes, start: int, end: int) -> Iterator[Field]:
    """The fields of the message ``data[start:end]``, in file order.

    Raises:
        ModelFileError: a length beyond the message, a group, a field number 0, a varint longer than ten bytes.
    """
    at = start
    while at < end:
        tag, value = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ModelFileError(f"damaged model file: field number 0 at byte {at}.")
        number_value = 0
        if wire == VARINT:
            number_value, stop = _varint(data, value, end)
        elif wire == BYTES:
            length, value = _varint(data, value, end)
            stop = value + length
        elif wire == FIXED32:
            stop = value + 4
        elif wire == FIXED64:
            stop = value + 8
        else:
            raise ModelFileError(f"damaged model file: wire type {wire} at byte {at}.")
        if stop > end:
            raise ModelFileError(f"damaged or truncated model file: a field at byte {at} ends at {stop}, beyond {end}.")
        yield Field(number, wire, at, value, stop, number_value)
        at = stop


def bytes_field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return _encode(number << 3 | BYTES) + _encode(len(payload)) + payload


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ModelFileError(f"damaged or truncated model file: a number is cut off at byte {at}.")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ModelFileError(f"damaged model file: a number longer than ten bytes before byte {at}.")


def _encode(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
