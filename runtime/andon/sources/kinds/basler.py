"""Basler cameras, with pypylon, which contains Basler's drivers for GigE and USB3 cameras and an emulator.

pylon runs in a process of its own, which is killed and started again when it hangs. A buffer that pylon reports as incomplete is
INVALID (corrupt).

With the variable ``PYLON_CAMEMU=2``, pylon emulates two cameras. Their serial numbers are 0815-0000 and 0815-0001.
"""

import threading
from importlib.util import find_spec

import msgspec

from andon.foundation.errors import MissingExtra
from andon.foundation.extras import remedy
from andon.runtime.schema import InputSpec
from andon.sources.clock import Clock
from andon.sources.live.camera_process import Order
from andon.sources.live.camera_settings import CameraSettings, camera_of
from andon.sources.live.stream import LiveStream
from andon.sources.live.vendor_camera import vendor_stream
from andon.sources.source import Source


class Settings(CameraSettings, frozen=True, kw_only=True):
    """Settings of a Basler camera."""


def stream(text: str, spec: InputSpec, settings: Settings, clock: Clock, stop: threading.Event) -> LiveStream:
    """Return a stream of the newest frames, see `LiveStream`. If the camera does not exist yet, the stream waits for it.

    Raises:
        ConfigError: the model file judges windows.
        MissingExtra: pypylon is not installed.
    """
    if find_spec("pypylon") is None:  # imported in the camera's process only
        raise MissingExtra(f"reading Basler cameras needs pypylon: {remedy('basler')}")
    order = Order(
        opener="andon.sources.live.basler_device:open_device",
        camera=camera_of(text, "basler") or "",
        settings=msgspec.to_builtins(settings),
    )
    return vendor_stream(text, order, spec, settings, clock=clock, stop=stop)


SOURCE = Source(
    name="basler",
    summary="a Basler camera, by serial number or position (basler:40012345, basler:0)",
    accepts=lambda text: camera_of(text, "basler") is not None,
    settings=Settings,
    stream=stream,
    live=True,
)
