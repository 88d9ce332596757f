"""The process of one camera: it opens the camera with the software of its vendor and copies frames to shared memory.

`process_capture` starts it as ``python -m andon.sources.live.camera_process SOCKET MEMORY PARENT``. It runs in a fresh
interpreter, so a crash or hang of the vendor's software cannot harm the monitor. It ends when the monitor ends, also after
``kill -9``: the system kills it (Linux), and the socket of the monitor closes.
"""

import ctypes
import importlib
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from andon.foundation.errors import AndonError, DataError
from andon.foundation.printable import printable
from andon.sources.live.capture_messages import BEGIN, MOST_TEXT, SLOTS, STOP, Kind, Message, check_size, encode
from andon.sources.live.device import Buffer, Device
from andon.sources.live.shared_frames import SharedFrames
from andon.sources.live.trusted_stamps import TrustedStamps
from andon.sources.pictures.pixel_formats import pixel_format

GRAB_S = 0.1
"""Longest wait for a frame in one call. A sign of life follows each wait without a frame."""
CHECK_S = 1.0
"""Interval at which a silent camera itself is asked for a sign of life."""
LEAVE_S = 0.6
"""Time for releasing the camera after a stop. The process then ends in any case."""
BEGIN_S = 5.0
"""Longest wait for the monitor to prepare the memory."""


class Order(Struct, frozen=True, kw_only=True):
    """The camera to open. The monitor sends it as JSON, after its length in four bytes."""

    opener: str
    """The function that opens the camera, as ``module:name``, see `OpenDevice`."""
    camera: str
    """The camera that the user chose."""
    settings: Any
    """The settings of the source, as JSON types."""


def main(arguments: Sequence[str]) -> int:
    """Run the process until the monitor ends it or the camera is lost. Return the exit status."""
    socket_fd, memory, parent = map(int, arguments)
    _end_with(parent)
    for name in (signal.SIGINT, signal.SIGTERM):  # both reach the monitor too, which then ends this process in order
        signal.signal(name, signal.SIG_IGN)
    # the default handler of logging would print every line of a vendor's software
    logging.getLogger().addHandler(logging.NullHandler())
    with socket.socket(fileno=socket_fd) as link:
        try:
            _Process(link, memory).run(_order(link))
        except (ConnectionError, EOFError):
            return 1  # the monitor is gone
    return 0


class _Process:
    """The state that the two threads of the process share."""

    def __init__(self, link: socket.socket, memory: int) -> None:
        self._link = link
        self._memory = memory
        self._begin: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stopping = threading.Event()

    def run(self, order: Order) -> None:
        """Open the camera and pass its frames on."""
        threading.Thread(target=self._obey, name="andon monitor", daemon=True).start()
        device: Device | None = None
        try:
            module, _, name = order.opener.partition(":")
            device = getattr(importlib.import_module(module), name)(order.camera, order.settings)
            assert device is not None
            self._pass_on(device)
        except (ConnectionError, EOFError):
            raise
        except AndonError as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - a vendor's software may raise anything; the monitor reports it
            self._failed(f"{type(error).__name__}: {error}")
        finally:
            if device is not None:
                device.close()

    def _pass_on(self, device: Device) -> None:
        """Pass frames on until the stop or the loss of the camera."""
        slot_bytes = check_size(device.most_bytes)
        self._send(Message(Kind.OPENED, size=slot_bytes))
        try:
            self._begin.get(timeout=BEGIN_S)
        except queue.Empty:
            raise EOFError from None
        frames = SharedFrames(self._memory, slot_bytes, write=True)
        for slot in range(SLOTS):
            self._free.put(slot)
        number = skipped = 0
        stamps = TrustedStamps()
        checked_s = time.monotonic()
        while not self._stopping.is_set():
            buffer = device.grab(GRAB_S)
            if buffer is None:
                if time.monotonic() - checked_s > CHECK_S:
                    device.check()
                    checked_s = time.monotonic()
                self._send(Message(Kind.IDLE))
                continue
            number += 1
            stamp_ns = stamps.trusted(time.monotonic(), buffer.stamp_ns)
            try:
                message = self._message(buffer, frames, slot_bytes)
            finally:
                buffer.release()
            if message is None:
                skipped += 1
                continue
            self._send(message._replace(number=number, skipped=skipped, stamp_ns=stamp_ns))
            skipped = 0

    def _message(self, buffer: Buffer, frames: SharedFrames, slot_bytes: int) -> Message | None:
        """Copy a picture to a slot. Return its message, or None if no slot is free."""
        if buffer.damage:
            return Message(Kind.DAMAGED, text=printable(buffer.damage, limit=MOST_TEXT))
        row_bytes = buffer.width * pixel_format(buffer.code).bytes_per_pixel
        size = row_bytes * buffer.height
        if size > slot_bytes:
            raise DataError(
                f"a frame of {buffer.width} x {buffer.height} pixels is larger than the camera announced. Another program may "
                "have changed its settings"
            )
        try:
            slot = self._free.get_nowait()
        except queue.Empty:
            return None
        try:
            frames.put(slot, buffer.pixels, buffer.height, row_bytes, buffer.padding)
        except ValueError:  # the buffer is shorter than its size
            self._free.put(slot)
            return Message(Kind.DAMAGED, text="the buffer is shorter than the picture")
        return Message(
            Kind.FRAME,
            slot=slot,
            size=size,
            width=buffer.width,
            height=buffer.height,
            code=buffer.code,
        )

    def _obey(self) -> None:
        """Follow the orders of the monitor. After a stop, or if the monitor is gone, end even if the camera hangs."""
        try:
            while STOP not in (orders := self._link.recv(64)) and orders:
                for order in orders:
                    (self._begin if order == BEGIN else self._free).put(order)
        except OSError:
            pass
        self._stopping.set()
        time.sleep(LEAVE_S)
        os._exit(3)

    def _failed(self, why: str) -> None:
        self._send(Message(Kind.FAILED, text=printable(why, limit=MOST_TEXT)))

    def _send(self, message: Message) -> None:
        self._link.sendall(encode(message))


def _order(link: socket.socket) -> Order:
    length = int.from_bytes(_exactly(link, 4), "little")
    return msgspec.json.decode(_exactly(link, length), type=Order)


def _exactly(link: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = link.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _end_with(parent: int) -> None:
    """Ask the system to kill this process when the thread that started it ends. Only Linux can."""
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError, MemoryError):
        return  # the socket of the monitor closes as well
    if os.getppid() != parent:  # it ended before the call
        os._exit(3)


_PR_SET_PDEATHSIG = 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
