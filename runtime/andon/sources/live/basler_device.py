"""A Basler camera, read with pypylon.

Only the process of the camera imports this module. It must stay small.
"""

from typing import Any

import msgspec

from andon.foundation.errors import DataError
from andon.sources.live.camera_settings import CameraSettings, Seen, choose, features, first_line, set_features
from andon.sources.live.device import Buffer
from andon.sources.pictures.pixel_formats import pixel_format


def open_device(camera: str, settings: Any) -> "BaslerDevice":
    """Open a camera in its process, see `OpenDevice`."""
    return BaslerDevice(camera, msgspec.convert(settings, CameraSettings))


class BaslerDevice:
    """An opened camera that sends frames, see `Device`.

    Args:
        camera: serial number or position.
        settings: see `CameraSettings`.

    Raises:
        DataError: the camera cannot be opened or set.
    """

    def __init__(self, camera: str, settings: CameraSettings) -> None:
        from pypylon import genicam, pylon

        self._genicam = genicam
        self._pylon = pylon
        factory = pylon.TlFactory.GetInstance()
        found = factory.EnumerateDevices()
        position = choose([Seen(info.GetSerialNumber(), info.GetModelName()) for info in found], camera)
        try:
            self.camera = pylon.InstantCamera(factory.CreateDevice(found[position]))
            self.camera.Open()
        except genicam.GenericException as error:
            raise DataError(
                f"the camera {camera} cannot be opened: {first_line(error)}. Another program may use it."
            ) from error
        self._nodes = self.camera.GetNodeMap()
        set_features(features(settings), self._writable, lambda name, text: self._nodes.GetNode(name).FromString(text))
        node = self._nodes.GetNode("PixelFormat")
        known = pixel_format(node.GetIntValue(), node.ToString())
        self._most_bytes = self._integer("Width") * self._integer("Height") * known.bytes_per_pixel
        self.camera.StartGrabbing(pylon.GrabStrategy_OneByOne)

    @property
    def most_bytes(self) -> int:
        """Number of bytes of a picture."""
        return self._most_bytes

    def grab(self, timeout_s: float) -> Buffer | None:
        """Return the next buffer, see `Device`."""
        try:
            result = self.camera.RetrieveResult(round(1000 * timeout_s), self._pylon.TimeoutHandling_Return)
        except self._genicam.GenericException as error:
            raise DataError(f"the camera is lost: {first_line(error)}") from error
        if not result.IsValid():
            result.Release()
            return None
        try:
            if not result.GrabSucceeded():
                return Buffer(release=result.Release, damage=result.GetErrorDescription() or "the buffer is incomplete")
            code = result.GetPixelType()
            pixel_format(code)
            return Buffer(
                release=result.Release,
                pixels=result.GetMemoryView(),
                width=result.GetWidth(),
                height=result.GetHeight(),
                padding=result.GetPaddingX(),
                code=code,
                stamp_ns=result.GetTimeStamp() or None,  # 0 in the emulator
            )
        except BaseException:
            result.Release()
            raise

    def check(self) -> None:
        """Raise `DataError` if pylon's own supervision of the camera, or a feature of the camera, does not answer."""
        if self.camera.IsCameraDeviceRemoved():
            raise DataError("the camera was removed")
        try:
            self._nodes.GetNode("Width").GetValue(True, True)  # verify, and do not use the cache
        except self._genicam.GenericException as error:
            raise DataError(f"the camera does not answer: {first_line(error)}") from error

    def close(self) -> None:
        """Release the camera."""
        self.camera.Close()

    def _writable(self, name: str) -> bool:
        node = self._nodes.GetNode(name)
        return node is not None and self._genicam.IsWritable(node)

    def _integer(self, name: str) -> int:
        return int(self._nodes.GetNode(name).GetValue())
