"""Load OpenCV and set its limits in one place. The other modules call `opencv` instead of importing cv2."""

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from andon.foundation.errors import MissingExtra
from andon.foundation.extras import remedy
from andon.sources.pictures.limits import MAX_PIXELS

if TYPE_CHECKING:
    import cv2

Protocols = Literal["file", "http,https,tcp,tls,crypto,httpproxy", "rtsp,rtsps,rtp,tcp,udp,tls,http,https"]
"""Protocols that FFmpeg may open.

A playlist in a video file must not open network addresses, a playlist of a camera must not open local files.
"""


@functools.cache
def opencv() -> ModuleType:
    """Return the module `cv2` with a pixel limit, one thread and no log output.

    Raises:
        MissingExtra: OpenCV is not installed.
    """
    # OpenCV reads the variables when it is imported, so they are set before; values that the user has set stay
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
    # seconds; by default a dead USB camera blocks its reader for ten
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")
    # OpenCV and FFmpeg write to stderr without Python's logging, so no address in these lines could be redacted. Our own errors
    # report failures. libpng and libtiff inside OpenCV have no such switch: they still print a line, without a file name.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra(f"reading pictures, videos and cameras needs opencv: {remedy('camera')}") from error
    # by default OpenCV starts one thread per core for each call and takes the cores from inference; one is enough for a frame
    cv2.setNumThreads(1)
    module: ModuleType = cv2
    return module


class _Openings:
    """The captures that are being opened: their number, their protocols, and the earlier value of the variable."""

    def __init__(self) -> None:
        self.turn = threading.Condition()
        self.count = 0
        self.protocols: Protocols | None = None
        self.before = ""


_openings = _Openings()
_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_AS_IF_UNSET = "rtsp_flags;prefer_tcp"
"""Value that has the same effect as no variable.

The variable is not removed, because this could move the environment in memory while other threads read it.
"""


@contextmanager
def allowed_protocols(protocols: Protocols) -> Iterator[None]:
    """Allow FFmpeg only these protocols for the captures that are opened in this context, and not for later ones.

    OpenCV reads the list only from the environment, when a capture is opened. Captures with the same list can be opened at the
    same time; one with another list waits for them. The last capture restores the value of the variable, because the host
    program may open its own captures.
    """
    with _openings.turn:
        _openings.turn.wait_for(lambda: _openings.count == 0 or _openings.protocols == protocols)
        if _openings.count == 0:
            _openings.protocols = protocols
            _openings.before = os.environ.get(_VARIABLE) or _AS_IF_UNSET
            # our options follow the existing ones, since the last of two equal names wins; UDP loses packets and smears pictures
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
    """Make a newly opened capture return the undecoded packets of an MJPEG stream, for `decode.from_capture`.

    FFmpeg scales later frames to the size of the first one, and decodes damaged frames to wrong pictures. Afterwards, neither
    can be detected.
    """
    cv2 = opencv()
    if round(capture.get(cv2.CAP_PROP_FOURCC)) == _MJPEG:
        capture.set(cv2.CAP_PROP_FORMAT, -1)


_MJPEG = int.from_bytes(b"MJPG", "little")
