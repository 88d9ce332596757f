"""Read and write the wire format of protocol buffers, as far as a model file needs it.

There is no schema and there are no objects: a field is a number, a wire type and a position in the bytes. This parser is
stricter than protobuf where two readers could differ: numbers must have their shortest form and fit 64 bits, and groups are
refused.

Source: protobuf.dev, "Encoding".
"""

from collections.abc import Iterator
from typing import NamedTuple

from andon.foundation.errors import ModelFileError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field: ``data[start:end]`` is the whole field, ``data[value:end]`` its payload."""

    number: int
    wire: int
    start: int
    value: int
    end: int
    varint: int
    """The value, from 0 to 2**64 - 1, where `wire` is VARINT. Otherwise 0."""


def walk(data: bytes, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message ``data[start:end]`` in file order.

    Raises:
        ModelFileError: the message is damaged. A field ends after the message, is a group, or has a number outside 1 to
            2**29 - 1. Or a number is longer than necessary or exceeds 64 bits.
    """
    at = start
    while at < end:
        tag, value = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ModelFileError(
                f"damaged model file: expected a field number from 1 to 2**29 - 1 at byte {at}, got field number {number}. "
                "Copy or export the file again."
            )
        varint = 0
        if wire == BYTES:
            length, value = _varint(data, value, end)
            stop = value + length
        elif wire == VARINT:
            varint, stop = _varint(data, value, end)
        elif wire == FIXED32:
            stop = value + 4
        elif wire == FIXED64:
            stop = value + 8
        else:
            raise ModelFileError(
                f"damaged model file: expected wire type 0, 1, 2 or 5 at byte {at}, got wire type {wire}. Copy or export the "
                "file again."
            )
        if stop > end:
            raise ModelFileError(
                f"damaged or truncated model file: the field at byte {at} would end at byte {stop}, but its data end at "
                f"byte {end}. Copy or export the file again."
            )
        yield Field(number, wire, at, value, stop, varint)
        at = stop


def bytes_field(number: int, payload: bytes) -> bytes:
    """Encode a length-delimited field."""
    return _encode(number << 3 | BYTES) + _encode(len(payload)) + payload


def varint_field(number: int, value: int) -> bytes:
    """Encode an integer field. Its value must be 0 or greater."""
    return _encode(number << 3 | VARINT) + _encode(value)


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the number at a position, and the position after it."""
    if at < end and data[at] < 0x80:  # nearly all numbers have one byte
        return data[at], at + 1
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ModelFileError(
                f"damaged or truncated model file: a number is cut off at byte {at}. Copy or export the file again."
            )
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if (byte == 0 and shift) or value >> 64:
                break
            return value, at
    raise ModelFileError(
        f"damaged model file: a number before byte {at} is longer than necessary or exceeds 64 bits. Copy or export the file "
        "again."
    )


def _encode(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
