"""Cameras by index, and network streams by URL.

PyAV reads network streams if it is installed, otherwise OpenCV. With PyAV, each frame has the size that the camera sent. Frames
that the decoder reports as damaged are INVALID (corrupt), and so are the frames that are predicted from them. The time stamps of
the stream show the age of a frame. OpenCV scales each frame to the size that the stream had when it was opened, reports neither
damage nor time stamps, and also reads the cameras by index.

An MJPEG stream is read packet by packet and decoded by andon's own decoder, with either package. Each frame then has the size
that the camera sent, and a damaged frame is detected.
"""

import random
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from andon.runtime.schema import InputSpec
from andon.sources.addresses import redact, scheme_of
from andon.sources.clock import Clock
from andon.sources.live.capture import Capture, Grabbed, Opener
from andon.sources.live.pyav_capture import PyAVCapture
from andon.sources.live.reconnect import LiveRule
from andon.sources.live.stream import LiveStream
from andon.sources.opencv import Protocols, allowed_protocols, opencv, undecoded_if_mjpeg
from andon.sources.pictures.decode import Channels, Frame, frame_channels, from_capture
from andon.sources.pyav import Decoder, decoder, pyav, to_frame
from andon.sources.source import Source
from andon.sources.stream_settings import StaleAfter

if TYPE_CHECKING:
    import cv2

_INDEX = re.compile(r"(?:camera:|/dev/video)?(\d+)")
_PROTOCOLS: dict[str, Protocols] = {
    "rtsp": "rtsp,rtsps,rtp,tcp,udp,tls,http,https",
    "rtsps": "rtsp,rtsps,rtp,tcp,udp,tls,http,https",
    "http": "http,https,tcp,tls,crypto,httpproxy",
    "https": "http,https,tcp,tls,crypto,httpproxy",
}


class Settings(Struct, frozen=True, kw_only=True):
    """Settings for opening, reading and reopening a camera or stream."""

    open_timeout_s: Annotated[
        float, Meta(gt=0.0, description="timeout for opening a stream by its URL", extra={"unit": "s"})
    ] = 5.0
    read_timeout_s: Annotated[float, Meta(gt=0.0, description="timeout for reading one frame", extra={"unit": "s"})] = (
        2.0
    )
    stale_after_s: StaleAfter = 2.0
    max_age_s: Annotated[
        float,
        Meta(
            gt=0.0,
            description="drop frames that are older than this when they arrive, for streams with time stamps",
            extra={"unit": "s"},
        ),
    ] = 1.0
    warm_frames: Annotated[
        int,
        Meta(
            ge=0,
            description="number of frames to drop after (re)connecting or a stall, from the first sound key frame on. The first "
            "frames of a decoder can be grey or smeared, and the first frames of a camera can have a wrong exposure",
            extra={"unit": "frames"},
        ),
    ] = 5
    reopen_s: Annotated[
        float,
        Meta(
            gt=0.0,
            description="wait before opening a lost camera again; doubles with each failed attempt",
            extra={"unit": "s"},
        ),
    ] = 0.25
    reopen_max_s: Annotated[
        float, Meta(gt=0.0, description="longest wait between two attempts", extra={"unit": "s"})
    ] = 2.0


def stream(
    text: str,
    spec: InputSpec,
    settings: Settings,
    clock: Clock,
    stop: threading.Event,
    *,
    package: Decoder | None = None,
) -> LiveStream:
    """Return a stream of the newest frames, see `LiveStream`. If the camera does not exist yet, the stream waits for it.

    Args:
        text: a camera index or a URL.
        spec: see `Source`.
        settings: see `Settings`.
        clock: see `LiveStream`.
        stop: see `LiveStream`.
        package: package that reads a URL. Default: PyAV if it is installed, else OpenCV. Cameras by index need OpenCV.

    Raises:
        ConfigError: the model file judges windows.
        MissingExtra: the package that reads the camera is not installed.
    """
    channels = frame_channels(spec, "a camera")
    rule = LiveRule(
        read_timeout_s=settings.read_timeout_s,
        stale_after_s=settings.stale_after_s,
        max_age_s=settings.max_age_s,
        warm_frames=settings.warm_frames,
        first_retry_s=settings.reopen_s,
        longest_retry_s=settings.reopen_max_s,
    )
    name, opener, convert = _camera(text, settings, channels, package)
    return LiveStream(
        name,
        opener,
        convert=convert,
        rule=rule,
        clock=clock,
        stop=stop,
        rng=random.Random(name),  # noqa: S311 - seeded by the name: two runs behave the same, two cameras do not
    )


def _accepts(text: str) -> bool:
    if Path(text).is_file() or Path(text).is_dir():  # a device is neither a file nor a folder
        return False
    return text == "camera" or _INDEX.fullmatch(text) is not None or scheme_of(text) in _PROTOCOLS


def _camera(
    text: str, settings: Settings, channels: Channels, package: Decoder | None
) -> tuple[str, Opener, Callable[[Any], Frame]]:
    """Return the name of a camera without secrets, its opener, and the conversion of its frames."""
    scheme = scheme_of(text)
    if scheme and (package or decoder()) == "pyav":
        name = redact(text)
        pyav()  # report a missing package now, not in the reader's thread
        return (
            name,
            lambda: _open_with_pyav(text, _PROTOCOLS[scheme], settings),
            lambda data: to_frame(data, channels, name),
        )
    opencv()
    if scheme:
        name = redact(text)
        return (
            name,
            lambda: _open_url(text, _PROTOCOLS[scheme], settings),
            lambda data: from_capture(data, channels, name),
        )
    index = _INDEX.fullmatch(text)
    number = int(index[1]) if index else 0
    name = f"camera:{number}"
    return name, lambda: _open_index(number), lambda data: from_capture(data, channels, name)


def _open_with_pyav(url: str, protocols: Protocols, settings: Settings) -> Capture:
    return PyAVCapture(
        url, protocols=protocols, open_timeout_s=settings.open_timeout_s, read_timeout_s=settings.read_timeout_s
    )


class _OpenCVCapture:
    """A `cv2.VideoCapture` for one connection.

    A capture that lost its camera never recovers, so each connection needs a new one.
    """

    def __init__(self, capture: "cv2.VideoCapture") -> None:
        self._capture = capture

    def read(self) -> Grabbed | None:
        cv2 = opencv()
        try:
            read, frame = self._capture.read()
        except cv2.error:
            return None
        if not read:
            return None
        return Grabbed(np.asarray(frame, np.uint8))

    def close(self) -> None:
        self._capture.release()


def _open_url(url: str, protocols: Protocols, settings: Settings) -> Capture | None:
    cv2 = opencv()
    with allowed_protocols(protocols):
        capture = cv2.VideoCapture(
            url,
            cv2.CAP_FFMPEG,
            [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                round(1000 * settings.open_timeout_s),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                round(1000 * settings.read_timeout_s),
                # with several decoding threads, each would delay a frame
                cv2.CAP_PROP_N_THREADS,
                1,
            ],
        )
    return _if_open(capture)


def _open_index(number: int) -> Capture | None:
    cv2 = opencv()
    # the drivers of local cameras do not accept timeouts as parameters; `opencv` sets the one that Video4Linux reads
    return _if_open(cv2.VideoCapture(number, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY))


def _if_open(capture: "cv2.VideoCapture") -> Capture | None:
    if not capture.isOpened():
        capture.release()
        return None
    cv2 = opencv()
    # as with pictures, the orientation that a file or camera states must not rotate the frame
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    undecoded_if_mjpeg(capture)
    return _OpenCVCapture(capture)


SOURCE = Source(
    name="camera",
    summary="a camera by index (0, camera:1, /dev/video2) or a stream (rtsp://, http://)",
    accepts=_accepts,
    settings=Settings,
    stream=stream,
    live=True,
)
