"""GenICam cameras of any vendor, with harvesters and the GenTL producer of the vendor.

A GenTL producer is a file ``*.cti`` that the vendor's software installs. It runs in a process of its own, which is killed and
started again when it hangs. A buffer that the producer reports as incomplete is INVALID (corrupt).

Of the Standard Features Naming Convention (SFNC), a camera needs ``PixelFormat``, ``Width`` and ``Height``, and the features that
the settings set.
"""

import os
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from andon.foundation.errors import ConfigError, MissingExtra
from andon.foundation.extras import remedy
from andon.runtime.schema import InputSpec
from andon.sources.clock import Clock
from andon.sources.live.camera_process import Order
from andon.sources.live.camera_settings import CameraSettings, camera_of
from andon.sources.live.stream import LiveStream
from andon.sources.live.vendor_camera import vendor_stream
from andon.sources.source import Source

PRODUCERS = "GENICAM_GENTL64_PATH"
"""The variable in which GenTL producers enter their folders when they are installed."""


class Settings(CameraSettings, frozen=True, kw_only=True):
    """Settings of a GenICam camera."""

    cti_file: Annotated[
        str | None,
        Meta(
            description=f"file of the GenTL producer. None: all producers in the folders of the variable {PRODUCERS}",
            extra={"path": "file"},
        ),
    ] = None


def stream(text: str, spec: InputSpec, settings: Settings, clock: Clock, stop: threading.Event) -> LiveStream:
    """Return a stream of the newest frames, see `LiveStream`. If the camera does not exist yet, the stream waits for it.

    Raises:
        ConfigError: the model file judges windows, or there is no GenTL producer.
        MissingExtra: harvesters is not installed.
    """
    if find_spec("harvesters") is None or find_spec("genicam") is None:  # imported in the camera's process only
        raise MissingExtra(f"reading GenICam cameras needs harvesters and genicam: {remedy('genicam')}")
    order = Order(
        opener="andon.sources.live.genicam_device:open_device",
        camera=camera_of(text, "genicam") or "",
        settings={**msgspec.to_builtins(settings), "producers": [str(file) for file in producers(settings.cti_file)]},
    )
    return vendor_stream(text, order, spec, settings, clock=clock, stop=stop)


def producers(cti_file: str | None) -> list[Path]:
    """Return the files of the GenTL producers.

    Raises:
        ConfigError: there is none.
    """
    if cti_file is not None:
        if not Path(cti_file).is_file():
            raise ConfigError(
                f"cti_file: expected the file of a GenTL producer (*.cti), got {cti_file}, which does not exist."
            )
        return [Path(cti_file)]
    folders = [Path(folder) for folder in os.environ.get(PRODUCERS, "").split(os.pathsep) if folder]
    found = sorted({file.resolve() for folder in folders for file in folder.glob("*.cti")})
    if not found:
        raise ConfigError(
            f"genicam: expected a GenTL producer (*.cti), found none in the folders of {PRODUCERS} "
            f"({', '.join(map(str, folders)) or 'not set'}). Install the software of the camera's vendor, or set cti_file."
        )
    return found


SOURCE = Source(
    name="genicam",
    summary="a GenICam camera of any vendor, by serial number or position (genicam:40012345, genicam:0)",
    accepts=lambda text: camera_of(text, "genicam") is not None,
    settings=Settings,
    stream=stream,
    live=True,
)
