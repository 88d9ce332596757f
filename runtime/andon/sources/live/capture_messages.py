"""The messages between the monitor and the process of a camera. The code needs no process and no socket.

A message of the camera's process is a header of fixed size and a short text. Pixels are not in the message, but in shared memory.
Everything is checked when it is received, because the software of a vendor can damage the memory of its process.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

from andon.foundation.errors import DataError
from andon.foundation.printable import printable
from andon.sources.pictures.limits import MAX_PIXELS
from andon.sources.pictures.pixel_formats import pixel_format

MOST_TEXT = 4000
"""Upper limit of the bytes of a text."""
MOST_BYTES = 4 * MAX_PIXELS
"""Upper limit of the bytes of a picture."""
SLOTS = 3
"""Number of pictures in the shared memory: one is written, one waits, one is read."""
BEGIN = 254
"""The byte after which the camera's process uses the memory. The bytes below `SLOTS` give a slot back."""
STOP = 255
"""The byte that ends the camera's process."""

_HEADER = struct.Struct("<4sBBHQqIIIII")
_MAGIC = b"cam1"
_NO_STAMP = -(2**63)
HEADER_BYTES = _HEADER.size


class Kind(IntEnum):
    """The kinds of messages of a camera's process."""

    OPENED = 1
    """The camera is open. `size` is the size of its largest picture."""
    FRAME = 2
    """A picture is in a slot."""
    DAMAGED = 3
    """A picture is incomplete. The text is the reason."""
    IDLE = 4
    """The camera answers, but has sent nothing."""
    FAILED = 5
    """The camera cannot be opened or is lost. The text is the reason."""


class Message(NamedTuple):
    """One message of a camera's process."""

    kind: Kind
    number: int = 0
    """Number of the picture. It counts from 1, and also counts pictures that were skipped."""
    slot: int = 0
    size: int = 0
    """Number of bytes."""
    width: int = 0
    height: int = 0
    code: int = 0
    """Number of the pixel format in PFNC."""
    skipped: int = 0
    """Number of pictures before this one that were not passed on, because all slots were in use."""
    stamp_ns: int | None = None
    text: str = ""


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    text = message.text.encode("utf-8", "replace")[:MOST_TEXT]
    stamp_ns = message.stamp_ns
    if stamp_ns is None or not -(2**63) < stamp_ns < 2**63:
        stamp_ns = _NO_STAMP
    header = _HEADER.pack(
        _MAGIC,
        message.kind,
        message.slot,
        len(text),
        message.number,
        stamp_ns,
        message.width,
        message.height,
        message.code,
        message.size,
        message.skipped,
    )
    return header + text


def decode(data: bytes | bytearray) -> tuple[Message, int] | None:
    """Return the first message in the received bytes and its length, or None if it is not complete yet.

    Raises:
        DataError: the bytes are not a message.
    """
    if len(data) < HEADER_BYTES:
        return None
    magic, kind, slot, length, number, stamp_ns, width, height, code, size, skipped = _HEADER.unpack_from(data)
    if magic != _MAGIC or kind not in _KINDS or length > MOST_TEXT:
        raise DataError("the process of the camera sent bytes that are not a message")
    end = HEADER_BYTES + length
    if len(data) < end:
        return None
    text = printable(bytes(data[HEADER_BYTES:end]).decode("utf-8", "replace"), limit=MOST_TEXT)
    return (
        Message(
            Kind(kind),
            number,
            slot,
            size,
            width,
            height,
            code,
            skipped,
            None if stamp_ns == _NO_STAMP else stamp_ns,
            text,
        ),
        end,
    )


_KINDS = frozenset(Kind)


def check_size(size: int) -> int:
    """Return the size of a slot.

    Raises:
        DataError: it is zero or exceeds the limit.
    """
    if not 0 < size <= MOST_BYTES:
        raise DataError(
            f"a picture of the camera: expected from 1 to {MOST_BYTES} bytes, got {size}. Set a smaller region in the camera."
        )
    return size


def check_number(message: Message, last_number: int) -> None:
    """Check that no picture is missing and none comes twice.

    Raises:
        DataError: the number does not follow the last one.
    """
    if message.number != last_number + message.skipped + 1:
        raise DataError(
            f"the process of the camera sent a wrong number: {message.number} after {last_number}, {message.skipped} skipped"
        )


def check_frame(message: Message, slot_bytes: int) -> None:
    """Check a frame against the shared memory.

    Raises:
        DataError: its slot, size or format is impossible.
    """
    expected = message.width * message.height * pixel_format(message.code).bytes_per_pixel
    if message.slot >= SLOTS or message.size != expected or not 0 < message.size <= slot_bytes:
        raise DataError(
            f"the process of the camera sent a wrong header: {message.width} x {message.height} pixels, {message.size} bytes, "
            f"slot {message.slot}"
        )
