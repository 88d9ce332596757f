"""A camera whose vendor's software runs in a process of its own, which can be killed.

The software of a vendor can crash, or hang in a call that has no timeout. The process of the camera sends a message at least ten
times a second. If it is silent for too long, it is killed, and the next attempt to open the camera starts a new one.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import msgspec
from msgspec import Struct

from andon.foundation.errors import DataError
from andon.sources.clock import Clock
from andon.sources.live.camera_process import Order
from andon.sources.live.capture import Grabbed, Quiet
from andon.sources.live.capture_messages import (
    BEGIN,
    STOP,
    Kind,
    Message,
    check_frame,
    check_number,
    check_size,
    decode,
)
from andon.sources.live.shared_frames import SharedFrames, new_memory, resize
from andon.sources.pictures.pixel_formats import pixel_format
from andon.sources.pictures.raw_picture import RawPicture

TICK_S = 0.1
"""Longest time that `ProcessCapture.read` blocks."""
LEAVE_S = 0.75
"""Time for the process to release its camera after a stop. It is then killed."""
KILL_S = 0.5
"""Time for the system to end a killed process."""


class Patience(Struct, frozen=True, kw_only=True):
    """Limits for the silence of the process and its camera."""

    open_timeout_s: float
    """Longest time for starting the process and opening the camera."""
    read_timeout_s: float
    """Longest time without a message. Also the longest time without a frame, unless the camera waits for a trigger."""
    triggered: bool
    """True if the camera sends frames only after a trigger."""


class ProcessCapture:
    """One process with one opened camera, used by one thread. The process ends when this thread ends.

    The constructor does not wait: `read` returns `Quiet.OPENING` until the camera is open.

    Args:
        order: the function that opens the camera, and its arguments.
        patience: the limits.
        clock: for the ages.

    Raises:
        DataError: the process cannot be started.
    """

    def __init__(self, order: Order, patience: Patience, clock: Clock) -> None:
        self._patience = patience
        self._clock = clock
        self._received = bytearray()
        self._frames: SharedFrames | None = None
        self._slot_bytes = self._number = 0
        self._hung = self._closed = False
        self._message_s = self._frame_s = clock.mono_s()
        self._memory = new_memory()
        self._link, theirs = socket.socketpair()
        try:
            self._process = _start(theirs.fileno(), self._memory)
        except OSError as error:
            self._link.close()
            os.close(self._memory)
            raise DataError(f"the process of the camera cannot be started: {error.strerror or error}") from error
        finally:
            theirs.close()
        text = msgspec.json.encode(order)
        with contextlib.suppress(OSError):  # the next read finds the end of the process
            self._link.settimeout(TICK_S)
            self._link.sendall(len(text).to_bytes(4, "little") + text)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def read(self) -> Grabbed | Quiet | None:
        """Return the next frame, or `Quiet` if none arrives within `TICK_S`.

        Raises:
            DataError: the camera cannot be opened or is lost, or its process hangs or has ended. Close the capture then.
        """
        until_s = self._clock.mono_s() + TICK_S
        while True:
            message = self._next(until_s - self._clock.mono_s())
            now_s = self._clock.mono_s()
            if message is None:
                self._require_sign_of_life(now_s)
                return Quiet.OPENING if self._frames is None else Quiet.SILENT
            self._message_s = now_s
            match message.kind:
                case Kind.OPENED:
                    self._begin(message)
                    self._frame_s = now_s
                    return Quiet.OPENING
                case Kind.FRAME | Kind.DAMAGED:
                    self._frame_s = now_s
                    return self._grabbed(message)
                case Kind.IDLE:
                    if self._patience.triggered:
                        return Quiet.WAITING
                    self._require_frames(now_s)
                case Kind.FAILED:
                    raise DataError(message.text)

    def close(self) -> None:
        """Stop the process so that it releases the camera. Kill it if it does not end. Takes at most `LEAVE_S` + `KILL_S`."""
        if self._closed:
            return
        self._closed = True
        if not self._hung:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # it is killed
                self._link.settimeout(TICK_S)
                self._link.sendall(bytes([STOP]))
                self._process.wait(LEAVE_S)
        self._link.close()
        if self._frames is not None:
            self._frames.close()
        os.close(self._memory)
        if self._process.poll() is None:
            self._process.kill()
            # a process that stays inside the kernel is reaped by `subprocess` when it starts the next one
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_S)

    def _next(self, wait_s: float) -> Message | None:
        """Return the next message, or None if none arrives in time."""
        while (decoded := decode(self._received)) is None:
            try:
                self._link.settimeout(max(wait_s, 0.001))
                more = self._link.recv(1 << 16)
            except TimeoutError:
                return None
            except OSError:
                more = b""
            if not more:
                raise DataError(self._end_of_process())
            self._received += more
        message, length = decoded
        del self._received[:length]
        return message

    def _begin(self, message: Message) -> None:
        if self._frames is not None:
            raise DataError("the process of the camera opened it twice")
        self._slot_bytes = check_size(message.size)
        resize(self._memory, self._slot_bytes)
        self._frames = SharedFrames(self._memory, self._slot_bytes, write=False)
        self._send(BEGIN)

    def _grabbed(self, message: Message) -> Grabbed:
        check_number(message, self._number)
        self._number = message.number
        if message.kind is Kind.DAMAGED:
            return Grabbed(None, damage=message.text or "the buffer is incomplete", skipped=message.skipped)
        if self._frames is None:
            raise DataError("the process of the camera sent a frame before it opened it")
        check_frame(message, self._slot_bytes)
        row_bytes = message.width * pixel_format(message.code).bytes_per_pixel
        pixels = self._frames.copy(message.slot, message.height, row_bytes)
        self._send(message.slot)
        return Grabbed(
            RawPicture(pixels, message.code),
            source_s=None if message.stamp_ns is None else message.stamp_ns / 1e9,
            skipped=message.skipped,
        )

    def _send(self, order: int) -> None:
        with contextlib.suppress(OSError):  # the next read finds the end of the process
            self._link.sendall(bytes([order]))

    def _require_sign_of_life(self, now_s: float) -> None:
        opened = self._frames is not None
        limit_s = self._patience.read_timeout_s if opened else self._patience.open_timeout_s
        if now_s - self._message_s > limit_s:
            self._hung = True
            missing = "answer" if opened else "open it"
            raise DataError(f"the software of the camera did not {missing} for {limit_s:g} s, so its process is killed")

    def _require_frames(self, now_s: float) -> None:
        if self._frames is not None and now_s - self._frame_s > self._patience.read_timeout_s:
            raise DataError(
                f"the camera answers, but sent no frame for {self._patience.read_timeout_s:g} s. If it waits for a trigger, set "
                "triggered = true"
            )

    def _end_of_process(self) -> str:
        try:
            status = self._process.wait(KILL_S)
        except subprocess.TimeoutExpired:
            self._hung = True
            return "the process of the camera closed its connection"
        if status >= 0:
            return f"the process of the camera ended with status {status}"
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = str(-status)
        return f"the process of the camera was ended by signal {name}"


def _start(link: int, memory: int) -> "subprocess.Popen[bytes]":
    # a new interpreter instead of multiprocessing: fork copies the locks of other threads, and spawn runs the program's main
    # module again. -P: a file in the working folder must not replace a module
    command = [
        sys.executable,
        "-P",
        "-m",
        "andon.sources.live.camera_process",
        str(link),
        str(memory),
        str(os.getpid()),
    ]
    return subprocess.Popen(  # noqa: S603 - our own module and numbers
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # the monitor's standard output is for verdicts
        pass_fds=(link, memory),
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    """Return the environment of the process: the same modules, and one thread for each numerical library."""
    environment: dict[str, Any] = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    environment.pop("NOTIFY_SOCKET", None)  # only the monitor reports to systemd
    return environment
