"""OpenCV, loaded and bounded in one place: the other modules ask here for it instead of importing it."""

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from andon.foundation.errors import MissingExtra
from andon.foundation.extras import remedy

if TYPE_CHECKING:
    import cv2

MAX_PIXELS = 50_000_000
"""A larger picture is refused: with OpenCV's own limit a PNG of 389 kB became 2.3 GB of memory."""

Protocols = Literal["file", "http,https,tcp,tls,crypto,httpproxy", "rtsp,rtsps,rtp,tcp,udp,tls,http,https"]
"""What FFmpeg may open. A playlist within a video must not reach the network, nor one from a camera our files."""


@functools.cache
def opencv() -> ModuleType:
    """The module `cv2`, with a pixel limit, one thread and a quiet log.

    Raises:
        MissingExtra: it is not installed.
    """
    # read by OpenCV when it is imported, so they come first; what the user has set stays
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
    # seconds; a dead USB camera would otherwise hold its reader for ten
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")
    # OpenCV and FFmpeg write to stderr past Python's logging, where no address can be redacted; our own errors report failures.
    # libpng and libtiff, which OpenCV holds, have no such switch: they still print a line, without a file's name.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra(f"reading pictures, videos and cameras needs opencv: {remedy('camera')}") from error
    # OpenCV would start a thread per core for each call and take them from inference; a frame is one thread's work
    cv2.setNumThreads(1)
    module: ModuleType = cv2
    return module


class _Openings:
    """How many captures are being opened at this moment, with which protocols, and what the variable held before them."""

    def __init__(self) -> None:
        self.turn = threading.Condition()
        self.count = 0
        self.protocols: Protocols | None = None
        self.before = ""


_openings = _Openings()
_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_AS_IF_UNSET = "rtsp_flags;prefer_tcp"
"""What OpenCV does without the variable. To remove it would shift the environment under readers in other threads."""


@contextmanager
def allowed_protocols(protocols: Protocols) -> Iterator[None]:
    """Hold FFmpeg to these protocols for each capture that is opened within, and no capture that is opened afterwards.

    OpenCV takes the list from the environment only, when a capture is opened. Openings with the same list run side by
    side; one with another list waits for them. What the variable held before comes back with the last of them: the
    process may be somebody else's, with captures of its own.
    """
    with _openings.turn:
        _openings.turn.wait_for(lambda: _openings.count == 0 or _openings.protocols == protocols)
        if _openings.count == 0:
            _openings.protocols = protocols
            _openings.before = os.environ.get(_VARIABLE) or _AS_IF_UNSET
            # ours come after what stood there, and the last of two equal names wins; UDP loses packets and smears pictures
            os.environ[_VARIABLE] = f"{_openings.before}|rtsp_transport;tcp|protocol_whitelist;{protocols}"
        _openings.count += 1
    try:
        yield
    finally:
        with _openings.turn:
            _openings.count -= 1
            if _openings.count == 0:
                os.environ[_VARIABLE] = _openings.before
            _openings.turn.notify_all()


def undecoded_if_mjpeg(capture: "cv2.VideoCapture") -> None:
    """Let a capture that was just opened give the packets of an MJPEG stream as they are, for `decode.from_capture`.

    FFmpeg scales frames of another size to the first one's, and makes pictures of damaged ones; neither can be noticed.
    """
    cv2 = opencv()
    if round(capture.get(cv2.CAP_PROP_FOURCC)) == _MJPEG:
        capture.set(cv2.CAP_PROP_FORMAT, -1)


_MJPEG = int.from_bytes(b"MJPG", "little")
