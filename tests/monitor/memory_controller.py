"""A small real controller in memory: a PLC that keeps what is written, can be away or hang, and acknowledges results."""

import threading
from typing import Annotated

from msgspec import Meta, Struct

from andon.monitor.controller_kind import ChosenController, ControllerContext, ControllerFailed, ControllerKind
from andon.monitor.process_image import ProcessImage


class Plc:
    """The PLC. A test looks at it and changes it, from any thread."""

    def __init__(self) -> None:
        self.images: list[ProcessImage] = []
        """All images that were confirmed, in their order."""
        self.away = False
        self.lost_reply = False
        """True: the next write is made, but it is not confirmed."""
        self.release = threading.Event()
        """A call that hangs ends with this event."""
        self.release.set()
        self.acknowledges = False
        self.acknowledged: dict[str, int] = {}
        self.connections = 0
        self.closed = 0
        self._changed = threading.Condition()

    def of(self, line: str) -> list[ProcessImage]:
        """Return the images of one line."""
        with self._changed:
            return [image for image in self.images if image.line == line]

    def numbers(self, line: str) -> list[int]:
        """Return the result numbers of a line as they changed."""
        numbers = [image.number for image in self.of(line)]
        return [number for at, number in enumerate(numbers) if number and numbers[at - 1 : at] != [number]]

    def wait(self, line: str, number: int, within_s: float = 5.0) -> ProcessImage:
        """Wait until the PLC has this result number."""

        def found() -> ProcessImage | None:
            return next((image for image in self.images if image.line == line and image.number == number), None)

        with self._changed:
            image = self._changed.wait_for(found, within_s)
        assert image is not None, f"{line}: expected the result {number} within {within_s:g} s"
        return image

    def wait_for_ready(self, line: str, *, ready: bool, within_s: float = 5.0) -> None:
        """Wait until the last image of a line is ready or not."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: (
                    any(image.line == line for image in self.images)
                    and next(image for image in reversed(self.images) if image.line == line).ready is ready
                ),
                within_s,
            ), f"{line}: expected ready = {ready} within {within_s:g} s"

    def take(self, image: ProcessImage) -> None:
        """Keep an image."""
        with self._changed:
            self.images.append(image)
            self._changed.notify_all()

    def call(self) -> None:
        """Hang or fail as the test wants it."""
        self.release.wait()
        if self.away:
            raise ControllerFailed("connection refused")


class MemorySettings(Struct, frozen=True, kw_only=True):
    """Settings of a controller in memory."""

    rack: Annotated[int, Meta(ge=0, le=7, description="number of the rack")] = 0


class MemoryController:
    """An opened controller in memory."""

    def __init__(self, plc: Plc) -> None:
        self._plc = plc
        self._connected = False

    def connect(self) -> None:
        self._plc.call()
        self._plc.connections += 1
        self._connected = True

    def write(self, image: ProcessImage) -> None:
        assert self._connected
        self._plc.call()
        self._plc.take(image)
        if self._plc.lost_reply:
            self._plc.lost_reply = False
            raise ControllerFailed("no answer within 1 s")

    def acknowledged(self, line: str) -> int | None:
        self._plc.call()
        return self._plc.acknowledged.get(line, 0) if self._plc.acknowledges else None

    def close(self) -> None:
        self._connected = False
        self._plc.closed += 1


def memory_kind(plc: Plc) -> ControllerKind:
    """Return the kind of the controller for one PLC."""

    def open_controller(_settings: MemorySettings, _context: ControllerContext) -> MemoryController:
        return MemoryController(plc)

    return ControllerKind(name="memory", summary="a PLC in memory", settings=MemorySettings, open=open_controller)


def chosen(plc: Plc, *, name: str = "plc", lines: tuple[str, ...] | None = None) -> ChosenController:
    """Return the controller as a configuration has it."""
    return ChosenController(kind=memory_kind(plc), name=name, settings=MemorySettings(), lines=lines)
