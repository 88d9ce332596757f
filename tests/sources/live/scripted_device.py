"""A camera without hardware for the process of a camera. It follows a script, also into crashes and hangs."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from andon.foundation.errors import DataError
from andon.sources.live.camera_process import Order
from andon.sources.live.device import Buffer

MONO8 = 0x01080001
WIDTH, HEIGHT, PADDING = 8, 6, 3


def order(*script: Any, opening: str = "", log: Path | None = None) -> Order:
    """Return the order for a camera that follows a script, see `ScriptedDevice.grab`."""
    settings = {"script": list(script), "opening": opening, "log": str(log or os.devnull)}
    return Order(opener="tests.sources.live.scripted_device:ScriptedDevice", camera="scripted", settings=settings)


class ScriptedDevice:
    """A camera that follows a script. After its end, the camera is silent."""

    def __init__(self, camera: str, settings: Any) -> None:
        self._script = list(settings["script"])
        self._log = Path(settings["log"])
        self._held = 0
        self.most_bytes = WIDTH * HEIGHT
        self._checks = 0
        match settings["opening"]:
            case "refused":
                raise DataError("expected the camera scripted, found none")
            case "bug":
                raise RuntimeError("the driver\nis broken")
            case "missing file":
                raise FileNotFoundError(2, "no such producer")
            case "too large":
                self.most_bytes = 2**60
            case how if how:
                act(how)

    def grab(self, timeout_s: float) -> Buffer | None:
        """Do the next step: a number is a frame of this grey level."""
        step = self._script.pop(0) if self._script else "silence"
        match step:
            case int():
                return self._buffer(np.full((HEIGHT, WIDTH + PADDING), step, np.uint8))
            case "for ever":
                self._script = [step]
                time.sleep(0.02)
                return self._buffer(np.full((HEIGHT, WIDTH + PADDING), 200, np.uint8))
            case "damaged":
                self._held += 1
                return Buffer(release=self._release, damage="2 packets are missing")
            case "short":
                return self._buffer(np.zeros(7, np.uint8))
            case "larger":
                return self._buffer(np.zeros((2 * HEIGHT, WIDTH + PADDING), np.uint8), height=2 * HEIGHT)
            case "lost":
                raise DataError("the camera was removed")
            case "deaf":
                self._checks = -1
            case "silence":
                time.sleep(timeout_s)
            case _:
                act(step)
        return None

    def check(self) -> None:
        if self._checks < 0:
            raise DataError("the camera does not answer")

    def close(self) -> None:
        self._log.write_text(f"closed, {self._held} buffers held", encoding="utf-8")

    def _buffer(self, pixels: Any, height: int = HEIGHT) -> Buffer:
        self._held += 1
        return Buffer(
            release=self._release,
            pixels=pixels,
            width=WIDTH,
            height=height,
            padding=PADDING,
            code=MONO8,
            stamp_ns=time.monotonic_ns(),
        )

    def _release(self) -> None:
        self._held -= 1


def act(how: str) -> None:
    """Do what software of a vendor should not do."""
    match how:
        case "hang":
            time.sleep(3600)
        case "hang and block Python":
            ctypes.PyDLL(None).sleep(3600)  # unlike CDLL, PyDLL keeps the lock of the interpreter
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(7)
        case "print":
            print("a line of the vendor", flush=True)
        case "nonsense":
            os.write(int(sys.argv[1]), b"\xff" * 200)
        case _:
            raise AssertionError(how)
