"""The stream of a camera whose vendor's software runs in a process of its own. Shared by `genicam` and `basler`."""

import os
import random
import threading

from andon.foundation.errors import ConfigError
from andon.runtime.schema import InputSpec
from andon.sources.clock import Clock
from andon.sources.live.camera_process import Order
from andon.sources.live.camera_settings import WARM_FRAMES, CameraSettings
from andon.sources.live.process_capture import Patience, ProcessCapture
from andon.sources.live.reconnect import LiveRule
from andon.sources.live.stream import LiveStream
from andon.sources.pictures.decode import frame_channels
from andon.sources.pictures.raw_picture import to_frame


def vendor_stream(
    text: str, order: Order, spec: InputSpec, settings: CameraSettings, *, clock: Clock, stop: threading.Event
) -> LiveStream:
    """Return a stream of the newest frames. A new process is started for each attempt to open the camera.

    Args:
        text: address of the camera, which is also its name.
        order: the function that opens the camera in its process.
        spec: see `Source`.
        settings: see `CameraSettings`.
        clock: see `LiveStream`.
        stop: see `LiveStream`.

    Raises:
        ConfigError: the model file judges windows, or this system cannot share memory with a process in this way.
    """
    if os.name != "posix":
        raise ConfigError(f"{text}: expected Linux or macOS, got another system. Read this camera on another machine.")
    channels = frame_channels(spec, "a camera")
    limits = patience(settings)
    return LiveStream(
        text,
        lambda: ProcessCapture(order, limits, clock),
        convert=lambda picture: to_frame(picture, channels),
        rule=rule(settings),
        clock=clock,
        stop=stop,
        rng=random.Random(text),  # noqa: S311 - seeded by the name: two runs behave the same, two cameras do not
    )


def rule(settings: CameraSettings) -> LiveRule:
    """Return the rule for fresh frames. A triggered camera sends a frame for each part, so none is dropped by default."""
    warm_frames = (0 if settings.triggered else WARM_FRAMES) if settings.warm_frames is None else settings.warm_frames
    return LiveRule(
        read_timeout_s=settings.read_timeout_s,
        stale_after_s=settings.stale_after_s,
        warm_frames=warm_frames,
        first_retry_s=0.25,
        longest_retry_s=2.0,
    )


def patience(settings: CameraSettings) -> Patience:
    """Return the limits for the silence of the process."""
    return Patience(
        open_timeout_s=settings.open_timeout_s, read_timeout_s=settings.read_timeout_s, triggered=settings.triggered
    )
