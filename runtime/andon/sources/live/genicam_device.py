"""A GenICam camera, read with harvesters.

Only the process of the camera imports this module. It must stay small.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from andon.foundation.errors import DataError
from andon.sources.live.camera_settings import CameraSettings, Seen, choose, features, first_line, set_features
from andon.sources.live.device import Buffer
from andon.sources.pictures.pixel_formats import pixel_format

BUFFERS = 8
"""Number of buffers that the producer fills while the process is busy."""


class GenicamSettings(CameraSettings, frozen=True, kw_only=True):
    """The settings of the source, and the files of the GenTL producers."""

    producers: tuple[str, ...]


def open_device(camera: str, settings: Any) -> "GenicamDevice":
    """Open a camera in its process, see `OpenDevice`."""
    return GenicamDevice(camera, msgspec.convert(settings, GenicamSettings))


class GenicamDevice:
    """An opened camera that sends frames, see `Device`.

    Args:
        camera: serial number or position.
        settings: see `GenicamSettings`.

    Raises:
        DataError: the camera cannot be opened or set.
    """

    def __init__(self, camera: str, settings: GenicamSettings) -> None:
        from genicam.gentl import GenericException
        from harvesters.core import Harvester, ImageAcquirer

        self._error = GenericException
        self._incomplete = 0
        self._harvester = Harvester()
        for file in settings.producers:
            self._harvester.add_file(file)
        self._harvester.update()
        found = self._harvester.device_info_list
        position = choose(
            [Seen(_text(info, "serial_number") or info.id_, _text(info, "model")) for info in found], camera
        )
        try:
            self._acquirer = self._harvester.create(position)
        except Exception as error:
            raise DataError(
                f"the camera {camera} cannot be opened: {first_line(error)}. Another program may use it."
            ) from error
        self._nodes = self._acquirer.remote_device.node_map
        set_features(features(settings), self._writable, self._write)
        node = self._nodes.get_node("PixelFormat")
        known = pixel_format(int(node.get_int_value()), node.to_string())
        self._most_bytes = self._integer("Width") * self._integer("Height") * known.bytes_per_pixel
        self._acquirer.num_buffers = max(BUFFERS, self._acquirer.min_num_buffers)
        # harvesters asks the producer again and again for this long; the default is a millisecond
        self._acquirer.timeout_period_on_update_event_data_call = 20
        # harvesters gives incomplete buffers back itself, and reports them here only
        self._acquirer.add_callback(ImageAcquirer.Events.INCOMPLETE_BUFFER, _callback(self._count_incomplete))
        self._acquirer.start()

    @property
    def most_bytes(self) -> int:
        """Number of bytes of a picture."""
        return self._most_bytes

    def grab(self, timeout_s: float) -> Buffer | None:
        """Return the next buffer, see `Device`."""
        if self._incomplete == 0:
            try:
                fetched = self._acquirer.try_fetch(timeout=timeout_s)
            except self._error as error:
                raise DataError(f"the camera is lost: {first_line(error)}") from error
            if fetched is not None:
                return self._buffer(fetched)
        if self._incomplete:
            self._incomplete -= 1
            return Buffer(
                release=lambda: None, damage="the buffer is incomplete. Check the cable, the network and the load"
            )
        return None

    def check(self) -> None:
        """Read a feature from the camera itself."""
        node = self._nodes.get_node("Width")
        try:
            node.get_value(True, True)  # verify, and do not use the cache
        except Exception as error:
            raise DataError(f"the camera does not answer: {first_line(error)}") from error

    def close(self) -> None:
        """Release the camera and the producer."""
        self._acquirer.destroy()
        self._harvester.reset()

    def _buffer(self, fetched: Any) -> Buffer:
        try:
            picture = fetched.payload.components[0]
            code = picture.data_format_value
            pixel_format(code, picture.data_format)
            return Buffer(
                release=fetched.queue,
                pixels=picture.data,
                width=picture.width,
                height=picture.height,
                padding=picture.x_padding,
                code=code,
                stamp_ns=self._stamp_ns(fetched),
            )
        except IndexError:
            return Buffer(release=fetched.queue, damage="the buffer contains no picture")
        except BaseException:
            fetched.queue()
            raise

    def _stamp_ns(self, fetched: Any) -> int | None:
        try:
            return int(fetched.timestamp_ns) or None
        except Exception:  # noqa: BLE001 - optional in GenTL, and each producer has its own error
            return None

    def _count_incomplete(self) -> None:
        self._incomplete += 1

    def _writable(self, name: str) -> bool:
        from genicam.genapi import EAccessMode

        return self._nodes.has_node(name) and self._nodes.get_node(name).get_access_mode() in (
            EAccessMode.RW,
            EAccessMode.WO,
        )

    def _write(self, name: str, text: str) -> None:
        self._nodes.get_node(name).from_string(text)

    def _integer(self, name: str) -> int:
        return int(self._nodes.get_node(name).value)


def _callback(call: Callable[[], None]) -> Any:
    """Return a callback of harvesters, which accepts only objects of its own class."""
    from harvesters.core import Callback

    class Counting(Callback):  # type: ignore[misc] # harvesters has no types
        def emit(self, context: object = None) -> None:  # noqa: ARG002 - harvesters names the argument
            call()

    return Counting()


def _text(info: Any, name: str) -> str:
    try:
        return str(getattr(info, name))
    except Exception:  # noqa: BLE001 - optional in GenTL, and each producer has its own error
        return ""
